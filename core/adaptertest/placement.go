package adaptertest

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

func checkPlacement(t *testing.T, s suite) {
	limiter, _ := newLimiter(t)
	on := func(name string, most int64) []limit {
		return []limit{{limiter: limiter, policy: core.NewPolicy(name, core.PerMinute(most))}}
	}
	w := s.open(t, app{
		limits: on("app", 6),
		groups: []group{
			{routes: []route{{path: "/free"}}},
			{prefix: "/v1", limits: on("group", 3), routes: []route{
				{path: "/open"},
				{path: "/strict", limits: on("route", 1)},
			}},
		},
	})
	for i, step := range []struct {
		path, deniedBy string
		handled        int
	}{
		{"/v1/strict", "", 1},
		{"/v1/strict", "route", 1}, // the group has 1 left
		{"/v1/open", "", 2},
		{"/v1/open", "group", 2}, // the app has 2 left
		{"/free", "", 3},
		{"/free", "", 4},
		{"/free", "app", 4},
		{"/v1/strict", "app", 4},
	} {
		t.Logf("step %d: %s", i, step.path)
		r := w.get(step.path)
		if step.deniedBy == "" {
			r.want(http.StatusOK)
		} else {
			r.wantDeniedBy(step.deniedBy)
		}
		if w.handled() != step.handled {
			t.Fatalf("%d requests came to a handler, want %d", w.handled(), step.handled)
		}
	}
}

func checkStackedFields(t *testing.T, s suite) {
	limiter, clock := newLimiter(t)
	app3 := core.NewPolicy("app", core.PerMinute(5))
	search := core.NewPolicy("search", core.PerSecond(2), core.PerHour(1000))
	// The same name as the outer policy: names are unique in a field.
	namesake := core.NewPolicy("app", core.Per(9, 1500*time.Millisecond))
	w := s.open(t, app{
		limits: []limit{{limiter: limiter, policy: app3}},
		groups: []group{{prefix: "/v1", limits: []limit{{limiter: limiter, policy: search}}, routes: []route{
			{path: "/both"},
			{path: "/three", limits: []limit{{limiter: limiter, policy: namesake}}},
		}}},
	})
	w.get("/v1/both").want(http.StatusOK).
		wantField("RateLimit-Policy", `"app";q=5;w=60, "search";q=2;w=1, "search-hour";q=1000;w=3600`).
		wantField("RateLimit", `"app";r=4;t=60, "search";r=1;t=1, "search-hour";r=999;t=3600`).
		wantField("Retry-After", "")
	w.get("/v1/three").want(http.StatusOK).
		wantField("RateLimit-Policy", `"app";q=5;w=60, "search";q=2;w=1, "search-hour";q=1000;w=3600, "app-2";q=9`).
		wantField("RateLimit", `"app";r=3;t=60, "search";r=0;t=1, "search-hour";r=998;t=3600, "app-2";r=8;t=2`).
		wantField("Retry-After", "")
	// Denied inside: the fields show the outer policies, the policies further inside do
	// not decide, and no t is later than Retry-After.
	clock.advance(500 * time.Millisecond)
	w.get("/v1/three").wantDeniedBy("search").
		wantField("RateLimit-Policy", `"app";q=5;w=60, "search";q=2;w=1, "search-hour";q=1000;w=3600`).
		wantField("RateLimit", `"app";r=2, "search";r=0;t=1, "search-hour";r=998`).
		wantField("Retry-After", "1")
	// Denied outside: the fields do not show the inner policies.
	clock.advance(time.Second)
	w.get("/v1/both").want(http.StatusOK)
	w.get("/v1/both").want(http.StatusOK)
	w.get("/v1/both").wantDeniedBy("app").
		wantField("RateLimit-Policy", `"app";q=5;w=60`).
		wantField("RateLimit", `"app";r=0;t=59`).
		wantField("Retry-After", "59")
}

func checkSamePolicyTwice(t *testing.T, s suite) {
	limiter, _ := newLimiter(t)
	l := limit{limiter: limiter, policy: core.NewPolicy("api", core.PerMinute(5))}
	w := s.open(t, app{limits: []limit{l}, groups: []group{{routes: []route{{path: "/twice", limits: []limit{l}}}}}})
	w.get("/twice").want(http.StatusOK).
		wantField("RateLimit-Policy", `"api";q=5;w=60`).
		wantField("RateLimit", `"api";r=4;t=60`)
	if n := len(w.passed[0]); n != 1 {
		t.Errorf("%d decisions for one policy, want 1", n)
	}
}

// A policy with two keys of one request makes two decisions.
func checkOnePolicyTwoKeys(t *testing.T, s suite) {
	limiter, _ := newLimiter(t)
	policy := core.NewPolicy("api", core.PerMinute(2))
	w := s.openRoute(t, limit{limiter: limiter, policy: policy}, limit{limiter, policy, options{key: byHeader("X-API-Key")}})
	w.get("/1", "X-API-Key: a").want(http.StatusOK)
	w.get("/1", "X-API-Key: b").want(http.StatusOK).
		wantField("RateLimit-Policy", `"api";q=2;w=60, "api-2";q=2;w=60`).
		wantField("RateLimit", `"api";r=0;t=60, "api-2";r=1;t=60`)
	if n := len(w.passed[1]); n != 2 {
		t.Errorf("%d decisions, want 2", n)
	}
}

// A policy that charges a request two costs has its middleware on the route twice.
func checkAskedTwice(t *testing.T, s suite) {
	two := func(visit) (int64, error) { return 2, nil }
	for _, c := range []struct {
		name  string
		inner options
		most  int64
		want  int
	}{
		{"the same key", options{}, 9, 0},
		{"another cost", options{cost: two}, 9, 1},
		{"another cost, and denied for it", options{cost: two}, 2, 1},
		{"another key", options{key: byConstant("shop")}, 9, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			log, logged := logAt(slog.LevelInfo)
			limiter, _ := newLimiter(t, logged)
			policy := core.NewPolicy("api", core.PerMinute(c.most), core.VariableCost())
			w := s.openRoute(t, limit{limiter: limiter, policy: policy}, limit{limiter, policy, c.inner})
			if err := limiter.SetRule(t.Context(), core.Rule{Kind: core.RuleExempt, Key: "127.0.0.1"}); err != nil {
				t.Fatal(err)
			}
			w.get("/1").want(http.StatusOK)
			if log.Len() > 0 {
				t.Errorf("the log has, of a request that was not counted: %s", log.String())
			}
			if _, err := limiter.DeleteRule(t.Context(), core.Rule{Kind: core.RuleExempt, Key: "127.0.0.1"}.ID()); err != nil {
				t.Fatal(err)
			}
			w.get("/1")
			w.get("/1")
			if n := strings.Count(log.String(), "STREAMLIMIT_W003"); n != c.want {
				t.Errorf("%d warnings, want %d: %s", n, c.want, log.String())
			}
		})
	}
}
