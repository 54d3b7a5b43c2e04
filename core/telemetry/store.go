package telemetry

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/metric"

	"github.com/streamlimit/streamlimit/core"
)

// Watch measures the health of a limiter's store, from now until the meter provider is
// shut down.
func (o *Observer) Watch(limiter *core.Limiter) {
	if limiter == nil {
		panic("telemetry: Watch: nil limiter: make one with core.New")
	}
	o.watched.add(limiter)
}

type watched struct {
	mu       sync.Mutex
	limiters []*core.Limiter
}

func (w *watched) add(limiter *core.Limiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limiters = append(w.limiters, limiter)
}

// sum returns a function that reports a sum at each collection, since a collection may
// keep only one of several values with the same attributes.
func (w *watched) sum(of func(core.Health) int64) metric.Int64Callback {
	return func(_ context.Context, to metric.Int64Observer) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		var sum int64
		for _, limiter := range w.limiters {
			sum += of(limiter.Health())
		}
		if len(w.limiters) > 0 {
			to.Observe(sum)
		}
		return nil
	}
}

func serversDown(h core.Health) int64 { return int64(len(h.Down)) }
func slotsLost(h core.Health) int64   { return h.LostSlots }
