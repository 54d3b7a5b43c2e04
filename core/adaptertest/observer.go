package adaptertest

import (
	"strings"
	"sync"
	"testing"

	"github.com/streamlimit/streamlimit/core"
)

// seen is an observer that keeps what it is told.
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

// Observers are told of decisions with the route's template, never its path.
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
		t.Fatalf("told of %d decisions, want 4: %+v", len(told.all), told.all)
	}
	for i, o := range told.all {
		result := core.ResultAllowed
		if i == 2 {
			result = core.ResultDenied
		}
		if want := []string{"api", "all"}[i%2]; o.Policy.Name() != want || o.Result != result || o.Source != core.SourceMemory || o.Cost != 1 || o.Key == "" || o.Took < 0 {
			t.Errorf("told %+v, want a decision by %s: %s", o, want, result)
		}
		if !strings.Contains(o.Route, "id") || strings.Contains(o.Route, "secret") {
			t.Errorf("the route is %q, want its template", o.Route)
		}
	}
}
