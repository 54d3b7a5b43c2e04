package adaptertest

import (
	"context"
	"net/http"
	"testing"

	"github.com/streamlimit/streamlimit/core"
)

func checkFromContext(t *testing.T, s suite) {
	limiter, _ := newLimiter(t)
	policies := []*core.Policy{
		core.NewPolicy("app", core.PerMinute(9)),
		core.NewPolicy("group", core.PerMinute(8)),
		core.NewPolicy("route", core.PerMinute(7), core.PerHour(3)),
	}
	on := func(i int) []limit { return []limit{{limiter: limiter, policy: policies[i]}} }
	var handled int
	handler := func(v visit) error {
		handled++
		all := v.decisions()
		if len(all) != 3 {
			t.Errorf("%d decisions, want 3", len(all))
			return v.answer(http.StatusOK, "ok")
		}
		for i, d := range all {
			if d.Policy != policies[i] || !d.Allowed || d.Key != "127.0.0.1" || d.Source != core.SourceMemory {
				t.Errorf("decision %d is %+v, want that of %v", i, d, policies[i])
			}
		}
		all[2].Remaining = -1 // the caller owns the slice
		d, ok := v.fromContext()
		if !ok || d.Policy != policies[2] || d.Remaining != 2 || d.Limit != core.PerHour(3) {
			t.Errorf("the newest decision is %+v, %v", d, ok)
		}
		return v.answer(http.StatusOK, "ok")
	}
	unlimited := func(v visit) error {
		handled++
		if d, ok := v.fromContext(); ok || v.decisions() != nil {
			t.Errorf("an unlimited route has the decision %+v", d)
		}
		return v.answer(http.StatusOK, "ok")
	}
	w := s.open(t, app{groups: []group{
		{prefix: "/v1", limits: append(on(0), on(1)...), routes: []route{{path: "/x", limits: on(2), handler: handler}}},
		{routes: []route{{path: "/free", handler: unlimited}}},
	}})
	w.get("/v1/x").want(http.StatusOK)
	w.get("/free").want(http.StatusOK)
	if handled != 2 {
		t.Errorf("%d requests handled, want 2", handled)
	}
}

func checkRequestContext(t *testing.T, s suite) {
	type mark struct{}
	limiter, store := newSpy(t)
	w := s.openRoute(t, limit{limiter, core.NewPolicy("api", core.PerMinute(9)), options{
		// This runs before the store is called.
		skip: func(v visit) bool {
			v.setContext(context.WithValue(context.Background(), mark{}, v.header("X-Mark")+"!"))
			return false
		},
	}})
	for i, value := range []string{"one", "two"} {
		w.get("/1", "X-Mark: "+value).want(http.StatusOK)
		if got := store.contexts[i].Value(mark{}); got != value+"!" {
			t.Errorf("the store was given a context with %v, want %s!", got, value)
		}
	}
}
