package adaptertest

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

// tokens returns a policy of 100 units a minute for requests that estimate and settle.
func tokens(name string) *core.Policy {
	return core.NewPolicy(name, core.PerMinute(100), core.VariableCost(), core.Refundable(0))
}

// reallyUsed returns the number in X-Used.
func reallyUsed(v visit, _ int) int64 {
	used, err := strconv.ParseInt(v.header("X-Used"), 10, 64)
	if err != nil {
		panic(err)
	}
	return used
}

func checkSettle(t *testing.T, s suite) {
	log, logged := logAt(slog.LevelDebug)
	limiter, store := newSpy(t, logged)
	w := s.openOutcome(t, limit{limiter, tokens("tokens"), options{cost: units, used: reallyUsed}})
	use := func(cost, used string) response {
		t.Helper()
		return w.get("/", "X-Outcome: 200", "X-Cost: "+cost, "X-Used: "+used).want(http.StatusOK)
	}
	use("40", "10").wantField("RateLimit", `"tokens";r=60;t=60`) // an estimate
	store.wantSettled(t, -30)
	use("40", "40").wantField("RateLimit", `"tokens";r=50;t=60`)
	use("10", "-1").wantField("RateLimit", `"tokens";r=40;t=60`)
	store.wantSettled(t)
	use("10", "0").wantField("RateLimit", `"tokens";r=30;t=60`)
	store.wantSettled(t, -10)
	use("1", "39").wantField("RateLimit", `"tokens";r=39;t=60`)
	store.wantSettled(t, 38)
	// Use above the limit is charged too, and delays later requests.
	use("1", "51").wantField("RateLimit", `"tokens";r=0;t=60`)
	store.wantSettled(t, 50)
	w.get("/", "X-Outcome: 200", "X-Cost: 1").wantDeniedBy("tokens")
	store.clock.advance(time.Minute)
	use("100", "0")
	use("100", "100")
	w.get("/", "X-Outcome: 200", "X-Cost: 1").wantDeniedBy("tokens")
	if log.Len() > 0 {
		t.Errorf("the log has: %s", log.String())
	}
}

// Only policies with refundable units are settled. The function gets the status.
func checkSettleSeveral(t *testing.T, s suite) {
	limiter, store := newSpy(t)
	var statuses []int
	w := s.openOutcome(t, limit{limiter, refundable(), options{
		cost: units,
		used: func(v visit, status int) int64 { statuses = append(statuses, status); return reallyUsed(v, status) },
		also: []also{
			{tokens("tokens"), byAddress()},
			{core.NewPolicy("kept", core.PerMinute(100), core.VariableCost()), byAddress()},
			{tokens("service"), byConstant("shop")},
		},
	}})
	w.get("/", "X-Outcome: 503", "X-Cost: 20", "X-Used: 5").want(http.StatusServiceUnavailable).
		wantField("RateLimit", `"login";r=4;t=3600, "tokens";r=80;t=60, "kept";r=80;t=60, "service";r=80;t=60`)
	store.wantSettled(t, -15, -15)
	w.get("/", "X-Outcome: panic", "X-Cost: 20", "X-Used: 30").want(http.StatusInternalServerError)
	store.wantSettled(t, 10, 10)
	w.get("/", "X-Outcome: 200", "X-Cost: 1", "X-Used: 1").want(http.StatusOK).
		wantField("RateLimit", `"login";r=2;t=3600, "tokens";r=64;t=60, "kept";r=59;t=60, "service";r=64;t=60`)
	if len(statuses) != 3 || statuses[0] != 503 || statuses[1] != 500 || statuses[2] != 200 {
		t.Errorf("given the statuses %v", statuses)
	}
}

func checkSettleAndRefund(t *testing.T, s suite) {
	limiter, store := newSpy(t)
	w := s.openOutcome(t, limit{limiter, tokens("tokens"), options{
		cost: units, used: reallyUsed, refundOn: "failure",
		also: []also{{refundable(), byAddress()}},
	}})
	w.get("/", "X-Outcome: 200", "X-Cost: 20", "X-Used: 5").want(http.StatusOK)
	store.wantSettled(t, -15)
	w.get("/", "X-Outcome: 500", "X-Cost: 20", "X-Used: 50").want(http.StatusInternalServerError)
	store.wantSettled(t, -20, -1)
}

// A settlement by the handler itself is final.
func checkSettleByHandler(t *testing.T, s suite) {
	log, logged := logAt(slog.LevelDebug)
	limiter, store := newSpy(t, logged)
	w := s.open(t, app{groups: []group{{routes: []route{{
		path:   "/",
		limits: []limit{{limiter, tokens("tokens"), options{cost: units, used: reallyUsed}}},
		handler: func(v visit) error {
			d, _ := v.fromContext()
			if err := limiter.Settle(v.context(), d, 7); err != nil {
				t.Error(err)
			}
			return v.answer(http.StatusOK, "ok")
		},
	}}}}})
	w.get("/", "X-Cost: 20", "X-Used: 50").want(http.StatusOK)
	store.wantSettled(t, -13)
	if log.Len() > 0 {
		t.Errorf("the log has: %s", log.String())
	}
}

// Requests stay charged while the store fails. The log has a line about it, but not for
// each request.
func checkRefundFails(t *testing.T, s suite) {
	log, logged := logAt(slog.LevelInfo)
	limiter, store := newSpy(t, logged)
	w := s.openOutcome(t, limit{limiter, refundable(), options{refundOn: "success", key: byFunc("user", user)}})
	store.failSettle(errStore)
	for range 3 {
		r := w.get("/", "X-User: alice", "X-Outcome: 200").want(http.StatusOK).wantNowhere("10.9.8.7")
		if r.body != "ok" {
			t.Errorf("body %q, want the handler's", r.body)
		}
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 1 || !strings.Contains(lines[0], "level=WARN") || !strings.Contains(lines[0], "policy=login") ||
		!strings.Contains(lines[0], "connection refused") || strings.Contains(lines[0], "alice") {
		t.Errorf("the log has: %s\nwant one line, without the key", log.String())
	}
	store.failSettle(nil)
	w.get("/", "X-User: alice", "X-Outcome: 200").want(http.StatusOK).wantField("RateLimit", `"login";r=1;t=3600`)
	store.wantSettled(t, -1)
	w.get("/", "X-User: alice", "X-Outcome: 200").want(http.StatusOK).wantField("RateLimit", `"login";r=1;t=3600`)
}

// A handler that takes longer than the grace keeps its request charged. This is a debug
// line, since the policy chooses the grace. It does not suppress a warning.
func checkRefundTooLate(t *testing.T, s suite) {
	for level, want := range map[slog.Level]int{slog.LevelInfo: 0, slog.LevelDebug: 1} {
		log, logged := logAt(level)
		limiter, store := newSpy(t, logged)
		w := s.open(t, app{groups: []group{{routes: []route{{
			path:   "/",
			limits: []limit{{limiter, core.NewPolicy("slow", core.PerHour(5), core.Refundable(time.Second)), options{refundOn: "success"}}},
			handler: func(v visit) error {
				store.clock.advance(1001 * time.Millisecond)
				return v.answer(http.StatusOK, "ok")
			},
		}}}}})
		for _, left := range []string{"4", "3", "2"} {
			r := w.get("/").want(http.StatusOK)
			if !strings.HasPrefix(r.header.Get("RateLimit"), `"slow";r=`+left) {
				t.Errorf("RateLimit: %s, want %s left", r.header.Get("RateLimit"), left)
			}
		}
		if n := strings.Count(log.String(), "level=DEBUG"); n != want || strings.Contains(log.String(), "level=WARN") {
			t.Errorf("%d lines, want %d at level debug: %s", n, want, log.String())
		}
		store.failSettle(errStore)
		w.get("/").want(http.StatusOK)
		if n := strings.Count(log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings that the store failed, want 1: %s", n, log.String())
		}
	}
}

// farStore is a store that bounds its responses, and blocks corrections until it is
// released.
type farStore struct {
	*spy
	may chan struct{}
}

func (farStore) Timeout() time.Duration { return time.Millisecond }

func (s farStore) Settle(ctx context.Context, p *store.Log, key string, entry store.EntryID, correction int64) error {
	<-s.may
	return s.spy.Settle(ctx, p, key, entry, correction)
}

// A correction that takes longer than the store's timeout delays no response, and is
// still made.
func checkSettleSlow(t *testing.T, s suite) {
	for name, o := range map[string]options{"refund": {refundOn: "success"}, "settle": {cost: units, used: reallyUsed}} {
		store := farStore{&spy{Store: core.NewMemory(), settled: make(chan int64, 1)}, make(chan struct{})}
		limiter := core.New(store)
		w := s.openOutcome(t, limit{limiter, tokens("tokens"), o})
		w.client.Timeout = patience
		w.get("/", "X-Outcome: 200", "X-Cost: 1", "X-Used: 0").want(http.StatusOK)
		store.wantSettled(t) // the response came first
		close(store.may)
		if err := limiter.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		store.wantSettled(t, -1)
	}
}
