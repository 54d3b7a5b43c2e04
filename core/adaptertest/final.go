package adaptertest

import (
	"net/http"
	"testing"

	"github.com/streamlimit/streamlimit/core"
)

// cacheable are fields by which caches store a response. Middleware outside of a limit
// can set them for all responses.
func cacheable() map[string]string {
	return map[string]string{
		"Cache-Control": "public, max-age=60", "Etag": `"v1"`, "Last-Modified": "Wed, 25 Nov 2026 20:00:00 GMT",
		"Expires": "Wed, 25 Nov 2026 23:00:00 GMT", "Age": "1", "Pragma": "cache",
		"Cdn-Cache-Control": "max-age=60", "Cloudflare-Cdn-Cache-Control": "max-age=60",
		"Surrogate-Control": "max-age=60", "X-Accel-Expires": "60", "Vary": "Origin",
	}
}

// wantFinal checks that no cache may store a denial or rejection, or take it for the
// resource.
func (r response) wantFinal() response {
	r.t.Helper()
	for name := range cacheable() {
		switch name {
		case "Cache-Control":
			r.wantField(name, "no-store")
		case "Vary":
			r.wantField(name, "Origin") // concerns middleware outside
		default:
			r.wantField(name, "")
		}
	}
	return r
}

// Denials and rejections must not be cached, for all reasons and whichever code responds.
func checkFinal(t *testing.T, s suite) {
	forms := map[string]options{
		"problem document": {},
		"handlers": {
			denied: func(v visit, d core.Decision) error { return v.answer(core.ProblemFor(d.Err()).Status, "no") },
			failed: func(v visit, err error) error { return v.answer(core.ProblemFor(err).Status, "no") },
		},
	}
	if s.has("WithFrameworkErrors") {
		forms["framework errors"] = options{frameworkErrors: true}
	}
	for name, o := range forms {
		t.Run(name, func(t *testing.T) {
			limiter, store := newSpy(t, failClosed)
			if err := limiter.SetRule(t.Context(), core.Rule{Kind: core.RuleBlock, Key: "user=mallory"}); err != nil {
				t.Fatal(err)
			}
			o.key, o.cost = byFunc("user", user), units
			policy := core.NewPolicy("api", core.PerMinute(1), core.VariableCost())
			w := s.open(t, app{fields: cacheable(), groups: []group{{routes: []route{
				{path: "/", limits: []limit{{limiter, policy, o}}},
				{path: "/inside", limits: []limit{{limiter: limiter, policy: core.NewPolicy("outer", core.PerMinute(9))}, {limiter, policy, o}}},
			}}}})
			r := w.get("/", "X-User: alice", "X-Cost: 1").want(http.StatusOK)
			for name, value := range cacheable() {
				r.wantField(name, value) // belongs to the resource
			}
			w.get("/", "X-User: alice", "X-Cost: 1").want(http.StatusTooManyRequests).wantFinal()
			w.do(http.MethodHead, "/", "X-User: alice", "X-Cost: 1").want(http.StatusTooManyRequests).wantFinal()
			w.get("/inside", "X-User: alice", "X-Cost: 1").want(http.StatusTooManyRequests).wantFinal()
			w.get("/", "X-User: mallory", "X-Cost: 1").want(http.StatusForbidden).wantFinal()
			w.get("/", "X-Cost: 1").want(http.StatusUnauthorized).wantFinal()
			w.get("/", "X-User: banned", "X-Cost: 1").want(http.StatusForbidden).wantFinal()
			w.get("/", "X-User: bob", "X-Cost: 2").want(http.StatusBadRequest).wantFinal()
			w.get("/", "X-User: broken", "X-Cost: 1").want(http.StatusServiceUnavailable).wantFinal()
			store.fail(errStore)
			w.get("/", "X-User: bob", "X-Cost: 1").want(http.StatusServiceUnavailable).wantFinal()
		})
	}
}
