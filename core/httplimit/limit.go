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
// By default, requests cost 1 unit and are counted by the address of the client
// ([ByAddress]), and responses carry the fields RateLimit and RateLimit-Policy.
// Requests that are not passed on are answered with a problem document: 429 when
// denied, and otherwise the response that [core.ProblemFor] returns for the error.
// Scripts of other origins can read the fields, Retry-After among them, only when
// Access-Control-Expose-Headers names them.
//
// A request is counted once by each policy and key, even if it passes several limits,
// such as when a handler passes it to the mux again. The response fields of the first
// policies stay. A request with a header of its own, as Clone makes it, is another
// request, and is counted as one.
//
// A policy of [core.NewConcurrency] gives the request a slot before the handler runs, and
// frees the slot when the handler has returned, failed or panicked.
//
// Responses to requests that are not passed on have Cache-Control: no-store, whichever
// code writes them, so that no cache stores them. New removes the fields of a resource
// that middleware outside has set, such as ETag.
//
// New panics on a nil limiter or policy, and on an option that fits none of the
// policies. New registers the policies with the limiter: see [core.Limiter.Policies].
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

// FromContext returns the newest decision on the request, and reports whether there is
// one. In a handler it is the decision of the innermost limit. There is none before the
// first limit, or if all limits were skipped. For a limit of several policies it is the
// decision by the policy of [New] or [WithTier], or the denial. The request must be the
// handler's own, or have its context. A request from outside of a limit does not have its
// decisions.
func FromContext(r *http.Request) (core.Decision, bool) { return recordOf(r).Last() }

// Decisions returns all decisions on the request so far, outer first. Decisions by
// [WithPolicy] come after the decision by their limit's own policy.
func Decisions(r *http.Request) []core.Decision { return recordOf(r).Decisions() }
