package fiberlimit

import (
	"github.com/gofiber/fiber/v2"

	"github.com/streamlimit/streamlimit/core"
)

// New makes middleware that limits requests by policy. Every route that it
// comes before shares the budget that a client has under the policy:
//
//	app.Use(fiberlimit.New(limiter, api))
//	app.Get("/search", fiberlimit.New(limiter, search), handler)
//
// Unless options say otherwise, requests cost 1 unit and are counted by the
// address of the client ([ByAddress]), responses carry the fields RateLimit and
// RateLimit-Policy, and requests that are not passed on are answered with a
// problem document: 429 when denied, and otherwise what [core.ProblemFor] says
// of the error. Scripts of other origins can read the fields, Retry-After among
// them, only when Access-Control-Expose-Headers names them.
//
// A request is counted once by each policy and key, however often it comes to a
// limit, such as after RestartRouting. The response fields of the first policies
// stay.
//
// No cache may keep a refusal, whoever answers it: it has Cache-Control: no-store, and
// none of the fields of a resource that middleware outside has set, such as ETag.
//
// New panics on a nil limiter or policy, and on an option that fits none of the
// policies. The limiter knows them from then on, as [core.Limiter.Policies].
func New(limiter *core.Limiter, policy *core.Policy, options ...Option) fiber.Handler {
	m := framework.New(limiter, policy, options...)
	return func(c *fiber.Ctx) error {
		_, err := m.Handle(c, (*fiber.Ctx).Next)
		return err
	}
}

// FromContext is the newest decision on the request, which in a handler is
// that of the innermost limit, and whether there is one: there is none before
// the first limit and when all limits were skipped. Of a limit of several policies
// it is that by the policy of [New] or [WithTier], or the denial. It may be kept
// after the handler: nothing in it is memory that Fiber uses again.
func FromContext(c *fiber.Ctx) (core.Decision, bool) { return exchange{c}.Record().Last() }

// Decisions are all decisions on the request so far, outer first, and those of
// [WithPolicy] after the one that they go with.
func Decisions(c *fiber.Ctx) []core.Decision { return exchange{c}.Record().Decisions() }
