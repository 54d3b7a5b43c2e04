package telemetry_test

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/telemetry"
)

func TestNames(t *testing.T) {
	m := newMeter(t)
	o := m.observer()
	l, store := newLimiter(t, o)
	o.Watch(l)
	traffic(t.Context(), l, store)
	all := m.collect()
	if want := "github.com/streamlimit/streamlimit/core/telemetry"; all.Scope.Name != want {
		t.Errorf("the scope is %q, want %q", all.Scope.Name, want)
	}
	units := map[string]string{}
	for _, one := range all.Metrics {
		units[one.Name] = one.Unit
		if one.Description == "" {
			t.Errorf("%s has no description", one.Name)
		}
	}
	want := map[string]string{
		"streamlimit.requests":          "{request}",
		"streamlimit.decision.duration": "s",
		"streamlimit.store.down":        "{server}",
	}
	if !maps.Equal(units, want) {
		t.Errorf("metrics and units are %v, want %v", units, want)
	}
}

func TestRequests(t *testing.T) {
	m := newMeter(t)
	l, store := newLimiter(t, m.observer())
	traffic(t.Context(), l, store)
	want := map[[2]string]int64{}
	for _, policy := range []string{"api", "trial", "open", "closed"} {
		for _, result := range []string{"allowed", "denied", "shadow_denied", "fallback", "error"} {
			want[[2]string{policy, result}] = 0
		}
	}
	want[[2]string{"api", "allowed"}] = 2
	want[[2]string{"api", "denied"}] = 2
	want[[2]string{"api", "fallback"}] = 3
	want[[2]string{"trial", "allowed"}] = 1
	want[[2]string{"trial", "shadow_denied"}] = 2
	want[[2]string{"open", "fallback"}] = 1
	want[[2]string{"closed", "error"}] = 2
	if got := m.requests(); !maps.Equal(got, want) {
		t.Errorf("counted %v,\nwant    %v", got, want)
	}
	sum := m.metric("streamlimit.requests").Data.(metricdata.Sum[int64])
	if !sum.IsMonotonic {
		t.Error("it is no counter")
	}
}

// Several policies at once are a request of each.
func TestAllowAll(t *testing.T) {
	m := newMeter(t)
	l, _ := newLimiter(t, m.observer())
	other := core.NewPolicy("user", core.PerHour(9))
	for range 3 {
		if _, err := l.AllowAll(t.Context(), core.Ask{Policy: api, Key: "k"}, core.Ask{Policy: other, Key: "k"}); err != nil {
			t.Fatal(err)
		}
	}
	counts := m.requests()
	for label, want := range map[[2]string]int64{{"api", "allowed"}: 2, {"api", "denied"}: 1, {"user", "allowed"}: 3, {"user", "denied"}: 0} {
		if counts[label] != want {
			t.Errorf("%v: counted %d, want %d", label, counts[label], want)
		}
	}
}

func TestDuration(t *testing.T) {
	m := newMeter(t)
	o := m.observer()
	l, store := newLimiter(t, o)
	traffic(t.Context(), l, store)
	requests := m.requests()
	data := m.metric("streamlimit.decision.duration").Data.(metricdata.Histogram[float64])
	for _, point := range data.DataPoints {
		label := labels(t, point.Attributes)
		if int64(point.Count) != requests[label] {
			t.Errorf("%v: %d durations of %d requests", label, point.Count, requests[label])
		}
		delete(requests, label)
		if b := point.Bounds; b[0] != 0.00001 || b[len(b)-1] != 1 || !slices.IsSorted(b) || !slices.Contains(b, 0.1) {
			t.Errorf("%v: the buckets are %v", label, b)
		}
	}
	for label, n := range requests {
		if n != 0 {
			t.Errorf("%v: no duration of %d requests", label, n)
		}
	}
}

// What was measured is seconds.
func TestDurationInSeconds(t *testing.T) {
	m := newMeter(t)
	o := m.observer()
	o.Observe(core.Observation{Context: t.Context(), Policy: api, Took: 1500 * 1000}) // 1.5 ms
	point := m.metric("streamlimit.decision.duration").Data.(metricdata.Histogram[float64]).DataPoints[0]
	if point.Sum != 0.0015 || point.BucketCounts[slices.Index(point.Bounds, 0.0025)] != 1 {
		t.Errorf("1.5 ms are %v in %v of %v", point.Sum, point.BucketCounts, point.Bounds)
	}
}

// Nowhere is a key, or a route, or what a store's error says.
func TestNoKey(t *testing.T) {
	m := newMeter(t)
	spans := tracetest.NewSpanRecorder()
	tracer := trace.NewTracerProvider(trace.WithSpanProcessor(spans)).Tracer("test")
	o := m.observer()
	l, store := newLimiter(t, o)
	o.Watch(l)
	ctx, span := tracer.Start(context.Background(), "GET /")
	traffic(ctx, l, store)
	if err := l.AllowFor(ctx, nil, core.Ask{Policy: api, Key: "client-7"}, new(core.Decision)); err != nil {
		t.Fatal(err)
	}
	span.End()
	var told strings.Builder
	for _, stub := range tracetest.SpanStubsFromReadOnlySpans(spans.Ended()) {
		for _, event := range stub.Events {
			set := attribute.NewSet(event.Attributes...)
			told.WriteString(set.Encoded(attribute.DefaultEncoder()) + "\n")
		}
	}
	if n := strings.Count(told.String(), "policy=api"); n != 8 {
		t.Fatalf("%d events of policy api, want 8:\n%s", n, &told)
	}
	metrics, err := json.Marshal(m.collect())
	if err != nil {
		t.Fatal(err)
	}
	told.Write(metrics)
	for _, secret := range []string{"client-7", "client-8", "banned-9", errStore.Error()} {
		if strings.Contains(told.String(), secret) {
			t.Errorf("%q is in\n%s", secret, &told)
		}
	}
}

func TestMisuse(t *testing.T) {
	for advice, f := range map[string]func(){
		"leave the option out": func() { telemetry.WithMeterProvider(nil) },
		"use at least 1":       func() { telemetry.WithMaxPolicies(0) },
		"leave it out":         func() { _, _ = telemetry.New(nil) },
		"core.New":             func() { newMeter(t).observer().Watch(nil) },
	} {
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.Contains(text, advice) {
					t.Errorf("panics with %q, want %q in it", text, advice)
				}
			}()
			f()
		}()
	}
}
