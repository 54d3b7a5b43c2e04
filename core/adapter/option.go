package adapter

import (
	"slices"

	"github.com/streamlimit/streamlimit/core"
)

// Option is a setting of one middleware.
type Option[C any] func(*config[C])

type config[C any] struct {
	who         Key[C]
	cost        func(C) (int64, error)
	skip        func(C) bool
	tier        func(C) *core.Policy
	denied      func(C, core.Decision) error
	failed      func(C, error) error
	headers     []core.HeaderForm
	toFramework bool
}

// WithKey says who is counted.
func (f Framework[C]) WithKey(key Key[C]) Option[C] {
	f.mustKeys("WithKey", key)
	return func(o *config[C]) { o.who = key }
}

// WithCost says how many units a request takes.
func (f Framework[C]) WithCost(cost func(C) (int64, error)) Option[C] {
	f.mustHave(cost != nil, "WithCost")
	return func(o *config[C]) { o.cost = cost }
}

// WithSkip passes requests on unlimited and uncounted where skip is true.
func (f Framework[C]) WithSkip(skip func(C) bool) Option[C] {
	f.mustHave(skip != nil, "WithSkip")
	return func(o *config[C]) { o.skip = skip }
}

// WithTier chooses the policy of each request; nil is the middleware's own.
func (f Framework[C]) WithTier(tier func(C) *core.Policy) Option[C] {
	f.mustHave(tier != nil, "WithTier")
	return func(o *config[C]) { o.tier = tier }
}

// WithDenied answers denied requests.
func (f Framework[C]) WithDenied(denied func(C, core.Decision) error) Option[C] {
	f.mustHave(denied != nil, "WithDenied")
	return func(o *config[C]) { o.denied = denied }
}

// WithErrorHandler answers requests on which there was no decision.
func (f Framework[C]) WithErrorHandler(failed func(C, error) error) Option[C] {
	f.mustHave(failed != nil, "WithErrorHandler")
	return func(o *config[C]) { o.failed = failed }
}

// WithFrameworkErrors hands denials and errors to the framework.
func (f Framework[C]) WithFrameworkErrors() Option[C] {
	return func(o *config[C]) { o.toFramework = true }
}

// WithHeaders chooses the response fields; without a form there are none.
func (f Framework[C]) WithHeaders(forms ...core.HeaderForm) Option[C] {
	for _, form := range forms {
		f.must(form <= core.HeadersDraft06, "WithHeaders",
			"no such form: use core.HeadersIETF, core.HeadersX or core.HeadersDraft06")
	}
	forms = slices.Clone(forms)
	return func(o *config[C]) { o.headers = forms }
}

func (f Framework[C]) mustHave(ok bool, option string) {
	f.must(ok, option, "nil function: leave the option out")
}
