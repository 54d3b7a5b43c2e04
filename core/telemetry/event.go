package telemetry

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/streamlimit/streamlimit/core"
)

// addEvent adds a decision to the request's span. It leaves the error's text to the log,
// since the error of another store may contain a key or an address.
func addEvent(o *core.Observation) {
	span := trace.SpanFromContext(o.Context)
	if !span.IsRecording() {
		return
	}
	attributes := []attribute.KeyValue{
		attribute.String("policy", o.Policy.Name()),
		attribute.String("result", o.Result.String()),
		attribute.String("source", o.Source.String()),
		attribute.Int64("cost", o.Cost),
	}
	if o.Err == nil {
		attributes = append(attributes,
			attribute.String("reason", string(o.Reason)),
			attribute.String("limit", o.Limit.String()),
			attribute.Int64("remaining", o.Remaining),
			attribute.Float64("retry_after", o.RetryAfter.Seconds()),
		)
	}
	span.AddEvent("streamlimit.decision", trace.WithAttributes(attributes...))
}
