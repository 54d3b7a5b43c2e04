package httplimit

import (
	"net/http"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
)

// New makes middleware that limits requests by policy. Every handler that it
// wraps shares the budget that a client has under the policy:
//
//	handler := httplimit.New(limiter, api)(mux)
//	mux.Handle("GET /search", httplimit.New(limiter, search)(handler))
//
// Unless options say otherwise, requests cost 1 unit and are counted by the
// address of the client ([ByAddress]), responses carry the fields RateLimit and
// RateLimit-Policy, and requests that are not passed on are answered with a
// problem document: 429 when denied, and otherwise what [core.ProblemFor] says
// of the error. Scripts of other origins can read the fields, Retry-After among
// them, only when Access-Control-Expose-Headers names them.
//
// A request is counted once by each policy and key, however often it comes to a
// limit, such as when a handler passes it to the mux again. The response fields of
// the first policies stay. A request with a header of its own, as Clone makes it,
// is another request, and counted as one.
//
// No cache may keep a refusal, whoever answers it: it has Cache-Control: no-store, and
// none of the fields of a resource that middleware outside has set, such as ETag.
//
// New panics on a nil limiter or policy, and on an option that fits none of the
// policies. The limiter knows them from then on, as [core.Limiter.Policies].
func New(limiter *core.Limiter, policy *core.Policy, options ...Option) func(http.Handler) http.Handler {
	m := framework.New(limiter, policy, options...)
	return func(next http.Handler) http.Handler {
		if next == nil {
			panic("httplimit: New: nil handler: give the one that is to be limited")
		}
		serve := func(r *http.Request) error { //nolint:unparam // other frameworks return errors
			next.ServeHTTP(visitOf(r).writer, r)
			return nil
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			inside := enter(w, r)
			defer adapter.WriteBack(r, inside) // also when the limit is skipped
			// An error is of a client that does not read its answer.
			_, _ = m.Handle(inside, serve)
		})
	}
}

// FromContext is the newest decision on the request, which in a handler is
// that of the innermost limit, and whether there is one: there is none before
// the first limit and when all limits were skipped. Of a limit of several policies
// it is that by the policy of [New] or [WithTier], or the denial. The request is
// the one that the handler was given, or has its context: one from outside of a
// limit knows nothing of it.
func FromContext(r *http.Request) (core.Decision, bool) { return recordOf(r).Last() }

// Decisions are all decisions on the request so far, outer first, and those of
// [WithPolicy] after the one that they go with.
func Decisions(r *http.Request) []core.Decision { return recordOf(r).Decisions() }
