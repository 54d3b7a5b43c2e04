package adaptertest

import (
	"log/slog"
	"net/http"
	"slices"
	"testing"

	"github.com/streamlimit/streamlimit/core"
)

// A request that a handler passes to the router again is counted once by each policy and
// key, for all middleware. It keeps the response fields of all of them.
func checkForward(t *testing.T, s suite) {
	log, logged := logAt(slog.LevelInfo)
	limiter, _ := newLimiter(t, logged)
	policies := make(map[string]*core.Policy)
	on := func(name string, o options) limit {
		if policies[name] == nil {
			policies[name] = core.NewPolicy(name, core.PerMinute(9))
		}
		return limit{limiter, policies[name], o}
	}
	w := s.open(t, app{
		limits: []limit{on("app", options{also: []also{{core.NewPolicy("shop", core.PerMinute(9)), byConstant("shop")}}})},
		groups: []group{{routes: []route{
			{path: "/old", limits: []limit{on("api", options{}), on("old", options{})}, handler: func(v visit) error { return v.forward("/new") }},
			{path: "/new", limits: []limit{on("api", options{}), on("new", options{})}},
			{path: "/by/:id", limits: []limit{on("id", options{key: byFunc("id", func(v visit) (string, error) { return v.param("id"), nil })})},
				handler: func(v visit) error {
					if v.param("id") == "1" {
						return v.forward("/by/2")
					}
					return v.answer(http.StatusOK, "ok")
				}},
		}}},
	})
	w.get("/old").want(http.StatusOK).
		wantField("RateLimit", `"app";r=8;t=60, "shop";r=8;t=60, "api";r=8;t=60, "old";r=8;t=60, "new";r=8;t=60`)
	var names []string
	for _, d := range w.passed[0] {
		names = append(names, d.Policy.Name())
	}
	if want := []string{"app", "shop", "api", "old", "new"}; !slices.Equal(names, want) {
		t.Errorf("decisions by %v, want %v", names, want)
	}
	w.get("/new").want(http.StatusOK).wantField("RateLimit", `"app";r=7;t=60, "shop";r=7;t=60, "api";r=7;t=60, "new";r=7;t=60`)
	// Two keys have two logs.
	w.get("/by/1").want(http.StatusOK).wantField("RateLimit", `"app";r=6;t=60, "shop";r=6;t=60, "id";r=8;t=60, "id-2";r=8;t=60`)
	w.get("/by/2").want(http.StatusOK).wantField("RateLimit", `"app";r=5;t=60, "shop";r=5;t=60, "id";r=7;t=60`)
	if log.Len() > 0 {
		t.Errorf("the log has %s", log.String())
	}
}

// A limit that refunds or settles does so once, at the end of the request that it let
// through first. This holds even if another limit has the same policy.
func checkForwardRefund(t *testing.T, s suite) {
	policy := core.NewPolicy("login", core.PerMinute(9), core.Refundable(0))
	for _, c := range []struct {
		name     string
		app, new func(refund options) options
		path     string
		asked    int // number of calls of the function
		left     int64
	}{
		{"outside", func(o options) options { return o }, func(options) options { return options{} }, "/old", 1, 9},
		{"inside", func(options) options { return options{} }, func(o options) options { return o }, "/old", 1, 9},
		{"inside, at once", func(options) options { return options{} }, func(o options) options { return o }, "/new", 1, 9},
		{"nowhere", func(options) options { return options{} }, func(options) options { return options{} }, "/old", 0, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			limiter, _ := newLimiter(t)
			asked := 0
			refund := options{refund: func(_ visit, status int) bool { asked++; return status == http.StatusUnauthorized }}
			w := s.open(t, app{
				limits: []limit{{limiter, policy, c.app(refund)}},
				groups: []group{{routes: []route{
					{path: "/old", handler: func(v visit) error { return v.forward("/new") }},
					{path: "/new", limits: []limit{{limiter, policy, c.new(refund)}}, handler: func(v visit) error {
						return v.answer(http.StatusUnauthorized, "no")
					}},
				}}},
			})
			w.get(c.path).want(http.StatusUnauthorized).wantField("RateLimit", `"login";r=8;t=60`)
			d, err := limiter.Peek(t.Context(), policy, "127.0.0.1")
			if err != nil || d.Remaining != c.left || asked != c.asked {
				t.Errorf("%d left, %v, and %d calls; want %d and %d", d.Remaining, err, asked, c.left, c.asked)
			}
		})
	}
	t.Run("inside, twice", func(t *testing.T) {
		limiter, store := newSpy(t)
		asked := 0
		refund := options{refund: func(visit, int) bool { asked++; return true }}
		w := s.open(t, app{
			limits: []limit{{limiter: limiter, policy: policy}},
			groups: []group{{routes: []route{{
				path: "/:id", limits: []limit{{limiter, policy, refund}},
				handler: func(v visit) error {
					if v.param("id") == "old" {
						return v.forward("/new")
					}
					return v.answer(http.StatusUnauthorized, "no")
				},
			}}}},
		})
		w.get("/old").want(http.StatusUnauthorized).wantField("RateLimit", `"login";r=8;t=60`)
		store.wantSettled(t, -1)
		if asked != 1 {
			t.Errorf("%d calls, want 1", asked)
		}
	})
}
