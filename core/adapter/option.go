package adapter

import (
	"net/http"
	"slices"

	"github.com/streamlimit/streamlimit/core"
)

// Option is a setting of one middleware.
type Option[C any] func(*config[C])

type config[C any] struct {
	who         Key[C]
	also        []also[C]
	cost        func(C) (int64, error)
	skip        func(C) bool
	tier        func(C) *core.Policy
	denied      func(C, core.Decision) error
	failed      func(C, error) error
	refund      func(C, int) bool
	used        func(C, int) int64
	headers     []core.HeaderForm
	toFramework bool
}

// WithKey sets what requests are counted by.
func (f Framework[C]) WithKey(key Key[C]) Option[C] {
	f.mustKeys("WithKey", key)
	return func(o *config[C]) { o.who = key }
}

// also is a further policy, and the key it counts by.
type also[C any] struct {
	policy *core.Policy
	who    Key[C]
}

// WithPolicy counts requests by another policy and key as well.
func (f Framework[C]) WithPolicy(policy *core.Policy, key Key[C]) Option[C] {
	f.mustPolicy("WithPolicy", policy)
	f.mustKeys("WithPolicy", key)
	return func(o *config[C]) { o.also = append(o.also, also[C]{policy, key}) }
}

// WithCost sets how many units a request takes.
func (f Framework[C]) WithCost(cost func(C) (int64, error)) Option[C] {
	f.mustHave(cost != nil, "WithCost")
	return func(o *config[C]) { o.cost = cost }
}

// WithSkip bypasses the limiter for requests for which skip returns true.
func (f Framework[C]) WithSkip(skip func(C) bool) Option[C] {
	f.mustHave(skip != nil, "WithSkip")
	return func(o *config[C]) { o.skip = skip }
}

// WithTier sets a function that chooses the policy of each request. It returns nil for
// the middleware's own policy.
func (f Framework[C]) WithTier(tier func(C) *core.Policy) Option[C] {
	f.mustHave(tier != nil, "WithTier")
	return func(o *config[C]) { o.tier = tier }
}

// WithRefund gives a request back after its handler if refund returns true.
func (f Framework[C]) WithRefund(refund func(c C, status int) bool) Option[C] {
	f.mustHave(refund != nil, "WithRefund")
	return func(o *config[C]) { o.refund = refund }
}

// OnSuccess is for WithRefund. It reports whether status is below 400.
func (f Framework[C]) OnSuccess(_ C, status int) bool { return status < http.StatusBadRequest }

// OnFailure is for WithRefund. It reports whether status is 400 or above.
func (f Framework[C]) OnFailure(_ C, status int) bool { return status >= http.StatusBadRequest }

// WithSettle sets a function that returns, after the handler, how many units a request
// has really used.
func (f Framework[C]) WithSettle(used func(c C, status int) int64) Option[C] {
	f.mustHave(used != nil, "WithSettle")
	return func(o *config[C]) { o.used = used }
}

// WithDenied sets a function that answers denied requests.
func (f Framework[C]) WithDenied(denied func(C, core.Decision) error) Option[C] {
	f.mustHave(denied != nil, "WithDenied")
	return func(o *config[C]) { o.denied = denied }
}

// WithErrorHandler sets a function that answers requests without a decision.
func (f Framework[C]) WithErrorHandler(failed func(C, error) error) Option[C] {
	f.mustHave(failed != nil, "WithErrorHandler")
	return func(o *config[C]) { o.failed = failed }
}

// WithFrameworkErrors passes denials and errors to the framework.
func (f Framework[C]) WithFrameworkErrors() Option[C] {
	return func(o *config[C]) { o.toFramework = true }
}

// WithHeaders sets the response fields. Without a form there are none.
func (f Framework[C]) WithHeaders(forms ...core.HeaderForm) Option[C] {
	for _, form := range forms {
		f.must(form <= core.HeadersByUnit, "WithHeaders",
			"no such form: use core.HeadersIETF, core.HeadersX, core.HeadersDraft06 or core.HeadersByUnit")
	}
	forms = slices.Clone(forms)
	return func(o *config[C]) { o.headers = forms }
}

func (f Framework[C]) mustHave(ok bool, option string) {
	f.must(ok, option, "nil function: leave the option out")
}
