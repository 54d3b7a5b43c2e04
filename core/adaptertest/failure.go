package adaptertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/internal/field"
)

// errStore is the error of a failing store. No client may see its text.
var errStore = errors.New("dial tcp 10.9.8.7:6379: connection refused")

func checkDeniedHandler(t *testing.T, s suite) {
	limiter, _ := newLimiter(t)
	var denied []core.Decision
	w := s.openRoute(t, limit{limiter, core.NewPolicy("api", core.PerMinute(1)), options{
		key:             byFirst(byHeader("X-API-Key")),
		frameworkErrors: s.has("WithFrameworkErrors"), // the handler takes precedence
		denied: func(v visit, d core.Decision) error {
			denied = append(denied, d)
			if newest, ok := v.fromContext(); !ok || newest.Allowed {
				t.Error("the denial is not in the context of its handler")
			}
			return v.answer(http.StatusTeapot, "come back later")
		},
	}})
	w.get("/1", "X-API-Key: k").want(http.StatusOK)
	r := w.get("/1", "X-API-Key: k").want(http.StatusTeapot).
		wantField("Retry-After", "60").wantField("RateLimit", `"api";r=0;t=60`)
	if r.body != "come back later" {
		t.Errorf("body %q, want the handler's alone", r.body)
	}
	if w.handled() != 1 {
		t.Error("a denied request came through")
	}
	if len(denied) != 1 || denied[0].Allowed || denied[0].Policy.Name() != "api" || denied[0].Key != digest("x-api-key", "k") {
		t.Errorf("the handler was given %+v", denied)
	}
	w.get("/1").want(http.StatusUnauthorized) // not a denial, so the handler is not called
	if len(denied) != 1 {
		t.Error("the handler was given a request without a decision")
	}
}

func checkErrorHandler(t *testing.T, s suite) {
	limiter, store := newSpy(t, failClosed)
	var failed []error
	w := s.openRoute(t, limit{limiter, core.NewPolicy("api", core.PerMinute(1)), options{
		key:             byFunc("user", user),
		frameworkErrors: s.has("WithFrameworkErrors"), // the handler takes precedence
		failed: func(v visit, err error) error {
			failed = append(failed, err)
			return v.answer(http.StatusTeapot, "sorry")
		},
	}})
	store.fail(errStore)
	for _, c := range []struct {
		field string
		want  func(error) bool
	}{
		{"X-User: alice", func(err error) bool { return errors.Is(err, errStore) }},
		{"X-User: ", func(err error) bool { return errors.Is(err, core.ErrNoKey) }},
		{"X-User: banned", func(err error) bool {
			var refused *core.Problem
			return errors.As(err, &refused) && refused.Status == http.StatusForbidden
		}},
	} {
		r := w.get("/1", c.field).want(http.StatusTeapot).wantField("Retry-After", "")
		if r.body != "sorry" {
			t.Errorf("body %q, want the handler's alone", r.body)
		}
		if err := failed[len(failed)-1]; !c.want(err) {
			t.Errorf("%s: the handler was given %v", c.field, err)
		}
	}
	if len(failed) != 3 || w.handled() != 0 {
		t.Errorf("%d errors handled and %d requests passed on, want 3 and 0", len(failed), w.handled())
	}
	store.fail(nil)
	w.get("/1", "X-User: alice").want(http.StatusOK)
	w.get("/1", "X-User: alice").want(http.StatusTooManyRequests)
	if len(failed) != 3 {
		t.Error("the error handler was given a denial")
	}
}

func checkStoreFails(t *testing.T, s suite) {
	limiter, store := newSpy(t, failClosed)
	w := s.openRoute(t, limit{limiter: limiter, policy: core.NewPolicy("api", core.PerMinute(1))})
	store.fail(errStore)
	w.get("/1").want(http.StatusServiceUnavailable).
		wantProblem(unavailable).
		wantField("Retry-After", "1").
		wantField("RateLimit", "").
		wantNowhere("10.9.8.7")
	if w.handled() != 0 {
		t.Error("a request without a decision came through")
	}
	store.fail(nil)
	w.get("/1").want(http.StatusOK)
	w.get("/1").wantDeniedBy("api")
}

func checkFrameworkErrors(t *testing.T, s suite) {
	limiter, store := newSpy(t, failClosed)
	w := s.openRoute(t, limit{limiter, core.NewPolicy("api", core.PerMinute(1)), options{
		key: byFunc("user", user), frameworkErrors: true,
	}})
	notOurs := func(r response) {
		t.Helper()
		if got := r.header.Get("Content-Type"); got == field.ProblemType {
			t.Errorf("Content-Type %q: the body is not the framework's", got)
		}
		r.wantNowhere("alice").wantNowhere("10.9.8.7")
	}
	w.get("/1", "X-User: alice").want(http.StatusOK)
	notOurs(w.get("/1", "X-User: alice").want(http.StatusTooManyRequests).
		wantField("Retry-After", "60").wantField("RateLimit", `"api";r=0;t=60`))
	var limited *core.LimitedError
	if !errors.As(w.lastError(), &limited) || limited.Decision.Key != "user=alice" {
		t.Errorf("the framework was given %v, want a *core.LimitedError", w.lastError())
	}
	notOurs(w.get("/1").want(http.StatusUnauthorized).wantField("Retry-After", ""))
	if !errors.Is(w.lastError(), core.ErrNoKey) {
		t.Errorf("the framework was given %v, want ErrNoKey", w.lastError())
	}
	notOurs(w.get("/1", "X-User: banned").want(http.StatusForbidden).wantField("Retry-After", ""))
	store.fail(errStore)
	notOurs(w.get("/1", "X-User: bob").want(http.StatusServiceUnavailable).wantField("Retry-After", "1"))
	if !errors.Is(w.lastError(), errStore) {
		t.Errorf("the framework was given %v, want the store's error", w.lastError())
	}
	if w.handled() != 1 || len(w.errs) != 4 {
		t.Errorf("%d requests passed on and %d errors handled, want 1 and 4", w.handled(), len(w.errs))
	}
}

func checkOwnErrors(t *testing.T, s suite) {
	refuse := func(v visit) (string, error) { return "", v.refuse(http.StatusTeapot) }
	for name, o := range map[string]options{
		"key":                      {key: byFunc("user", refuse)},
		"part of a key":            {key: byFirst(byAll(byAddress(), bySecret("user", refuse)), byAddress())},
		"cost":                     {cost: func(v visit) (int64, error) { return 0, v.refuse(http.StatusTeapot) }},
		"key, of framework errors": {key: byFunc("user", refuse), frameworkErrors: true},
	} {
		t.Run(name, func(t *testing.T) {
			limiter, _ := newLimiter(t)
			w := s.openRoute(t, limit{limiter, core.NewPolicy("api", core.PerMinute(1), core.VariableCost()), o})
			r := w.get("/1").want(http.StatusTeapot).wantField("Retry-After", "").wantField("RateLimit", "")
			if got := r.header.Get("Content-Type"); got == field.ProblemType {
				t.Errorf("Content-Type %q: the framework's own error was answered by the adapter", got)
			}
			if w.handled() != 0 || len(w.errs) != 1 {
				t.Errorf("%d requests passed on and %d errors handled, want 0 and 1", w.handled(), len(w.errs))
			}
		})
	}
}

// A mistake of the client that a function finds in the body is a 4xx, the same in all
// frameworks. Any other failure of a function is a 503.
func checkClientMistakes(t *testing.T, s suite) {
	decode := func(body string) error {
		var v struct{ N int }
		return json.NewDecoder(strings.NewReader(body)).Decode(&v)
	}
	unmarshal := func(body string) error { return json.Unmarshal([]byte(body), new(struct{ N int })) }
	gone := &url.Error{Op: "Get", URL: "http://10.9.8.7/users", Err: io.EOF}
	limiter, _ := newLimiter(t)
	policy := core.NewPolicy("api", core.PerMinute(1), core.VariableCost())
	for _, c := range []struct {
		name string
		err  error
		want int
	}{
		{"too large", &http.MaxBytesError{Limit: 10}, http.StatusRequestEntityTooLarge},
		{"too large, wrapped", fmt.Errorf("read: %w", &http.MaxBytesError{Limit: 10}), http.StatusRequestEntityTooLarge},
		{"syntax", decode(`{"N"}`), http.StatusBadRequest},
		{"type", decode(`{"N":"10.9.8.7"}`), http.StatusBadRequest},
		{"cut off", decode(`{"N":`), http.StatusBadRequest},
		{"nothing", decode(``), http.StatusBadRequest},
		{"all, cut off", unmarshal(`{"N":`), http.StatusBadRequest},
		{"all, nothing", unmarshal(``), http.StatusBadRequest},
		{"wrapped", fmt.Errorf("cost: %w", unmarshal(`[`)), http.StatusBadRequest},
		{"chosen", fmt.Errorf("%w: %w", core.Refuse(http.StatusTeapot, "no"), unmarshal(`[`)), http.StatusTeapot},
		{"no key", fmt.Errorf("%w: %w", core.ErrNoKey, unmarshal(`[`)), http.StatusUnauthorized},
		{"another", errStore, http.StatusServiceUnavailable},
		{"wrong use of json", &json.InvalidUnmarshalError{}, http.StatusServiceUnavailable},
		{"another service", gone, http.StatusServiceUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.err == nil {
				t.Fatal("no error to answer")
			}
			fail := func(visit) (string, error) { return "", c.err }
			var failed error
			for name, o := range map[string]options{
				"cost":    {cost: func(visit) (int64, error) { return 0, c.err }},
				"key":     {key: byFunc("user", fail)},
				"secret":  {key: byFirst(bySecret("user", fail))},
				"also":    {also: []also{{core.NewPolicy("user", core.PerMinute(1)), byFunc("user", fail)}}},
				"handler": {key: byFunc("user", fail), failed: func(v visit, err error) error { failed = err; return v.answer(c.want, "no") }},
			} {
				w := s.openRoute(t, limit{limiter, policy, o})
				r := w.get("/1").want(c.want).wantNowhere("10.9.8.7")
				retry := ""
				if c.want == http.StatusServiceUnavailable && name != "handler" {
					retry = "1"
				}
				r.wantField("Retry-After", retry)
				if w.handled() != 0 {
					t.Errorf("%s: the request came through", name)
				}
			}
			if !errors.Is(failed, c.err) || core.ProblemFor(failed).Status != c.want {
				t.Errorf("the handler was given %v, which is answered with %d, want %v with %d", failed, core.ProblemFor(failed).Status, c.err, c.want)
			}
		})
	}
}
