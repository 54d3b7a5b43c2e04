package echolimit

import (
	"github.com/labstack/echo/v5"

	"github.com/streamlimit/streamlimit/core"
)

// New makes middleware that limits requests by policy. Every route that it
// comes before shares the budget that a client has under the policy:
//
//	e.Use(echolimit.New(limiter, api))
//	e.GET("/search", handler, echolimit.New(limiter, search))
//
// Unless options say otherwise, requests cost 1 unit and are counted by the
// address of the client ([ByAddress]), responses carry the fields RateLimit and
// RateLimit-Policy, and requests that are not passed on are answered with a
// problem document: 429 when denied, and otherwise what [core.ProblemFor] says
// of the error. Scripts of other origins can read the fields, Retry-After among
// them, only when Access-Control-Expose-Headers names them.
//
// A request is counted once by each policy and key, however often it comes to a
// limit, such as when a handler passes it to Echo's ServeHTTP again. The response
// fields of the first policies stay. A request with a header of its own, as Clone
// makes it, is another request, and counted as one.
//
// No cache may keep a refusal, whoever answers it: it has Cache-Control: no-store, and
// none of the fields of a resource that middleware outside has set, such as ETag.
//
// New panics on a nil limiter or policy, and on an option that fits none of the
// policies. The limiter knows them from then on, as [core.Limiter.Policies].
func New(limiter *core.Limiter, policy *core.Policy, options ...Option) echo.MiddlewareFunc {
	m := framework.New(limiter, policy, options...)
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) error {
			_, err := m.Handle(c, next)
			return err
		}
	}
}

// FromContext is the newest decision on the request, which in a handler is
// that of the innermost limit, and whether there is one: there is none before
// the first limit and when all limits were skipped. Of a limit of several policies
// it is that by the policy of [New] or [WithTier], or the denial.
func FromContext(c *echo.Context) (core.Decision, bool) { return recordOf(c).Last() }

// Decisions are all decisions on the request so far, outer first, and those of
// [WithPolicy] after the one that they go with.
func Decisions(c *echo.Context) []core.Decision { return recordOf(c).Decisions() }
