package adapter

import "github.com/streamlimit/streamlimit/core"

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
func WithKey[C any](key Key[C]) Option[C] {
	if key.bind == nil {
		panic("WithKey: an empty Key: use one of the By functions, such as ByHeader")
	}
	return func(o *config[C]) { o.who = key }
}

// WithCost says how many units a request takes.
func WithCost[C any](cost func(C) (int64, error)) Option[C] {
	mustHave(cost != nil, "WithCost")
	return func(o *config[C]) { o.cost = cost }
}

// WithSkip passes requests on unlimited and uncounted where skip is true.
func WithSkip[C any](skip func(C) bool) Option[C] {
	mustHave(skip != nil, "WithSkip")
	return func(o *config[C]) { o.skip = skip }
}

// WithTier chooses the policy of each request; nil is the middleware's own.
func WithTier[C any](tier func(C) *core.Policy) Option[C] {
	mustHave(tier != nil, "WithTier")
	return func(o *config[C]) { o.tier = tier }
}

// WithDenied answers denied requests.
func WithDenied[C any](denied func(C, core.Decision) error) Option[C] {
	return func(o *config[C]) { o.denied = denied }
}

// WithErrorHandler answers requests on which there was no decision.
func WithErrorHandler[C any](failed func(C, error) error) Option[C] {
	return func(o *config[C]) { o.failed = failed }
}

// WithFrameworkErrors hands denials and errors to the framework.
func WithFrameworkErrors[C any]() Option[C] {
	return func(o *config[C]) { o.toFramework = true }
}

// WithHeaders chooses the response fields; without a form there are none.
func WithHeaders[C any](forms ...core.HeaderForm) Option[C] {
	for _, f := range forms {
		if f > core.HeadersDraft06 {
			panic("WithHeaders: no such form: use core.HeadersIETF, core.HeadersX or core.HeadersDraft06")
		}
	}
	return func(o *config[C]) { o.headers = forms }
}

func mustHave(ok bool, option string) {
	if !ok {
		panic(option + ": nil function: leave the option out")
	}
}
