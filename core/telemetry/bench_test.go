package telemetry_test

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/telemetry"
)

func measured(t testing.TB) *telemetry.Observer {
	o, err := telemetry.New(telemetry.WithMeterProvider(
		metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestObserveAllocates(t *testing.T) {
	o := measured(t)
	one := core.Observation{Context: context.Background(), Policy: api, Cost: 1, Result: core.ResultAllowed, Source: core.SourceMemory, Took: 1000}
	if n := testing.AllocsPerRun(1000, func() { o.Observe(one) }); n != 0 {
		t.Errorf("%v allocations a decision", n)
	}
}

// BenchmarkDecision measures how much metrics add to a decision. It uses the cheapest
// decision, a denial in memory.
func BenchmarkDecision(b *testing.B) {
	for name, options := range map[string][]core.Option{
		"plain":    nil,
		"measured": {core.WithObserver(measured(b))},
	} {
		b.Run(name, func(b *testing.B) {
			l := core.New(core.NewMemory(), options...)
			defer l.Close()
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				_, _ = l.Allow(ctx, api, "k")
			}
		})
	}
}

func BenchmarkObserve(b *testing.B) {
	o := measured(b)
	one := core.Observation{Context: context.Background(), Policy: api, Cost: 1, Result: core.ResultAllowed, Source: core.SourceMemory, Took: 1000}
	b.ReportAllocs()
	for b.Loop() {
		o.Observe(one)
	}
}
