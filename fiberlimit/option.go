package fiberlimit

import (
	"github.com/gofiber/fiber/v2"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
)

// Option is a setting for [New]. If an option is given twice, the last one applies,
// except for [WithPolicy]. Options panic on a nil function.
type Option = adapter.Option[*fiber.Ctx]

// WithKey sets what requests are counted by. The default is [ByAddress].
func WithKey(key Key) Option { return framework.WithKey(key) }

// WithPolicy counts requests by another policy and key as well. It may be given several
// times, and a request needs all the keys. All policies are checked in one step. When
// one has no room, the request is denied, and no policy counts it.
//
//	fiberlimit.New(limiter, perAddress,
//		fiberlimit.WithPolicy(perUser, user),
//		fiberlimit.WithPolicy(perService, fiberlimit.ByConstant("shop")))
//
// On a Redis Cluster or Ring the policies need [core.Refundable]: see
// [core.Limiter.AllowAll].
func WithPolicy(policy *core.Policy, key Key) Option { return framework.WithPolicy(policy, key) }

// WithCost sets how many units a request takes. The default is 1. The policy needs
// [core.VariableCost]. Of several policies, those with VariableCost take the cost, and
// the others take 1. A cost below 1 or above a limit is rejected with 400, since waiting
// would not help. Errors are handled as in [Key].
func WithCost(cost func(*fiber.Ctx) (int64, error)) Option { return framework.WithCost(cost) }

// WithSkip bypasses the limiter for requests for which skip returns true. They are not
// limited or counted, and get no response fields. Fiber's own middleware calls this
// Next.
func WithSkip(skip func(*fiber.Ctx) bool) Option { return framework.WithSkip(skip) }

// WithTier chooses the policy by the request, such as one for each plan that users pay
// for. The chosen policy replaces the policy of [New]; nil keeps the policy of New.
// Make the policies once, not in tier, and give them different names: policies of one
// name can share a log. With [WithCost], all of them need [core.VariableCost]. With
// [WithRefund] or [WithSettle], those without [core.Refundable] give nothing back.
//
// New does not know these policies. Give them to [core.Limiter.Register], so that the
// monitor, metrics and overrides know them before their first request.
func WithTier(tier func(*fiber.Ctx) *core.Policy) Option { return framework.WithTier(tier) }

// WithRefund gives a request back after its handler if refund returns true: [OnSuccess],
// [OnFailure], or a function of yours. The policy needs [core.Refundable]; of several
// policies, those with it give the request back.
//
// Until then the request counts like any other. With any number of concurrent requests,
// no more than the limit reach their handlers. The response fields do not show the
// refund.
//
// The request is refunded before the middleware returns, even if its client has left. A
// slow store delays a response by at most its timeout, the decision included. The refund
// then continues in the background, and [core.Limiter.Close] waits for it. The refund is
// lost if the process ends first.
//
// The status is that of the response at the limit, even if middleware inside has changed
// the handler's status. An error that the handler returns is answered by the ErrorHandler
// before the middleware returns, as under Fiber's own logger, and is not passed on. The
// status is 500 for a handler that panics. Middleware outside can still change the status
// without effect on refund: put middleware that answers errors inside.
//
// If the store fails, the request stays charged, and the limiter logs a line about it,
// at most one a minute. The request also stays charged if the handler took longer than
// the policy's grace. That line has level debug. A request that was not counted, or
// that the handler has settled itself, does not change.
func WithRefund(refund func(c *fiber.Ctx, status int) bool) Option {
	return framework.WithRefund(refund)
}

// OnSuccess is for [WithRefund]. It reports whether the status is below 400, so that
// only failures count, such as logins with a wrong password.
func OnSuccess(c *fiber.Ctx, status int) bool { return framework.OnSuccess(c, status) }

// OnFailure is for [WithRefund]. It reports whether the status is 400 or above, so that
// only successes count. It does not apply to a store that fails: [core.OnStoreFailure]
// sets the failure mode of a policy.
func OnFailure(c *fiber.Ctx, status int) bool { return framework.OnFailure(c, status) }

// WithSettle corrects what a request took to the units that it has really used. used
// returns that number after the handler: from 0, or below 0 to leave the charge as it
// is. If it is less, the difference is given back. If it is more, the difference is
// charged, whether it fits or not. The policy needs [core.VariableCost] and
// [core.Refundable]. Of several policies, those with both are corrected. Status, errors
// and the rest are as in [WithRefund], which takes precedence.
//
// A handler may settle by itself instead, with [core.Limiter.Settle] and the decision from
// [FromContext]. For the stream of a [StreamWriter], used is called when the stream has
// ended. For any other stream, used is called after the handler, which is too early: let
// it return -1, and settle when the stream ends.
func WithSettle(used func(c *fiber.Ctx, status int) int64) Option {
	return framework.WithSettle(used)
}

// WithDenied sets a function that answers denied requests in place of the problem
// document. The function must write the response, or the client sees an empty 200. The
// response fields, Retry-After among them, are already set. An error goes to Fiber's
// ErrorHandler. It takes precedence over [WithFrameworkErrors].
//
// The function also responds to banned and blocked clients, which no limit has denied.
// Take the status from [core.ProblemFor] of d.Err(): 429, or 403 for a blocked client.
func WithDenied(denied func(*fiber.Ctx, core.Decision) error) Option {
	return framework.WithDenied(denied)
}

// WithErrorHandler sets a function that answers requests without a decision: the key or
// the cost could not be found, or the store did not respond. The function must write the
// response, or the client sees an empty 200. [core.ProblemFor] returns the response that
// the limit would have sent. Its Retry-After is not set. An error goes to Fiber's
// ErrorHandler. It takes precedence over [WithFrameworkErrors].
//
// While the store does not respond, requests can also pass, or be counted by this
// process: see [core.OnStoreFailure] for a policy, [core.WithFailureMode] for all. Then
// there is a decision, and the function is not called.
func WithErrorHandler(failed func(*fiber.Ctx, error) error) Option {
	return framework.WithErrorHandler(failed)
}

// WithFrameworkErrors leaves the body of refusals to Fiber's ErrorHandler: in the
// error that it is given, errors.As finds a *fiber.Error with the status, and for
// a denial a [*core.LimitedError].
func WithFrameworkErrors() Option { return framework.WithFrameworkErrors() }

// WithHeaders sets the forms of the response fields. The default is [core.HeadersIETF].
// Without a form there are no fields, and limits inside this one do not list its policy.
// Retry-After is set with all forms. Fields that a handler removes are set again, since
// Fiber's proxies lose them.
func WithHeaders(forms ...core.HeaderForm) Option { return framework.WithHeaders(forms...) }
