package telemetry_test

import (
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// down returns the metric's value, or -1 if it has none.
func down(m meter) int64 {
	m.t.Helper()
	for _, one := range m.collect().Metrics {
		if one.Name != "streamlimit.store.down" {
			continue
		}
		sum := one.Data.(metricdata.Sum[int64])
		if len(sum.DataPoints) != 1 || sum.DataPoints[0].Attributes.Len() != 0 || sum.IsMonotonic {
			m.t.Errorf("%+v", sum)
		}
		return sum.DataPoints[0].Value
	}
	return -1
}

// The metric is the sum over the stores of all watched limiters.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMeter(t)
		o := m.observer()
		first, firstStore := newLimiter(t, o)
		second, secondStore := newLimiter(t, o)
		third, thirdStore := newLimiter(t, o)
		_, _ = first.Allow(t.Context(), api, "k")
		if n := down(m); n != -1 {
			t.Errorf("%d servers down without a limiter", n)
		}
		o.Watch(first)
		o.Watch(second)
		o.Watch(third)
		want := func(n int64) {
			t.Helper()
			if got := down(m); got != n {
				t.Errorf("%d servers down, want %d", got, n)
			}
		}
		want(0)
		firstStore.failing.Store(true)
		thirdStore.failing.Store(true)
		for range 20 {
			_, _ = first.Allow(t.Context(), api, "k")
			_, _ = third.Allow(t.Context(), api, "k")
			time.Sleep(time.Millisecond)
		}
		want(2)
		secondStore.failing.Store(true)
		for range 20 {
			_, _ = second.Allow(t.Context(), api, "k")
			time.Sleep(time.Millisecond)
		}
		want(3)
		for _, store := range []*failingStore{firstStore, secondStore, thirdStore} {
			store.failing.Store(false)
		}
		time.Sleep(2 * time.Second)
		want(0)
		for _, l := range []interface{ Close() error }{first, second, third} {
			_ = l.Close() // its goroutines belong to the bubble
		}
	})
}
