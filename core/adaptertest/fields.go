package adaptertest

import (
	"errors"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

func checkForms(t *testing.T, s suite) {
	ietf := map[string]string{"RateLimit-Policy": `"api";q=2;w=60`, "RateLimit": `"api";r=1;t=60`}
	x := map[string]string{"X-RateLimit-Limit": "2", "X-RateLimit-Remaining": "1", "X-RateLimit-Reset": "60"}
	draft := map[string]string{"RateLimit-Limit": "2", "RateLimit-Remaining": "1", "RateLimit-Reset": "60"}
	unit := map[string]string{"X-RateLimit-Limit-Requests": "2", "X-RateLimit-Remaining-Requests": "1", "X-RateLimit-Reset-Requests": "1m0s"}
	for _, c := range []struct {
		name  string
		forms []core.HeaderForm
		want  []map[string]string
	}{
		{"unset", nil, []map[string]string{ietf}},
		{"none", []core.HeaderForm{}, nil},
		{"IETF", []core.HeaderForm{core.HeadersIETF}, []map[string]string{ietf}},
		{"X", []core.HeaderForm{core.HeadersX}, []map[string]string{x}},
		{"Draft06", []core.HeaderForm{core.HeadersDraft06}, []map[string]string{draft}},
		{"ByUnit", []core.HeaderForm{core.HeadersByUnit}, []map[string]string{unit}},
		{"all", []core.HeaderForm{core.HeadersByUnit, core.HeadersIETF, core.HeadersX, core.HeadersDraft06}, []map[string]string{unit, ietf, x, draft}},
		{"two", []core.HeaderForm{core.HeadersX, core.HeadersDraft06}, []map[string]string{x, draft}},
		{"one given twice", []core.HeaderForm{core.HeadersX, core.HeadersX}, []map[string]string{x}},
	} {
		t.Run(c.name, func(t *testing.T) {
			limiter, _ := newLimiter(t)
			w := s.openRoute(t, limit{limiter, core.NewPolicy("api", core.PerMinute(2)), options{headers: c.forms}})
			r := w.get("/1").want(http.StatusOK).wantField("Retry-After", "")
			want := map[string]string{}
			for _, form := range c.want {
				maps.Copy(want, form)
			}
			for _, form := range []map[string]string{ietf, x, draft, unit} {
				for name := range form {
					r.wantField(name, want[name])
				}
			}
			w.get("/1").want(http.StatusOK)
			// Retry-After belongs to the response, with all forms.
			w.get("/1").wantDeniedBy("api").wantField("Retry-After", "60")
		})
	}
}

// Requests and tokens stand side by side, each with the limit that binds, in admitted and in
// denied responses.
func checkFieldsByUnit(t *testing.T, s suite) {
	limiter, clock := newLimiter(t)
	tokens := func(v visit) (int64, error) { return strconv.ParseInt(v.header("X-Tokens"), 10, 64) }
	forms := []core.HeaderForm{core.HeadersByUnit, core.HeadersIETF}
	w := s.openRoute(t,
		limit{limiter, core.NewPolicy("app", core.PerSecond(50)), options{headers: forms}},
		limit{limiter, core.NewPolicy("requests", core.PerMinute(3), core.PerHour(100)), options{
			headers: forms, cost: tokens,
			also: []also{
				{core.NewPolicy("tokens", core.PerMinute(1000), core.Per(9000, 6*time.Minute), core.VariableCost(), core.Unit("tokens")), byAddress()},
				{core.NewPolicy("dry", core.PerMinute(1), core.VariableCost(), core.Unit("tokens"), core.Shadow()), byAddress()},
			},
		}})
	fields := func(r response, limit, remaining, reset string, tokens ...string) {
		t.Helper()
		r.wantField("X-RateLimit-Limit-Requests", limit).wantField("X-RateLimit-Remaining-Requests", remaining).
			wantField("X-RateLimit-Reset-Requests", reset)
		r.wantField("X-RateLimit-Limit-Tokens", tokens[0]).wantField("X-RateLimit-Remaining-Tokens", tokens[1]).
			wantField("X-RateLimit-Reset-Tokens", tokens[2])
	}
	r := w.get("/1", "X-Tokens: 250").want(http.StatusOK)
	fields(r, "3", "2", "1m0s", "1000", "750", "1m0s")
	r.wantField("RateLimit-Policy", `"app";q=50;w=1, "requests";q=3;w=60, "requests-hour";q=100;w=3600, `+
		`"tokens";q=1000;w=60;qu="tokens", "tokens-6m";q=9000;w=360;qu="tokens"`)
	clock.advance(250 * time.Millisecond)
	fields(w.get("/1", "X-Tokens: 750").want(http.StatusOK), "3", "1", "59.75s", "1000", "0", "59.75s")
	// Tokens deny: the requests are as they were.
	r = w.get("/1", "X-Tokens: 1").wantDeniedBy("tokens")
	fields(r, "3", "1", "59.75s", "1000", "0", "59.75s")
	r.wantField("Retry-After", "60")
	if want := `"detail":"1000 tokens per minute; retry in 60s"`; !strings.Contains(r.body, want) {
		t.Errorf("body %s, want %s", r.body, want)
	}
}

func checkFieldName(t *testing.T, s suite) {
	limiter, _ := newLimiter(t)
	w := s.openRoute(t, limit{limiter: limiter, policy: core.NewPolicy("internal", core.PerMinute(1), core.FieldName("public"))})
	w.get("/1").want(http.StatusOK).
		wantField("RateLimit-Policy", `"public";q=1;w=60`).
		wantField("RateLimit", `"public";r=0;t=60`)
	if name := w.newest().Policy.Name(); name != "internal" {
		t.Errorf("the policy is called %s, want internal", name)
	}
	w.get("/1").wantDeniedBy("public").wantNowhere("internal")
}

func checkHiddenPolicy(t *testing.T, s suite) {
	limiter, _ := newLimiter(t)
	hidden := limit{limiter, core.NewPolicy("hidden", core.PerMinute(2)), options{headers: []core.HeaderForm{}}}
	shown := limit{limiter: limiter, policy: core.NewPolicy("shown", core.PerMinute(5))}
	w := s.openRoute(t, hidden, shown)
	w.get("/1").want(http.StatusOK).
		wantField("RateLimit-Policy", `"shown";q=5;w=60`).
		wantField("RateLimit", `"shown";r=4;t=60`)
	if n := len(w.passed[0]); n != 2 {
		t.Errorf("%d decisions, want 2: policies are hidden from clients only", n)
	}
	w.get("/1").want(http.StatusOK)
	w.get("/1").wantDeniedBy("hidden").wantField("RateLimit", "").wantField("Retry-After", "60")
}

// Retry-After is never earlier than a t in the same response, from any of several limits.
func checkRetryAfterAndReset(t *testing.T, s suite) {
	t.Run("no decision on the inner limit", func(t *testing.T) {
		outer, _ := newLimiter(t)
		inner, store := newSpy(t, failClosed)
		store.fail(errors.New("down"))
		w := s.openRoute(t,
			limit{limiter: outer, policy: core.NewPolicy("outer", core.PerMinute(5))},
			limit{limiter: inner, policy: core.NewPolicy("inner", core.PerMinute(5))})
		w.get("/1").want(http.StatusServiceUnavailable).wantField("Retry-After", "1").
			wantField("RateLimit-Policy", `"outer";q=5;w=60`).wantField("RateLimit", `"outer";r=4`)
	})
	t.Run("the inner limit is hidden", func(t *testing.T) {
		limiter, _ := newLimiter(t)
		w := s.openRoute(t,
			limit{limiter: limiter, policy: core.NewPolicy("outer", core.PerHour(5))},
			limit{limiter, core.NewPolicy("inner", core.PerMinute(1)), options{headers: []core.HeaderForm{}}})
		w.get("/1").want(http.StatusOK).wantField("RateLimit", `"outer";r=4;t=3600`)
		w.get("/1").wantDeniedBy("inner").wantField("Retry-After", "60").wantField("RateLimit", `"outer";r=3`)
	})
}
