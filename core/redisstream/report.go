package redisstream

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/streamlimit/streamlimit/core"
)

// outcome is what became of a request, for a breaker: one of its decisions, and the
// error.
type outcome struct {
	ask core.Charge
	err error
}

// reports passes outcomes on to the limiters that use the store.
type reports struct {
	mu  sync.Mutex
	all atomic.Pointer[[]*func(core.Charge, error)]
}

func (r *reports) send(o outcome) {
	if all := r.all.Load(); all != nil {
		for _, f := range *all {
			(*f)(o.ask, o.err)
		}
	}
}

// Report implements [core.Reporter].
func (s *Store) Report(f func(core.Charge, error)) (stop func()) {
	r := &s.batcher.reports
	change := func(change func([]*func(core.Charge, error)) []*func(core.Charge, error)) {
		r.mu.Lock()
		defer r.mu.Unlock()
		var all []*func(core.Charge, error)
		if now := r.all.Load(); now != nil {
			all = slices.Clone(*now)
		}
		all = change(all)
		r.all.Store(&all)
	}
	added := &f
	change(func(all []*func(core.Charge, error)) []*func(core.Charge, error) { return append(all, added) })
	return func() {
		change(func(all []*func(core.Charge, error)) []*func(core.Charge, error) {
			return slices.DeleteFunc(all, func(one *func(core.Charge, error)) bool { return one == added })
		})
	}
}
