package telemetry_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
	"github.com/streamlimit/streamlimit/core/telemetry"
)

// meter collects an observer's metrics.
type meter struct {
	t      *testing.T
	reader *metric.ManualReader
	*metric.MeterProvider
}

func newMeter(t *testing.T) meter {
	t.Helper()
	reader := metric.NewManualReader()
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	return meter{t, reader, provider}
}

func (m meter) observer(options ...telemetry.Option) *telemetry.Observer {
	m.t.Helper()
	o, err := telemetry.New(append(options, telemetry.WithMeterProvider(m))...)
	if err != nil {
		m.t.Fatal(err)
	}
	return o
}

// collect returns all metrics. They have one scope.
func (m meter) collect() metricdata.ScopeMetrics {
	m.t.Helper()
	var all metricdata.ResourceMetrics
	if err := m.reader.Collect(context.Background(), &all); err != nil {
		m.t.Fatal(err)
	}
	if len(all.ScopeMetrics) != 1 {
		m.t.Fatalf("metrics of %d scopes, want one", len(all.ScopeMetrics))
	}
	return all.ScopeMetrics[0]
}

func (m meter) metric(name string) metricdata.Metrics {
	m.t.Helper()
	for _, one := range m.collect().Metrics {
		if one.Name == name {
			return one
		}
	}
	m.t.Fatalf("no metric %s", name)
	return metricdata.Metrics{}
}

// label identifies a series.
type label struct{ policy, result, source string }

// requests returns the counts of requests by label.
func (m meter) requests() map[label]int64 { return m.counter("streamlimit.requests") }

func (m meter) counter(name string) map[label]int64 {
	m.t.Helper()
	counts := map[label]int64{}
	for _, point := range m.metric(name).Data.(metricdata.Sum[int64]).DataPoints {
		counts[labelOf(m.t, point.Attributes)] = point.Value
	}
	return counts
}

// labelOf returns the label of a set. It fails the test if the set has another attribute.
func labelOf(t *testing.T, set attribute.Set) label {
	t.Helper()
	policy, hasPolicy := set.Value("policy")
	result, hasResult := set.Value("result")
	source, hasSource := set.Value("source")
	if !hasPolicy || !hasResult || !hasSource || set.Len() != 3 {
		t.Errorf("the attributes are %s, want policy, result and source", set.Encoded(attribute.DefaultEncoder()))
	}
	return label{policy.AsString(), result.AsString(), source.AsString()}
}

var errStore = errors.New("no route to host")

// failingStore is a store that fails on demand.
type failingStore struct {
	core.Store
	failing atomic.Bool
}

func (s *failingStore) Take(ctx context.Context, p *store.Log, key string, cost int64) (store.Usage, error) {
	if s.failing.Load() {
		return store.Usage{}, errStore
	}
	return s.Store.Take(ctx, p, key, cost)
}

func (s *failingStore) Peek(ctx context.Context, p *store.Log, key string, cost int64) (store.Usage, error) {
	if s.failing.Load() {
		return store.Usage{}, errStore
	}
	return s.Store.Peek(ctx, p, key, cost)
}

// newLimiter returns a limiter and its store, which can fail.
func newLimiter(t *testing.T, o *telemetry.Observer) (*core.Limiter, *failingStore) {
	store := &failingStore{Store: core.NewMemory()}
	l := core.New(store, core.WithObserver(o), core.WithLogger(slog.New(slog.DiscardHandler)))
	t.Cleanup(func() { _ = l.Close() })
	return l, store
}

// traffic makes decisions of each result, by key "client-7" with the store and by key
// "client-8" without it.
func traffic(ctx context.Context, l *core.Limiter, store *failingStore) {
	allow := func(p *core.Policy, key string, n int) {
		for range n {
			_, _ = l.Allow(ctx, p, key)
		}
	}
	shadow := core.NewPolicy("trial", core.PerHour(1), core.Shadow())
	allow(api, "client-7", 3)
	allow(shadow, "client-7", 3)
	_ = l.Ban(ctx, "banned-9", time.Hour)
	allow(api, "banned-9", 1)
	store.failing.Store(true)
	allow(api, "client-8", 3)
	allow(core.NewPolicy("open", core.PerHour(1), core.OnStoreFailure(core.FailOpen)), "client-8", 1)
	allow(core.NewPolicy("closed", core.PerHour(1), core.OnStoreFailure(core.FailClosed)), "client-8", 2)
	store.failing.Store(false)
}

var api = core.NewPolicy("api", core.PerHour(2))
