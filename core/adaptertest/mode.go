package adaptertest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/core"
)

// The failure mode is a setting of the policy, or of the limiter for policies without
// one.
func checkFailureModes(t *testing.T, s suite) {
	policy := func(mode core.FailureMode) *core.Policy {
		return core.NewPolicy("api", core.PerMinute(1), core.OnStoreFailure(mode), core.Refundable(0))
	}
	open := func(w *site) {
		t.Helper()
		for range 3 {
			w.get("/1").want(http.StatusOK).wantNoFields()
		}
		if d := w.newest(); d.Reason != core.ReasonFailOpen || d.Counted || d.Source != core.SourceNone {
			t.Errorf("the decision is %+v, want one without a log", d)
		}
	}
	local := func(w *site) {
		t.Helper()
		w.get("/1").want(http.StatusOK).wantField("RateLimit", `"api";r=0;t=60`)
		if d := w.newest(); d.Source != core.SourceFallback || !d.Counted {
			t.Errorf("the decision is %+v, want one by this process's memory", d)
		}
		w.get("/1").wantDeniedBy("api")
	}
	closed := func(w *site) {
		t.Helper()
		w.get("/1").want(http.StatusServiceUnavailable).wantProblem(unavailable).wantField("Retry-After", "1").wantNoFields()
		if w.handled() != 0 {
			t.Error("a request came through")
		}
	}
	for _, c := range []struct {
		name   string
		policy core.FailureMode
		more   []core.Option
		check  func(*site)
	}{
		{"unset", "", nil, local},
		{"limiter closed", "", []core.Option{core.WithFailureMode(core.FailClosed)}, closed},
		{"open", core.FailOpen, nil, open},
		{"local", core.FailLocal, nil, local},
		{"closed", core.FailClosed, nil, closed},
		{"limiter open", "", []core.Option{core.WithFailureMode(core.FailOpen)}, open},
		{"limiter local", "", []core.Option{core.WithFailureMode(core.FailLocal)}, local},
		{"limiter open, policy closed", core.FailClosed, []core.Option{core.WithFailureMode(core.FailOpen)}, closed},
	} {
		t.Run(c.name, func(t *testing.T) {
			limiter, store := newSpy(t, c.more...)
			w := s.openRoute(t, limit{limiter: limiter, policy: policy(c.policy)})
			store.fail(errStore)
			c.check(w)
			store.fail(nil)
			w.get("/1").want(http.StatusOK)
			if d := w.newest(); d.Source != core.SourceMemory {
				t.Errorf("the store decides no more: %+v", d)
			}
		})
	}

	// An overloaded process must not grant a second budget.
	for mode, passes := range map[core.FailureMode]bool{core.FailLocal: false, core.FailClosed: false, core.FailOpen: true} {
		t.Run("overloaded, "+string(mode), func(t *testing.T) {
			limiter, store := newSpy(t)
			w := s.openRoute(t, limit{limiter: limiter, policy: policy(mode)})
			store.fail(fmt.Errorf("store: %w", core.ErrOverloaded))
			if passes {
				open(w)
			} else {
				answer := w.get("/1").want(http.StatusServiceUnavailable).wantNoFields()
				if !strings.Contains(answer.body, "#temporary-reduced-capacity") {
					t.Errorf("body %s", answer.body)
				}
				if after, err := strconv.Atoi(answer.header.Get("Retry-After")); err != nil || after < 1 || after > 3 {
					t.Errorf("Retry-After %q, want 1 to 3", answer.header.Get("Retry-After"))
				}
				if w.handled() != 0 {
					t.Error("a request came through")
				}
			}
			if h := limiter.Health(); h.Overloaded == 0 || h.Down != nil || h.Local != 0 {
				t.Errorf("%+v, want overloaded requests and nothing else", h)
			}
		})
	}

	t.Run("several", func(t *testing.T) {
		limiter, store := newSpy(t)
		second := func(mode core.FailureMode) options {
			return options{also: []also{{core.NewPolicy("all", core.PerMinute(2), core.OnStoreFailure(mode)), byConstant("shop")}}}
		}
		store.fail(errStore)
		w := s.openRoute(t, limit{limiter, policy(core.FailOpen), second(core.FailLocal)})
		w.get("/1").want(http.StatusOK).wantField("RateLimit", `"all";r=1;t=60`)
		w.get("/1").want(http.StatusOK).wantField("RateLimit", `"all";r=0;t=60`)
		w.get("/1").wantDeniedBy("all")
		w = s.openRoute(t, limit{limiter, policy(core.FailOpen), second(core.FailClosed)})
		w.get("/1").want(http.StatusServiceUnavailable)
	})

	t.Run("given back to this process's memory", func(t *testing.T) {
		limiter, store := newSpy(t)
		w := s.openOutcome(t, limit{limiter, policy(core.FailLocal), options{refundOn: "success"}})
		store.fail(errStore)
		for range 3 {
			w.get("/", "X-Outcome: 200").want(http.StatusOK)
		}
		w.get("/", "X-Outcome: 401").want(http.StatusUnauthorized)
		w.get("/", "X-Outcome: 200").wantDeniedBy("api")
		store.wantSettled(t) // the store does not know of them
	})
}
