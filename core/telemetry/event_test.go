package telemetry_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/httplimit"
)

// event returns the attributes of an event, except the remaining time.
func event(t *testing.T, e trace.Event) (attributes []attribute.KeyValue, retryAfter float64) {
	t.Helper()
	if e.Name != "streamlimit.decision" {
		t.Errorf("event name %q", e.Name)
	}
	for _, a := range e.Attributes {
		if a.Key == "retry_after" {
			retryAfter = a.Value.AsFloat64()
			continue
		}
		attributes = append(attributes, a)
	}
	return attributes, retryAfter
}

func says(policy, result, source, reason, limit string, remaining int64) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("policy", policy), attribute.String("result", result), attribute.String("source", source),
		attribute.Int64("cost", 1), attribute.String("reason", reason),
		attribute.String("limit", limit), attribute.Int64("remaining", remaining),
	}
}

func TestEvents(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	tracer := trace.NewTracerProvider(trace.WithSpanProcessor(spans)).Tracer("test")
	l, store := newLimiter(t, newMeter(t).observer())
	ctx, span := tracer.Start(context.Background(), "GET /")
	traffic(ctx, l, store)
	span.End()

	want := [][]attribute.KeyValue{
		says("api", "allowed", "memory", "limits", "2/hour", 1),
		says("api", "allowed", "memory", "limits", "2/hour", 0),
		says("api", "denied", "memory", "limits", "2/hour", 0),
		says("trial", "allowed", "memory", "limits", "1/hour", 0),
		says("trial", "shadow_denied", "memory", "limits", "1/hour", 0),
		says("trial", "shadow_denied", "memory", "limits", "1/hour", 0),
		says("api", "denied", "none", "banned", "2/hour", 0),
		says("api", "allowed", "fallback", "limits", "2/hour", 1),
		says("api", "allowed", "fallback", "limits", "2/hour", 0),
		says("api", "denied", "fallback", "limits", "2/hour", 0),
		says("open", "allowed", "none", "fail-open", "1/hour", 1),
		says("closed", "error", "none", "", "", 0)[:4],
		says("closed", "error", "none", "", "", 0)[:4],
	}
	events := spans.Ended()[0].Events()
	if len(events) != len(want) {
		t.Fatalf("%d events, want %d: %+v", len(events), len(want), events)
	}
	for i, e := range events {
		got, retryAfter := event(t, e)
		if !slices.Equal(got, want[i]) {
			t.Errorf("event %d has %v,\nwant %v", i, got, want[i])
		}
		denied := want[i][1].Value.AsString() == "denied"
		if in := retryAfter > 3500 && retryAfter <= 3600; in != denied || !denied && retryAfter != 0 {
			t.Errorf("event %d: retry after %v s, denied %v", i, retryAfter, denied)
		}
	}
}

// TestEventOnRequest: an adapter passes the request's context, so the event belongs to
// the request's span.
func TestEventOnRequest(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	tracer := trace.NewTracerProvider(trace.WithSpanProcessor(spans)).Tracer("test")
	l, _ := newLimiter(t, newMeter(t).observer())
	user := core.NewPolicy("user", core.PerHour(9))
	handler := httplimit.New(l, api, httplimit.WithPolicy(user, httplimit.ByConstant("all")))(
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for _, name := range []string{"first", "second"} {
		ctx, span := tracer.Start(context.Background(), name)
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/", nil))
		span.End()
	}
	for i, span := range spans.Ended() {
		events := span.Events()
		if len(events) != 2 {
			t.Fatalf("span %s has %d events, want one a policy", span.Name(), len(events))
		}
		for j, policy := range []string{"api", "user"} {
			got, _ := event(t, events[j])
			if remaining := []int64{2, 9}[j] - 1 - int64(i); got[0].Value.AsString() != policy || got[6].Value.AsInt64() != remaining {
				t.Errorf("span %s, event %d has %v, want %s with %d left", span.Name(), j, got, policy, remaining)
			}
		}
	}
}

// TestNotSampled: a span that is not sampled gets no event. The decision is counted.
func TestNotSampled(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	tracer := trace.NewTracerProvider(trace.WithSpanProcessor(spans), trace.WithSampler(trace.NeverSample())).Tracer("test")
	m := newMeter(t)
	l, _ := newLimiter(t, m.observer())
	ctx, span := tracer.Start(context.Background(), "GET /")
	_, _ = l.Allow(ctx, api, "k")
	span.End()
	if n := len(spans.Ended()); n != 0 {
		t.Errorf("%d spans recorded", n)
	}
	if n := m.requests()[label{"api", "allowed", "memory"}]; n != 1 {
		t.Errorf("counted %d", n)
	}
}
