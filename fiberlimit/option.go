package fiberlimit

import (
	"github.com/gofiber/fiber/v2"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
)

// Option is a setting for [New]. Of the same option given twice the last one
// counts, except for [WithPolicy]. Options panic on a nil function.
type Option = adapter.Option[*fiber.Ctx]

// WithKey sets who is counted; [ByAddress] unless set.
func WithKey(key Key) Option { return framework.WithKey(key) }

// WithPolicy counts requests by another policy and key as well. It may be given
// several times, and a request needs all the keys. All policies are asked in one
// step: when one has no room, the request is denied, and counted by none.
//
//	fiberlimit.New(limiter, perAddress,
//		fiberlimit.WithPolicy(perUser, user),
//		fiberlimit.WithPolicy(perService, fiberlimit.ByConstant("shop")))
//
// On a Redis Cluster or Ring the policies need [core.Refundable]: see
// [core.Limiter.AllowAll].
func WithPolicy(policy *core.Policy, key Key) Option { return framework.WithPolicy(policy, key) }

// WithCost sets how many units a request takes; 1 unless set. The policy
// needs [core.VariableCost]; of several, those that have it take the cost, and the
// others 1. A cost below 1 or above a limit is refused with 400, since waiting
// would not help; errors are as in [Key].
func WithCost(cost func(*fiber.Ctx) (int64, error)) Option { return framework.WithCost(cost) }

// WithSkip passes requests for which skip is true on, neither limited nor
// counted nor given response fields. Fiber's own middleware calls this Next.
func WithSkip(skip func(*fiber.Ctx) bool) Option { return framework.WithSkip(skip) }

// WithTier sets the policy by the request, such as one for each plan that
// users pay for, in place of the one that [New] was given, for which nil stands.
// Make the policies once, not in tier, and with names of their own: policies of one
// name can share a log. With [WithCost], all of them need [core.VariableCost].
func WithTier(tier func(*fiber.Ctx) *core.Policy) Option { return framework.WithTier(tier) }

// WithRefund gives a request back after its handler where refund is true:
// [OnSuccess], [OnFailure], or a function of yours. The policy needs
// [core.Refundable]; of several, those that have it give the request back.
//
// Meanwhile the request counts as any other, so that however many come at once, no
// more than the limit get to their handlers. The response fields are from before.
//
// The request is given back before the middleware returns, also when its client has
// gone away. A store that is slow holds no response up longer than its timeout, the
// decision included: the refund goes on in the background then, and
// [core.Limiter.Close] waits for it. It is lost if the process ends before.
//
// The status is the one that leaves the limit, whatever middleware inside has made of
// the handler's. An error that the handler returns is answered by the ErrorHandler
// before the middleware returns, as under Fiber's own logger, and is not passed on. The
// status is 500 for a handler that panics. Middleware outside that answers with another
// status has no part in it: put the one that answers errors inside.
//
// When the store fails the request stays charged, and the limiter's log has a line
// about it, at most one a minute. So it does when the handler took longer than the
// policy's grace, with the line at level debug. A request that was not counted, or
// that the handler has settled itself, is left as it is.
func WithRefund(refund func(c *fiber.Ctx, status int) bool) Option {
	return framework.WithRefund(refund)
}

// OnSuccess is for [WithRefund]: a request is given back for a status below 400, so
// that only failures count, such as logins with a wrong password.
func OnSuccess(c *fiber.Ctx, status int) bool { return framework.OnSuccess(c, status) }

// OnFailure is for [WithRefund]: a request is given back for a status of 400 or above,
// so that only successes count. It has nothing to do with a store that fails: the failure
// mode of a policy is set by [core.OnStoreFailure].
func OnFailure(c *fiber.Ctx, status int) bool { return framework.OnFailure(c, status) }

// WithSettle corrects what a request took to the units that it has really used,
// which used says after the handler: from 0, and below 0 to leave the charge as it
// is. Less is given back; more is charged whether it fits or not. The policy needs
// [core.VariableCost] and [core.Refundable]; of several, those that have both are
// corrected. Status, errors and the rest are as in [WithRefund], which comes first.
//
// A handler may settle by itself instead, with [core.Limiter.Settle] and the
// decision from [FromContext]. Fiber sends a streamed body after the handler, so used
// is too early for it: return -1, and do so when the stream ends.
func WithSettle(used func(c *fiber.Ctx, status int) int64) Option {
	return framework.WithSettle(used)
}

// WithDenied answers denied requests in place of the problem document: denied
// must write the response, or the client sees an empty 200. The response
// fields, Retry-After among them, are set by then; an error goes to
// Fiber's ErrorHandler. It comes before [WithFrameworkErrors].
func WithDenied(denied func(*fiber.Ctx, core.Decision) error) Option {
	return framework.WithDenied(denied)
}

// WithErrorHandler answers requests without a decision: the key or the cost
// was not to be had, or the store did not answer. It must write the response,
// or the client sees an empty 200. [core.ProblemFor] says what
// the answer would have been, Retry-After included, which is not set; an error
// goes to Fiber's ErrorHandler. It comes before [WithFrameworkErrors].
//
// While the store does not answer, requests can also pass, or be counted by this
// process: see [core.OnStoreFailure] for a policy, [core.WithFailureMode] for all. Then
// there is a decision, and this is not asked.
func WithErrorHandler(failed func(*fiber.Ctx, error) error) Option {
	return framework.WithErrorHandler(failed)
}

// WithFrameworkErrors leaves the body of refusals to Fiber's ErrorHandler: in the
// error that it is given, errors.As finds a *fiber.Error with the status, and for
// a denial a [*core.LimitedError].
func WithFrameworkErrors() Option { return framework.WithFrameworkErrors() }

// WithHeaders sets the forms of the response fields, [core.HeadersIETF] unless
// set; without a form there are none, and limits inside this one do not list
// its policy in theirs. Retry-After is set whatever the forms. Fields that a handler
// removes are set again, since Fiber's proxies lose them.
func WithHeaders(forms ...core.HeaderForm) Option { return framework.WithHeaders(forms...) }
