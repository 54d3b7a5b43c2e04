package adaptertest

import (
	"errors"
	"maps"
	"net/http"
	"testing"

	"github.com/streamlimit/streamlimit/core"
)

func checkForms(t *testing.T, s suite) {
	ietf := map[string]string{"RateLimit-Policy": `"api";q=2;w=60`, "RateLimit": `"api";r=1;t=60`}
	x := map[string]string{"X-RateLimit-Limit": "2", "X-RateLimit-Remaining": "1", "X-RateLimit-Reset": "60"}
	draft := map[string]string{"RateLimit-Limit": "2", "RateLimit-Remaining": "1", "RateLimit-Reset": "60"}
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
			for _, form := range []map[string]string{ietf, x, draft} {
				for name := range form {
					r.wantField(name, want[name])
				}
			}
			w.get("/1").want(http.StatusOK)
			// Retry-After belongs to the answer, whatever the forms.
			w.get("/1").wantDeniedBy("api").wantField("Retry-After", "60")
		})
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

// Retry-After is never earlier than a t in the same response, whichever of
// several limits it comes from.
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
