package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/httplimit"
	"github.com/streamlimit/streamlimit/core/telemetry"
)

// service has the routes, and the values to close after them.
type service struct {
	http.Handler
	limiter *core.Limiter
	meters  *metric.MeterProvider
}

func newService(store core.Store, options ...core.Option) (*service, error) {
	registry := prometheus.NewRegistry()
	meters, err := newMeters(registry)
	if err != nil {
		return nil, err
	}
	observer, err := telemetry.New(telemetry.WithMeterProvider(meters))
	if err != nil {
		return nil, err
	}
	limiter := core.New(store, append(options, core.WithObserver(observer))...)
	observer.Watch(limiter)

	api := core.NewPolicy("api", core.PerMinute(100))
	strict := core.NewPolicy("strict", core.Per(5, 10*time.Second))
	trial := core.NewPolicy("trial", core.PerMinute(2), core.Shadow())
	routes := http.NewServeMux()
	routes.Handle("GET /{$}", hello)
	routes.Handle("GET /strict", httplimit.New(limiter, strict)(hello))
	routes.Handle("GET /trial", httplimit.New(limiter, trial)(hello))

	all := http.NewServeMux()
	all.Handle("/", httplimit.New(limiter, api)(routes))
	// In production, use a port that clients can't reach.
	all.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return &service{all, limiter, meters}, nil
}

// newMeters makes names such as streamlimit_requests_total, which the board uses.
func newMeters(registry prometheus.Registerer) (*metric.MeterProvider, error) {
	reader, err := exporter.New(
		exporter.WithRegisterer(registry),
		exporter.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes),
		exporter.WithoutScopeInfo(),
	)
	if err != nil {
		return nil, err
	}
	return metric.NewMeterProvider(metric.WithReader(reader)), nil
}

var hello = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello\n")) })

func (s *service) Close() error {
	return errors.Join(s.limiter.Close(), s.meters.Shutdown(context.Background()))
}
