package fiberlimit

import (
	"github.com/gofiber/fiber/v2"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
)

// Option is a setting for [New]. Of the same option given twice the last one
// counts. Options panic on a nil function.
type Option = adapter.Option[*fiber.Ctx]

// WithKey sets who is counted; [ByAddress] unless set.
func WithKey(key Key) Option { return framework.WithKey(key) }

// WithCost sets how many units a request takes; 1 unless set. The policy
// needs [core.VariableCost]. A cost below 1 or above a limit of the policy is
// refused with 400, since waiting would not help; errors are as in [Key].
func WithCost(cost func(*fiber.Ctx) (int64, error)) Option { return framework.WithCost(cost) }

// WithSkip passes requests for which skip is true on, neither limited nor
// counted nor given response fields. Fiber's own middleware calls this Next.
func WithSkip(skip func(*fiber.Ctx) bool) Option { return framework.WithSkip(skip) }

// WithTier sets the policy by the request, such as one for each plan that
// users pay for; nil stands for the policy that [New] was given. Make the
// policies once, not in tier, and with names of their own: policies of one name
// can share a log. With [WithCost], all of them need [core.VariableCost].
func WithTier(tier func(*fiber.Ctx) *core.Policy) Option { return framework.WithTier(tier) }

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
func WithErrorHandler(failed func(*fiber.Ctx, error) error) Option {
	return framework.WithErrorHandler(failed)
}

// WithFrameworkErrors leaves the body of refusals to Fiber's ErrorHandler: in the
// error that it is given, errors.As finds a *fiber.Error with the status, and for
// a denial a [*core.LimitedError].
func WithFrameworkErrors() Option { return framework.WithFrameworkErrors() }

// WithHeaders sets the forms of the response fields, [core.HeadersIETF] unless
// set; without a form there are none, and limits inside this one do not list
// its policy in theirs. Retry-After is set whatever the forms.
func WithHeaders(forms ...core.HeaderForm) Option { return framework.WithHeaders(forms...) }
