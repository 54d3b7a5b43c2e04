package echolimit

import (
	"github.com/labstack/echo/v4"

	"github.com/streamlimit/streamlimit/core"
)

// New makes middleware that limits requests by policy. Every route behind it shares the
// budget that a client has under the policy:
//
//	e.Use(echolimit.New(limiter, api))
//	e.GET("/search", handler, echolimit.New(limiter, search))
//
// By default, requests cost 1 unit and are counted by the address of the client
// ([ByAddress]), and responses carry the fields RateLimit and RateLimit-Policy.
// Requests that are not passed on are answered with a problem document: 429 when
// denied, and otherwise the response that [core.ProblemFor] returns for the error.
// Scripts of other origins can read the fields, Retry-After among them, only when
// Access-Control-Expose-Headers names them.
//
// A request is counted once by each policy and key, even if it passes several limits,
// such as when a handler passes it to Echo's ServeHTTP again. The response fields of the
// first policies stay. A request with a header of its own, as Clone makes it, is another
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
func New(limiter *core.Limiter, policy *core.Policy, options ...Option) echo.MiddlewareFunc {
	m := framework.New(limiter, policy, options...)
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			_, err := m.Handle(c, next)
			return err
		}
	}
}

// FromContext returns the newest decision on the request, and reports whether there is
// one. In a handler it is the decision of the innermost limit. There is none before the
// first limit, or if all limits were skipped. For a limit of several policies it is the
// decision by the policy of [New] or [WithTier], or the denial.
func FromContext(c echo.Context) (core.Decision, bool) { return recordOf(c).Last() }

// Decisions returns all decisions on the request so far, outer first. Decisions by
// [WithPolicy] come after the decision by their limit's own policy.
func Decisions(c echo.Context) []core.Decision { return recordOf(c).Decisions() }
