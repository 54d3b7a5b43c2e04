package telemetry

import (
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/metric"

	"github.com/streamlimit/streamlimit/core"
)

const scope = "github.com/streamlimit/streamlimit/core/telemetry"

// buckets are the upper bounds of the durations, in seconds. They range from a decision
// in memory to well above a store's timeout.
var buckets = []float64{
	0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005,
	0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
}

// Observer is a [core.Observer] that measures decisions. Make one with [New] for
// all limiters of a process.
type Observer struct {
	requests metric.Int64Counter
	units    metric.Int64Counter
	duration metric.Float64Histogram
	policies *policies
	watched  watched
}

// New returns an observer for [core.WithObserver]. It returns the meter provider's
// error if the provider can't make the instruments.
func New(opts ...Option) (*Observer, error) {
	settings := newOptions(opts)
	meter := settings.provider.Meter(scope)
	o := &Observer{policies: newPolicies(settings.maxPolicies)}
	var errs [5]error
	o.requests, errs[0] = meter.Int64Counter("streamlimit.requests",
		metric.WithUnit("{request}"),
		metric.WithDescription("Requests that a policy decided on, by policy, result and source."))
	o.units, errs[1] = meter.Int64Counter("streamlimit.units",
		metric.WithUnit("{unit}"),
		metric.WithDescription("The cost of requests in units, by policy, result and source."))
	o.duration, errs[2] = meter.Float64Histogram("streamlimit.decision.duration",
		metric.WithUnit("s"),
		metric.WithDescription("How long decisions took, by policy, result and source."),
		metric.WithExplicitBucketBoundaries(buckets...))
	_, errs[3] = meter.Int64ObservableUpDownCounter("streamlimit.store.down",
		metric.WithUnit("{server}"),
		metric.WithDescription("Servers of the store that do not answer and get no requests."),
		metric.WithInt64Callback(o.watched.sum(serversDown)))
	_, errs[4] = meter.Int64ObservableCounter("streamlimit.slots.lost",
		metric.WithUnit("{slot}"),
		metric.WithDescription("Slots of concurrency policies that ended before their requests."),
		metric.WithInt64Callback(o.watched.sum(slotsLost)))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	return o, nil
}

// Observe records one decision.
func (o *Observer) Observe(one core.Observation) {
	l := o.policies.of(one.Policy.Name()).of(one.Context, &one, o.requests, o.units)
	o.requests.Add(one.Context, 1, l.add...)
	o.units.Add(one.Context, one.Cost, l.add...)
	o.duration.Record(one.Context, one.Took.Seconds(), l.record...)
	addEvent(&one)
}
