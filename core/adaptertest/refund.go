package adaptertest

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// patience bounds the waits of a test. It delays only tests that fail.
const patience = 20 * time.Second

// refundable returns a policy of 5 an hour that allows refunds.
func refundable() *core.Policy { return core.NewPolicy("login", core.PerHour(5), core.Refundable(0)) }

// outcome is a handler whose result is in X-Outcome: a status, or "nothing", "error",
// "refuse" or "panic".
func outcome(v visit) error {
	switch value := v.header("X-Outcome"); value {
	case "nothing":
		return nil
	case "error":
		return errors.New("no database today")
	case "refuse":
		return v.refuse(http.StatusPaymentRequired)
	case "panic":
		panic("panic in a handler")
	default:
		status, err := strconv.Atoi(value)
		if err != nil {
			return err
		}
		return v.answer(status, "ok")
	}
}

// openOutcome serves "/" with outcome behind the limits.
func (s suite) openOutcome(t *testing.T, limits ...limit) *site {
	t.Helper()
	return s.open(t, app{groups: []group{{routes: []route{{path: "/", limits: limits, handler: outcome}}}}})
}

// Functions get the status that the client sees.
func checkRefundStatus(t *testing.T, s suite) {
	seen := 0
	limiter, store := newSpy(t)
	asking := limit{limiter, refundable(), options{refund: func(_ visit, status int) bool {
		seen = status
		return true
	}}}
	w := s.openOutcome(t, asking)
	for _, c := range []string{"200", "201", "302", "399", "400", "401", "404", "499", "500", "503", "nothing", "error"} {
		r := w.get("/", "X-Outcome: "+c).wantField("RateLimit", `"login";r=4;t=3600`)
		if seen != r.status {
			t.Errorf("%s: given status %d, but the client sees %d", c, seen, r.status)
		}
		store.wantSettled(t, -1)
	}
	for on, back := range map[string]func(status int) bool{
		"success": func(status int) bool { return status < 400 },
		"failure": func(status int) bool { return status >= 400 },
	} {
		limiter, store := newSpy(t)
		policy := core.NewPolicy("login", core.PerHour(100), core.Refundable(0))
		w := s.openOutcome(t, limit{limiter, policy, options{refundOn: on}})
		for _, status := range []int{200, 204, 301, 399, 400, 401, 500} {
			w.get("/", "X-Outcome: "+strconv.Itoa(status)).want(status)
			if back(status) {
				store.wantSettled(t, -1)
			} else {
				store.wantSettled(t)
			}
		}
	}
}

// An error of the framework counts as the status in it.
func checkRefundOwnErrors(t *testing.T, s suite) {
	limiter, store := newSpy(t)
	var seen int
	w := s.openOutcome(t, limit{limiter, refundable(), options{refund: func(_ visit, status int) bool {
		seen = status
		return false
	}}})
	w.get("/", "X-Outcome: refuse").want(http.StatusPaymentRequired)
	if seen != http.StatusPaymentRequired {
		t.Errorf("given status %d, want that of the error", seen)
	}
	store.wantSettled(t)
}

// Of any number of concurrent logins, 5 wrong ones are tried. Right ones cost nothing.
func checkRefundLogins(t *testing.T, s suite) {
	const logins, most = 40, 5
	limiter, clock := newLimiter(t)
	release := make(chan struct{})
	var tried sync.WaitGroup
	tried.Add(most)
	w := s.open(t, app{groups: []group{{routes: []route{{
		path:   "/",
		limits: []limit{{limiter, refundable(), options{refundOn: "success"}}},
		handler: func(v visit) error {
			if v.header("X-Hold") == "yes" {
				tried.Done() // panics at the sixth
				<-release
			}
			return outcome(v)
		},
	}}}}})
	var mu sync.Mutex
	statuses := map[int]int{}
	denied := make(chan struct{}, logins)
	var group sync.WaitGroup
	for range logins {
		group.Go(func() {
			r, err := w.ask(http.MethodGet, "/", "X-Hold: yes", "X-Outcome: 401")
			if err != nil {
				t.Error(err)
			}
			if r.status == http.StatusTooManyRequests {
				denied <- struct{}{}
			}
			mu.Lock()
			statuses[r.status]++
			mu.Unlock()
		})
	}
	// All other logins are denied while the first 5 are in their handlers.
	for i := range logins - most {
		select {
		case <-denied:
		case <-time.After(patience):
			t.Fatalf("%d logins denied beside those in handlers, want %d", i, logins-most)
		}
	}
	tried.Wait()
	close(release)
	group.Wait()
	if statuses[http.StatusUnauthorized] != most || statuses[http.StatusTooManyRequests] != logins-most {
		t.Errorf("answers by status: %v, want %d of 401 and %d of 429", statuses, most, logins-most)
	}
	w.get("/", "X-Outcome: 200").wantDeniedBy("login")

	clock.advance(time.Hour)
	for range logins {
		w.get("/", "X-Outcome: 200").want(http.StatusOK).wantField("RateLimit", `"login";r=4;t=3600`)
	}
	for range most {
		w.get("/", "X-Outcome: 401").want(http.StatusUnauthorized)
	}
	w.get("/", "X-Outcome: 200").wantDeniedBy("login")
}

// A panic counts as 500, and continues to the recovery outside.
func checkRefundPanic(t *testing.T, s suite) {
	limiter, store := newSpy(t)
	w := s.openOutcome(t, limit{limiter, refundable(), options{refundOn: "failure"}})
	w.get("/", "X-Outcome: panic").want(http.StatusInternalServerError)
	store.wantSettled(t, -1)
	w.get("/", "X-Outcome: 200").want(http.StatusOK).wantField("RateLimit", `"login";r=4;t=3600`)

	limiter, store = newSpy(t)
	w = s.openOutcome(t, limit{limiter, refundable(), options{refundOn: "success"}})
	w.get("/", "X-Outcome: panic").want(http.StatusInternalServerError)
	store.wantSettled(t)
}

// A client that has left by the end of its handler gets its request back.
func checkRefundClientGone(t *testing.T, s suite) {
	limiter, store := newSpy(t)
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan struct{})
	w := s.open(t, app{groups: []group{{routes: []route{{
		path:   "/",
		limits: []limit{{limiter, refundable(), options{refundOn: "success"}}},
		handler: func(v visit) error {
			cancel()
			<-left
			waitGone(t, v)
			return v.answer(http.StatusOK, "too late")
		},
	}}}}})
	_, err := w.askIn(ctx, http.MethodGet, "/")
	close(left)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the request ended with %v, want it canceled", err)
	}
	select {
	case <-store.settled:
	case <-time.After(patience):
		t.Fatal("the request was not given back")
	}
}
