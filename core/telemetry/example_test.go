package telemetry_test

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/telemetry"
)

func Example() {
	reader := metric.NewManualReader() // in production, use a reader that exports
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	observer, err := telemetry.New(telemetry.WithMeterProvider(provider))
	if err != nil {
		fmt.Println(err)
		return
	}
	limiter := core.New(core.NewMemory(), core.WithObserver(observer))
	defer limiter.Close()
	observer.Watch(limiter)

	api := core.NewPolicy("api", core.PerHour(2))
	for range 5 {
		_, _ = limiter.Allow(context.Background(), api, "203.0.113.7")
	}

	var all metricdata.ResourceMetrics
	_ = reader.Collect(context.Background(), &all)
	for _, m := range all.ScopeMetrics[0].Metrics {
		if m.Name != "streamlimit.requests" {
			continue
		}
		for _, point := range m.Data.(metricdata.Sum[int64]).DataPoints {
			if result, _ := point.Attributes.Value("result"); point.Value > 0 {
				fmt.Println(result.AsString(), point.Value)
			}
		}
	}
	// Unordered output:
	// allowed 2
	// denied 3
}
