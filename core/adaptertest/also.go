package adaptertest

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/streamlimit/streamlimit/core"
)

// shop returns a limiter, and one limit of three policies: 9 for an address, 2 an hour
// for a user and 3 for the service.
func shop(t *testing.T, o options) (limit, *spy) {
	limiter, store := newSpy(t)
	o.also = []also{
		{core.NewPolicy("user", core.PerHour(2)), byFunc("user", user)},
		{core.NewPolicy("service", core.PerMinute(3)), byConstant("shop")},
	}
	return limit{limiter, core.NewPolicy("address", core.PerMinute(9)), o}, store
}

func checkAlso(t *testing.T, s suite) {
	l, store := shop(t, options{})
	w := s.openRoute(t, l)
	const policies = `"address";q=9;w=60, "user";q=2;w=3600, "service";q=3;w=60`
	w.get("/1", "X-User: alice").want(http.StatusOK).
		wantField("RateLimit-Policy", policies).
		wantField("RateLimit", `"address";r=8;t=60, "user";r=1;t=3600, "service";r=2;t=60`)
	w.get("/1", "X-User: alice").want(http.StatusOK)
	// Denied by one policy: the fields show the others too, and they have counted
	// nothing.
	w.get("/1", "X-User: alice").wantDeniedBy("user").
		wantField("Retry-After", "3600").
		wantField("RateLimit-Policy", policies).
		wantField("RateLimit", `"address";r=7;t=60, "user";r=0;t=3600, "service";r=1;t=60`)
	w.get("/1", "X-User: bob").want(http.StatusOK).
		wantField("RateLimit", `"address";r=6;t=60, "user";r=1;t=3600, "service";r=0;t=60`)
	w.get("/1", "X-User: bob").wantDeniedBy("service").wantField("Retry-After", "60")
	// Denied by two policies: the denial that lasts longest comes first.
	w.get("/1", "X-User: alice").wantDeniedBy("user", "service").
		wantField("Retry-After", "3600").
		wantField("RateLimit", `"address";r=6;t=60, "user";r=0;t=3600, "service";r=0;t=60`)
	store.clock.advance(59_999 * 1e6)
	w.get("/1", "X-User: bob").wantDeniedBy("service").wantField("Retry-After", "1")
	store.clock.advance(1e6)
	w.get("/1", "X-User: bob").want(http.StatusOK)
	if n := slices.Max(store.together); n != 3 || slices.Min(store.together) != 3 {
		t.Errorf("the store was asked about %v logs at a time, want 3", store.together)
	}
}

func checkAlsoDecisions(t *testing.T, s suite) {
	l, _ := shop(t, options{})
	var newest core.Decision
	w := s.open(t, app{
		limits: []limit{{limiter: l.limiter, policy: core.NewPolicy("app", core.PerMinute(9))}},
		groups: []group{{routes: []route{{path: "/", limits: []limit{l}, handler: func(v visit) error {
			newest, _ = v.fromContext()
			for _, d := range v.decisions() {
				if !d.Allowed || !d.Counted {
					t.Errorf("the decision is %+v", d)
				}
			}
			return v.answer(http.StatusOK, fmt.Sprint(names(v.decisions())))
		}}}}},
	})
	want := "[app 127.0.0.1 address 127.0.0.1 user user=alice service shop]"
	if r := w.get("/", "X-User: alice").want(http.StatusOK); r.body != want {
		t.Errorf("the decisions are by %s, want %s", r.body, want)
	}
	if newest.Policy != l.policy {
		t.Errorf("the newest decision is by %v, want the middleware's own policy", newest.Policy)
	}
}

// names returns the policies and keys of decisions.
func names(decisions []core.Decision) []string {
	var all []string
	for _, d := range decisions {
		all = append(all, d.Policy.Name(), d.Key)
	}
	return all
}

func checkAlsoDenied(t *testing.T, s suite) {
	var denied core.Decision
	l, _ := shop(t, options{denied: func(v visit, d core.Decision) error {
		denied = d
		if newest, ok := v.fromContext(); !ok || newest.Policy != d.Policy || newest.Allowed {
			t.Errorf("the decision in the context is by %v, want the denial by %v", newest.Policy, d.Policy)
		}
		for _, d := range v.decisions() {
			if d.Counted {
				t.Errorf("policy %v counted a denied request", d.Policy)
			}
		}
		return v.answer(http.StatusTeapot, fmt.Sprint(names(v.decisions())))
	}})
	w := s.openRoute(t, l)
	for _, name := range []string{"alice", "alice", "bob"} {
		w.get("/1", "X-User: "+name).want(http.StatusOK)
	}
	for name, want := range map[string]string{"alice": "user", "bob": "service"} {
		r := w.get("/1", "X-User: "+name).want(http.StatusTeapot)
		if denied.Policy.Name() != want || denied.Allowed {
			t.Errorf("the handler was given %+v, want the denial by %s", denied, want)
		}
		if all := "[address 127.0.0.1 user user=" + name + " service shop]"; r.body != all {
			t.Errorf("the decisions are by %s, want %s", r.body, all)
		}
	}
	if !s.has("WithFrameworkErrors") {
		return
	}
	l, _ = shop(t, options{frameworkErrors: true})
	w = s.openRoute(t, l)
	for _, name := range []string{"alice", "alice", "bob", "alice"} {
		w.get("/1", "X-User: "+name)
	}
	var limited *core.LimitedError
	if !errors.As(w.lastError(), &limited) || limited.Decision.Policy.Name() != "user" ||
		len(limited.Others) != 1 || limited.Others[0].Policy.Name() != "service" {
		t.Errorf("the framework was given %#v, want the denials by user and by service", w.lastError())
	}
}

// Policies without costs count requests, next to those with costs.
func checkAlsoCost(t *testing.T, s suite) {
	limiter, _ := newLimiter(t)
	w := s.openRoute(t, limit{limiter, core.NewPolicy("requests", core.PerMinute(3)), options{
		cost: units,
		also: []also{
			{core.NewPolicy("tokens", core.PerMinute(10), core.VariableCost()), byAddress()},
			{core.NewPolicy("service", core.PerMinute(20), core.VariableCost()), byConstant("shop")},
		},
	}})
	w.get("/1", "X-Cost: 4").want(http.StatusOK).
		wantField("RateLimit", `"requests";r=2;t=60, "tokens";r=6;t=60, "service";r=16;t=60`)
	w.get("/1", "X-Cost: 7").wantDeniedBy("tokens").
		wantField("RateLimit", `"requests";r=2;t=60, "tokens";r=6;t=60, "service";r=16;t=60`)
	for _, cost := range []string{"0", "-1", "11"} {
		w.get("/1", "X-Cost: "+cost).want(http.StatusBadRequest)
	}
	w.get("/1", "X-Cost: 6").want(http.StatusOK).
		wantField("RateLimit", `"requests";r=1;t=60, "tokens";r=0;t=60, "service";r=10;t=60`)
}

func checkAlsoTier(t *testing.T, s suite) {
	pro := core.NewPolicy("pro", core.PerMinute(100))
	l, _ := shop(t, options{tier: func(v visit) *core.Policy {
		if v.header("X-Plan") == "pro" {
			return pro
		}
		return nil
	}})
	w := s.openRoute(t, l)
	w.get("/1", "X-User: alice").want(http.StatusOK).
		wantField("RateLimit", `"address";r=8;t=60, "user";r=1;t=3600, "service";r=2;t=60`)
	w.get("/1", "X-User: bob", "X-Plan: pro").want(http.StatusOK).
		wantField("RateLimit", `"pro";r=99;t=60, "user";r=1;t=3600, "service";r=1;t=60`)
}

func checkAlsoKeys(t *testing.T, s suite) {
	l, store := shop(t, options{})
	w := s.openRoute(t, l)
	// A request that lacks one of the keys is rejected, and no policy counts it.
	w.get("/1").want(http.StatusUnauthorized).wantProblem(unauthorized).wantField("RateLimit", "")
	w.get("/1", "X-User: banned").want(http.StatusForbidden)
	w.get("/1", "X-User: broken").want(http.StatusServiceUnavailable)
	if n := len(store.asked()); n > 0 || w.handled() > 0 {
		t.Errorf("the store was asked about %d logs for refused requests, and %d came through", n, w.handled())
	}

	// Two keys that are the same are counted once.
	limiter, _ := newLimiter(t)
	policy := core.NewPolicy("api", core.PerMinute(9))
	w = s.openRoute(t, limit{limiter, policy, options{also: []also{
		{policy, byFirst(byFunc("user", user), byAddress())},
	}}})
	w.get("/1").want(http.StatusOK).wantField("RateLimit", `"api";r=8;t=60`)
	w.get("/1", "X-User: alice").want(http.StatusOK).wantField("RateLimit", `"api";r=7;t=60, "api-2";r=8;t=60`)
}

// The limiter knows the policies before the first request.
func checkKnownPolicies(t *testing.T, s suite) {
	l, _ := shop(t, options{})
	s.openRoute(t, l)
	if known := fmt.Sprint(l.limiter.Policies()); known != "[address service user]" {
		t.Errorf("the limiter knows the policies %s", known)
	}
}
