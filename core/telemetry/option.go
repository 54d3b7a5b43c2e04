package telemetry

import (
	"fmt"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
)

// Option is a setting for [New].
type Option func(*options)

type options struct {
	provider    metric.MeterProvider
	maxPolicies int
}

func newOptions(opts []Option) options {
	o := options{maxPolicies: 100}
	for _, set := range opts {
		if set == nil {
			panic("telemetry: New: a nil option: leave it out")
		}
		set(&o)
	}
	if o.provider == nil {
		o.provider = otel.GetMeterProvider()
	}
	return o
}

// WithMeterProvider sets the provider for the metrics. The default is
// otel.GetMeterProvider().
func WithMeterProvider(provider metric.MeterProvider) Option {
	if provider == nil {
		panic("telemetry: WithMeterProvider: nil provider: leave the option out for otel.GetMeterProvider()")
	}
	return func(o *options) { o.provider = provider }
}

// WithMaxPolicies sets how many policies have metrics of their own: the first policies
// that decide. The default is 100. All other policies count together as policy "other",
// since each policy adds a hundred time series for each source.
func WithMaxPolicies(n int) Option {
	if n < 1 {
		panic(fmt.Sprintf("telemetry: WithMaxPolicies: %d: use at least 1", n))
	}
	return func(o *options) { o.maxPolicies = n }
}
