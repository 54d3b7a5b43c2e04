package telemetry_test

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/streamlimit/streamlimit/core"
)

// watched returns the value of a metric that needs Watch, or -1 if it has none. monotonic
// reports whether the metric is a counter.
func watched(m meter, name string, monotonic bool) int64 {
	m.t.Helper()
	for _, one := range m.collect().Metrics {
		if one.Name != name {
			continue
		}
		sum := one.Data.(metricdata.Sum[int64])
		if len(sum.DataPoints) != 1 || sum.DataPoints[0].Attributes.Len() != 0 || sum.IsMonotonic != monotonic {
			m.t.Errorf("%+v", sum)
		}
		return sum.DataPoints[0].Value
	}
	return -1
}

func down(m meter) int64 { m.t.Helper(); return watched(m, "streamlimit.store.down", false) }

func slotsLost(m meter) int64 { m.t.Helper(); return watched(m, "streamlimit.slots.lost", true) }

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

// The metric counts the slots that ended early, for all watched limiters.
func TestWatchLostSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMeter(t)
		o := m.observer()
		uploads := core.NewConcurrency("uploads", 1, 30*time.Second)
		want := func(n int64) {
			t.Helper()
			if got := slotsLost(m); got != n {
				t.Errorf("%d slots lost, want %d", got, n)
			}
		}
		for i := range int64(2) {
			l := core.New(core.NewMemory(), core.WithObserver(o), core.WithLogger(slog.New(slog.DiscardHandler)))
			defer l.Close()
			o.Watch(l)
			slot, err := l.Acquire(t.Context(), uploads, "k")
			if err != nil {
				t.Fatal(err)
			}
			want(i)
			if err := l.Reset(t.Context(), uploads, "k"); err != nil {
				t.Fatal(err)
			}
			<-slot.Lost()
			want(i + 1)
		}
	})
}
