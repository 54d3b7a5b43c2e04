package telemetry_test

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/httplimit"
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
		"streamlimit.units":             "{unit}",
		"streamlimit.decision.duration": "s",
		"streamlimit.store.down":        "{server}",
		"streamlimit.slots.lost":        "{slot}",
	}
	if !maps.Equal(units, want) {
		t.Errorf("metrics and units are %v, want %v", units, want)
	}
}

func TestRequests(t *testing.T) {
	m := newMeter(t)
	l, store := newLimiter(t, m.observer())
	traffic(t.Context(), l, store)
	want := map[label]int64{}
	for _, policy := range []string{"api", "trial", "open", "closed"} {
		sources := []string{"memory", "fallback"}
		if policy == "open" || policy == "closed" { // the store decided for neither
			sources = sources[1:]
		}
		for _, source := range sources {
			for _, result := range []string{"allowed", "denied", "shadow_denied"} {
				want[label{policy, result, source}] = 0
			}
		}
		for _, result := range []string{"allowed", "denied", "overloaded", "error"} {
			want[label{policy, result, "none"}] = 0
		}
	}
	want[label{"api", "allowed", "memory"}] = 2
	want[label{"api", "denied", "memory"}] = 1
	want[label{"api", "denied", "none"}] = 1 // by a ban
	want[label{"api", "allowed", "fallback"}] = 2
	want[label{"api", "denied", "fallback"}] = 1
	want[label{"trial", "allowed", "memory"}] = 1
	want[label{"trial", "shadow_denied", "memory"}] = 2
	want[label{"open", "allowed", "none"}] = 1
	want[label{"closed", "error", "none"}] = 2
	for _, name := range []string{"streamlimit.requests", "streamlimit.units"} { // each cost 1
		if got := m.counter(name); !maps.Equal(got, want) {
			t.Errorf("%s counted %v,\nwant    %v", name, got, want)
		}
		if sum := m.metric(name).Data.(metricdata.Sum[int64]); !sum.IsMonotonic {
			t.Errorf("%s is not a counter", name)
		}
	}
}

// In an outage the metrics match the responses to clients: 200 200 200 429 429.
func TestOutage(t *testing.T) {
	m := newMeter(t)
	l, store := newLimiter(t, m.observer())
	store.failing.Store(true)
	strict := core.NewPolicy("strict", core.PerMinute(3))
	var seen []int
	handler := httplimit.New(l, strict, httplimit.WithKey(httplimit.ByConstant("all")))(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for range 5 {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		seen = append(seen, w.Code)
	}
	if want := []int{200, 200, 200, 429, 429}; !slices.Equal(seen, want) {
		t.Fatalf("clients see %v, want %v", seen, want)
	}
	for one, n := range m.requests() {
		want := map[label]int64{{"strict", "allowed", "fallback"}: 3, {"strict", "denied", "fallback"}: 2}[one]
		if n != want {
			t.Errorf("%v: counted %d, want %d", one, n, want)
		}
	}
}

// An overloaded process is not a failing store.
func TestOverloaded(t *testing.T) {
	m := newMeter(t)
	o := m.observer()
	o.Observe(core.Observation{Context: t.Context(), Policy: api, Cost: 1, Result: core.ResultOverloaded, Source: core.SourceNone, Err: core.ErrOverloaded})
	if n := m.requests()[label{"api", "overloaded", "none"}]; n != 1 {
		t.Errorf("counted %d", n)
	}
}

// TestUnits counts the cost of requests as units.
func TestUnits(t *testing.T) {
	m := newMeter(t)
	l, _ := newLimiter(t, m.observer())
	tokens := core.NewPolicy("tokens", core.PerHour(10), core.VariableCost())
	for _, cost := range []int64{4, 5, 7} {
		if _, err := l.AllowN(t.Context(), tokens, "k", cost); err != nil {
			t.Fatal(err)
		}
	}
	units, requests := m.counter("streamlimit.units"), m.requests()
	for result, want := range map[string][2]int64{"allowed": {9, 2}, "denied": {7, 1}} {
		one := label{"tokens", result, "memory"}
		if got := [2]int64{units[one], requests[one]}; got != want {
			t.Errorf("%s: %d units of %d requests, want %d of %d", result, got[0], got[1], want[0], want[1])
		}
	}
}

// Several policies at once count one request each.
func TestAllowAll(t *testing.T) {
	m := newMeter(t)
	l, _ := newLimiter(t, m.observer())
	other := core.NewPolicy("user", core.PerHour(9))
	for range 3 {
		if _, err := l.AllowAll(t.Context(), core.Charge{Policy: api, Key: "k"}, core.Charge{Policy: other, Key: "k"}); err != nil {
			t.Fatal(err)
		}
	}
	counts := m.requests()
	for one, want := range map[label]int64{
		{"api", "allowed", "memory"}: 2, {"api", "denied", "memory"}: 1, {"user", "allowed", "memory"}: 3, {"user", "denied", "memory"}: 0,
	} {
		if counts[one] != want {
			t.Errorf("%v: counted %d, want %d", one, counts[one], want)
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
		label := labelOf(t, point.Attributes)
		if int64(point.Count) != requests[label] {
			t.Errorf("%v: %d durations for %d requests", label, point.Count, requests[label])
		}
		delete(requests, label)
		if b := point.Bounds; b[0] != 0.00001 || b[len(b)-1] != 1 || !slices.IsSorted(b) || !slices.Contains(b, 0.1) {
			t.Errorf("%v: the buckets are %v", label, b)
		}
	}
	for label, n := range requests {
		if n != 0 {
			t.Errorf("%v: no duration for %d requests", label, n)
		}
	}
}

// Durations are in seconds.
func TestDurationInSeconds(t *testing.T) {
	m := newMeter(t)
	o := m.observer()
	o.Observe(core.Observation{Context: t.Context(), Policy: api, Cost: 1, Result: core.ResultAllowed, Source: core.SourceMemory, Took: 1500 * 1000}) // 1.5 ms
	point := m.metric("streamlimit.decision.duration").Data.(metricdata.Histogram[float64]).DataPoints[0]
	if point.Sum != 0.0015 || point.BucketCounts[slices.Index(point.Bounds, 0.0025)] != 1 {
		t.Errorf("1.5 ms are %v in %v of %v", point.Sum, point.BucketCounts, point.Bounds)
	}
}

// No metric or event contains a key, a route, or the text of a store's error.
func TestNoKey(t *testing.T) {
	m := newMeter(t)
	spans := tracetest.NewSpanRecorder()
	tracer := trace.NewTracerProvider(trace.WithSpanProcessor(spans)).Tracer("test")
	o := m.observer()
	l, store := newLimiter(t, o)
	o.Watch(l)
	ctx, span := tracer.Start(context.Background(), "GET /")
	traffic(ctx, l, store)
	if _, err := l.Allow(ctx, api, "client-7"); err != nil {
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
