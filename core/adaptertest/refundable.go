package adaptertest

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/core"
)

func checkRefundSeveral(t *testing.T, s suite) {
	limiter, store := newSpy(t)
	kept := core.NewPolicy("kept", core.PerMinute(9))
	w := s.openOutcome(t, limit{limiter, kept, options{
		refundOn: "success",
		cost:     func(visit) (int64, error) { return 3, nil },
		also: []also{
			{refundable(), byAddress()},
			{core.NewPolicy("service", core.PerMinute(9), core.Refundable(0), core.VariableCost()), byConstant("shop")},
		},
		tier: func(v visit) *core.Policy {
			if v.header("X-Plan") == "refundable" {
				return core.NewPolicy("plan", core.PerMinute(9), core.Refundable(0))
			}
			return nil
		},
	}})
	w.get("/", "X-Outcome: 200").want(http.StatusOK).
		wantField("RateLimit", `"kept";r=8;t=60, "login";r=4;t=3600, "service";r=6;t=60`)
	store.wantSettled(t, -1, -3)
	w.get("/", "X-Outcome: 500").want(http.StatusInternalServerError).
		wantField("RateLimit", `"kept";r=7;t=60, "login";r=4;t=3600, "service";r=6;t=60`)
	store.wantSettled(t)
	w.get("/", "X-Outcome: 200", "X-Plan: refundable").want(http.StatusOK)
	store.wantSettled(t, -1, -1, -3)

	// Only the policy of each request decides whether it is refundable.
	w = s.openOutcome(t, limit{limiter, kept, options{refundOn: "success", used: func(visit, int) int64 { return 0 }, tier: func(v visit) *core.Policy {
		if v.header("X-Plan") == "refundable" {
			return refundable()
		}
		return nil
	}}})
	w.get("/", "X-Outcome: 200").want(http.StatusOK)
	store.wantSettled(t)
	w.get("/", "X-Outcome: 200", "X-Plan: refundable").want(http.StatusOK)
	store.wantSettled(t, -1)
}

// The response of an inner limit has a status for the outer limit.
func checkRefundStacked(t *testing.T, s suite) {
	limiter, store := newSpy(t)
	outer := limit{limiter, core.NewPolicy("outer", core.PerMinute(9), core.Refundable(0)), options{
		refund: func(_ visit, status int) bool { return status == http.StatusTooManyRequests },
	}}
	inner := limit{limiter, core.NewPolicy("inner", core.PerMinute(2), core.Refundable(0)), options{refundOn: "failure"}}
	w := s.openOutcome(t, outer, inner)
	w.get("/", "X-Outcome: 200").want(http.StatusOK).wantField("RateLimit", `"outer";r=8;t=60, "inner";r=1;t=60`)
	w.get("/", "X-Outcome: 500").want(http.StatusInternalServerError)
	store.wantSettled(t, -1) // by the inner limit
	w.get("/", "X-Outcome: 200").want(http.StatusOK).wantField("RateLimit", `"outer";r=6;t=60, "inner";r=0;t=60`)
	for range 3 {
		w.get("/", "X-Outcome: 200").wantDeniedBy("inner").wantField("RateLimit", `"outer";r=5;t=60, "inner";r=0;t=60`)
		store.wantSettled(t, -1) // by the outer limit
	}
}

// A request that was not counted can't be given back.
func checkRefundUncounted(t *testing.T, s suite) {
	var asked int
	o := options{
		key:    byFunc("user", user),
		skip:   func(v visit) bool { return v.header("X-Skip") == "yes" },
		refund: func(visit, int) bool { asked++; return true },
	}
	log, logged := logAt(slog.LevelDebug)
	limiter, store := newSpy(t, logged)
	w := s.openOutcome(t, limit{limiter, core.NewPolicy("login", core.PerHour(1), core.Refundable(0), core.OnStoreFailure(core.FailOpen)), o})
	if err := limiter.SetRule(t.Context(), core.Rule{Kind: core.RuleExempt, Key: "user=admin"}); err != nil {
		t.Fatal(err)
	}
	w.get("/", "X-User: alice", "X-Outcome: 200", "X-Skip: yes").want(http.StatusOK)
	w.get("/", "X-Outcome: 200").want(http.StatusUnauthorized)
	if asked != 0 {
		t.Errorf("%d calls for requests that were skipped or rejected", asked)
	}
	w.get("/", "X-User: admin", "X-Outcome: 200").want(http.StatusOK)
	store.fail(errStore)
	w.get("/", "X-User: alice", "X-Outcome: 200").want(http.StatusOK)
	store.fail(nil)
	store.wantSettled(t)

	shadow := core.NewPolicy("shadow", core.PerHour(1), core.Refundable(0), core.Shadow())
	w = s.openOutcome(t, limit{limiter, shadow, options{refundOn: "failure"}})
	w.get("/", "X-Outcome: 200").want(http.StatusOK)
	w.get("/", "X-Outcome: 500").want(http.StatusInternalServerError) // above the limit, in shadow mode
	store.wantSettled(t)
	if d, err := limiter.Peek(t.Context(), shadow, "127.0.0.1"); err != nil || d.Remaining != 0 {
		t.Errorf("%d left, %v, want 0: a request that was not counted was given back", d.Remaining, err)
	}

	// The same holds for a denied request.
	denying := limit{limiter, core.NewPolicy("denying", core.PerHour(1), core.Refundable(0)), options{
		refund: func(_ visit, status int) bool { return status == http.StatusTooManyRequests },
	}}
	w = s.openOutcome(t, denying)
	w.get("/", "X-Outcome: 200").want(http.StatusOK)
	w.get("/", "X-Outcome: 200").wantDeniedBy("denying")
	store.wantSettled(t)
	// The log has the failure of the store, and nothing else.
	if lines := strings.Count(log.String(), "\n"); lines > 1 || strings.Contains(log.String(), "given back") {
		t.Errorf("the log has: %s", log.String())
	}
}
