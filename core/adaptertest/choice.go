package adaptertest

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/core"
)

// units is a cost function that reads X-Cost.
func units(v visit) (int64, error) {
	switch value := v.header("X-Cost"); value {
	case "many":
		return 0, core.Refuse(http.StatusUnprocessableEntity, "X-Cost must be a number")
	case "broken":
		return 0, errors.New("dial tcp 10.9.8.7: no prices today")
	default:
		return strconv.ParseInt(value, 10, 64)
	}
}

func checkCost(t *testing.T, s suite) {
	limiter, _ := newLimiter(t)
	policy := core.NewPolicy("tokens", core.PerMinute(10), core.VariableCost())
	w := s.openRoute(t, limit{limiter, policy, options{cost: units}})
	w.get("/1", "X-Cost: 4").want(http.StatusOK).wantField("RateLimit", `"tokens";r=6;t=60`)
	w.get("/1", "X-Cost: 4").want(http.StatusOK).wantField("RateLimit", `"tokens";r=2;t=60`)
	w.get("/1", "X-Cost: 4").want(http.StatusTooManyRequests).wantField("RateLimit", `"tokens";r=2;t=60`).
		wantProblem(`{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Too Many Requests","status":429,` +
			`"detail":"10 units per minute; retry in 60s","violated-policies":["tokens"]}`)
	w.get("/1", "X-Cost: 2").want(http.StatusOK).wantField("RateLimit", `"tokens";r=0;t=60`)
	if d := w.newest(); d.Cost != 2 {
		t.Errorf("a decision of cost %d, want 2", d.Cost)
	}
}

func checkCostRefused(t *testing.T, s suite) {
	log, logged := logAt(slog.LevelError)
	limiter, _ := newLimiter(t, logged)
	policy := core.NewPolicy("tokens", core.PerMinute(10), core.VariableCost())
	w := s.openRoute(t, limit{limiter, policy, options{cost: units}})
	const never = `{"title":"Bad Request","status":400,"detail":"the request's cost can never be admitted"}`
	for _, cost := range []string{"11", "0", "-1", "9223372036854775807"} {
		w.get("/1", "X-Cost: "+cost).want(http.StatusBadRequest).wantProblem(never).
			wantField("Retry-After", "").wantField("RateLimit", "")
	}
	w.get("/1", "X-Cost: many").want(http.StatusUnprocessableEntity).wantField("Retry-After", "").
		wantProblem(`{"title":"Unprocessable Entity","status":422,"detail":"X-Cost must be a number"}`)
	w.get("/1", "X-Cost: broken").want(http.StatusServiceUnavailable).wantField("Retry-After", "1").
		wantProblem(unavailable).wantNowhere("10.9.8.7")
	w.get("/1", "X-Cost: broken").want(http.StatusServiceUnavailable)
	if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "no prices today") || !strings.Contains(text, "policy=tokens") {
		t.Errorf("log %q, want one line about the function that fails", text)
	}
	if w.handled() != 0 {
		t.Error("a rejected request came through")
	}
	w.get("/1", "X-Cost: 10").want(http.StatusOK) // no rejected request took anything
}

func checkSkip(t *testing.T, s suite) {
	limiter, _ := newLimiter(t)
	policy := core.NewPolicy("api", core.PerMinute(1))
	var asked int
	w := s.openRoute(t, limit{limiter, policy, options{
		skip: func(v visit) bool { return v.header("X-Skip") == "yes" },
		key:  byFunc("user", func(visit) (string, error) { asked++; return "alice", nil }),
	}})
	for range 3 {
		w.get("/1", "X-Skip: yes").want(http.StatusOK).
			wantField("RateLimit", "").wantField("RateLimit-Policy", "").wantField("Retry-After", "")
	}
	if n := len(w.passed[2]); n != 0 || asked != 0 {
		t.Errorf("a skipped request has %d decisions and was asked %d times for its key", n, asked)
	}
	w.get("/1").want(http.StatusOK)
	w.get("/1").wantDeniedBy("api")
	w.get("/1", "X-Skip: yes").want(http.StatusOK)
}

func checkTier(t *testing.T, s suite) {
	limiter, _ := newLimiter(t)
	free := core.NewPolicy("free", core.PerMinute(1), core.VariableCost())
	pro := core.NewPolicy("pro", core.PerMinute(2), core.VariableCost())
	w := s.openRoute(t, limit{limiter, free, options{
		tier: func(v visit) *core.Policy {
			if v.header("X-Plan") == "pro" {
				return pro
			}
			return nil
		},
		cost: func(v visit) (int64, error) {
			if v.header("X-Plan") == "pro" {
				return 2, nil
			}
			return 1, nil
		},
	}})
	w.get("/1").want(http.StatusOK).wantField("RateLimit-Policy", `"free";q=1;w=60`)
	w.get("/1").wantDeniedBy("free")
	w.get("/1", "X-Plan: pro").want(http.StatusOK).wantField("RateLimit-Policy", `"pro";q=2;w=60`).
		wantField("RateLimit", `"pro";r=0;t=60`)
	if d := w.newest(); d.Policy != pro {
		t.Errorf("decided by policy %v, want pro", d.Policy)
	}
	w.get("/1", "X-Plan: pro").wantDeniedBy("pro")
}

// The policies of requests need not all fit the options, except for the cost: no client
// is charged 1 for more by mistake.
func checkTierCost(t *testing.T, s suite) {
	limiter, _ := newLimiter(t)
	plain := core.NewPolicy("plain", core.PerMinute(9))
	costs := core.NewPolicy("costs", core.PerMinute(9), core.VariableCost())
	also := []also{{core.NewPolicy("also", core.PerMinute(9), core.VariableCost()), byAddress()}}
	find := map[string]*core.Policy{"plain": plain, "costs": costs}
	tier := func(v visit) *core.Policy { return find[v.header("X-Plan")] }
	w := s.openRoute(t, limit{limiter, costs, options{cost: units, tier: tier}})
	w.get("/1", "X-Plan: costs", "X-Cost: 2").want(http.StatusOK)
	w.get("/1", "X-Plan: plain", "X-Cost: 2").want(http.StatusBadRequest)

	w = s.openRoute(t, limit{limiter, plain, options{cost: units, tier: tier, also: also}})
	w.get("/1", "X-Plan: plain", "X-Cost: 2").want(http.StatusOK).wantField("RateLimit", `"plain";r=8;t=60, "also";r=7;t=60`)
	w.get("/1", "X-Plan: costs", "X-Cost: 2").want(http.StatusOK).wantField("RateLimit", `"costs";r=5;t=60, "also";r=5;t=60`)
}
