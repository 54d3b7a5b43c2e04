package adaptertest

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/streamlimit/streamlimit/core"
)

// seen is an observer that records its observations.
type seen struct {
	mu  sync.Mutex
	all []core.Observation
}

func (s *seen) Observe(o core.Observation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.Route = strings.Clone(o.Route)
	s.all = append(s.all, o)
}

// Observers get decisions with the route's template, never its path.
func checkObserver(t *testing.T, s suite) {
	var told seen
	limiter, _ := newSpy(t, core.WithObserver(&told))
	w := s.openRoute(t, limit{limiter, core.NewPolicy("api", core.PerMinute(1)), options{
		also: []also{{core.NewPolicy("all", core.PerMinute(5)), byConstant("shop")}},
	}})
	w.get("/secret-1")
	w.get("/secret-2").wantDeniedBy("api")
	told.mu.Lock()
	defer told.mu.Unlock()
	if len(told.all) != 4 {
		t.Fatalf("got %d decisions, want 4: %+v", len(told.all), told.all)
	}
	for i, o := range told.all {
		result, before := core.ResultAllowed, core.Result(0)
		if i == 2 {
			result = core.ResultDenied
		}
		request := []core.Result{core.ResultAllowed, core.ResultDenied}[i/2]
		if i%2 == 1 {
			before = request // its first decision has counted the request
		}
		if want := []string{"api", "all"}[i%2]; o.Policy.Name() != want || o.Result != result || o.Source != core.SourceMemory || o.Cost != 1 || o.Key == "" || o.Took < 0 {
			t.Errorf("told %+v, want a decision by %s: %s", o, want, result)
		}
		if o.Before != before || o.Request != request {
			t.Errorf("decision %d: the request was %v and is %v, want %v and %v", i, o.Before, o.Request, before, request)
		}
		if !strings.Contains(o.Route, "id") || strings.Contains(o.Route, "secret") {
			t.Errorf("the route is %q, want its template", o.Route)
		}
	}
}

// A request under several limits is one request: the inner limit's observation includes
// the result of the outer limit.
func checkRequestsCountOnce(t *testing.T, s suite) {
	var told seen
	limiter, _ := newSpy(t, core.WithObserver(&told))
	other, _ := newSpy(t, core.WithObserver(&told)) // has not counted the request
	policy := func(name string, most int64, o ...core.PolicyOption) *core.Policy {
		return core.NewPolicy(name, append(o, core.PerMinute(most))...)
	}
	w := s.openRoute(t,
		limit{limiter: limiter, policy: policy("outer", 9)},
		limit{limiter: limiter, policy: policy("shadow", 1, core.Shadow())},
		limit{limiter: limiter, policy: policy("inner", 2)},
		limit{limiter: other, policy: policy("other", 9)})
	for range 2 {
		w.get("/id")
	}
	w.get("/id").wantDeniedBy("inner")
	const allowed, shadow, denied = core.ResultAllowed, core.ResultShadowDenied, core.ResultDenied
	want := [][2]core.Result{
		{0, allowed}, {allowed, allowed}, {allowed, allowed}, {0, allowed},
		{0, allowed}, {allowed, shadow}, {shadow, shadow}, {0, allowed},
		{0, allowed}, {allowed, shadow}, {shadow, denied},
	}
	told.mu.Lock()
	defer told.mu.Unlock()
	if len(told.all) != len(want) {
		t.Fatalf("got %d decisions, want %d", len(told.all), len(want))
	}
	for i, o := range told.all {
		if got := [2]core.Result{o.Before, o.Request}; got != want[i] {
			t.Errorf("decision %d by %s: the request was %v and is %v, want %v", i, o.Policy.Name(), got[0], got[1], want[i])
		}
	}
}

// A request that a handler passes to the router again stays one request, even after a
// denial.
func checkForwardCountsOnce(t *testing.T, s suite) {
	var told seen
	limiter, _ := newSpy(t, core.WithObserver(&told))
	api, sorry := core.NewPolicy("api", core.PerMinute(1)), core.NewPolicy("sorry", core.PerMinute(9))
	forward := func(v visit) error { return v.forward("/sorry") }
	denied := options{denied: func(v visit, _ core.Decision) error { return forward(v) }}
	w := s.open(t, app{groups: []group{{routes: []route{
		{path: "/api", limits: []limit{{limiter, api, denied}}, handler: forward},
		{path: "/sorry", limits: []limit{{limiter: limiter, policy: sorry}}},
	}}}})
	w.get("/api").want(http.StatusOK)
	w.get("/api").want(http.StatusOK)
	want := [][2]core.Result{
		{0, core.ResultAllowed}, {core.ResultAllowed, core.ResultAllowed},
		{0, core.ResultDenied}, {core.ResultDenied, core.ResultDenied},
	}
	told.mu.Lock()
	defer told.mu.Unlock()
	var got [][2]core.Result
	for _, o := range told.all {
		got = append(got, [2]core.Result{o.Before, o.Request})
	}
	if !slices.Equal(got, want) {
		t.Errorf("requests were and are %v, want %v", got, want)
	}
}
