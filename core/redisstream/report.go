package redisstream

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/streamlimit/streamlimit/core/store"
)

// outcome is what became of a request, for a breaker: one of its decisions, and the
// error.
type outcome struct {
	ask store.Charge
	err error
}

// reports passes outcomes on to the limiters that use the store.
type reports struct {
	mu  sync.Mutex
	all atomic.Pointer[[]*func(store.Charge, error)]
}

func (r *reports) send(o outcome) {
	if all := r.all.Load(); all != nil {
		for _, f := range *all {
			(*f)(o.ask, o.err)
		}
	}
}

// Report implements [store.Reporter].
func (s *Store) Report(f func(store.Charge, error)) (stop func()) {
	r := &s.batcher.reports
	change := func(change func([]*func(store.Charge, error)) []*func(store.Charge, error)) {
		r.mu.Lock()
		defer r.mu.Unlock()
		var all []*func(store.Charge, error)
		if now := r.all.Load(); now != nil {
			all = slices.Clone(*now)
		}
		all = change(all)
		r.all.Store(&all)
	}
	added := &f
	change(func(all []*func(store.Charge, error)) []*func(store.Charge, error) { return append(all, added) })
	return func() {
		change(func(all []*func(store.Charge, error)) []*func(store.Charge, error) {
			return slices.DeleteFunc(all, func(one *func(store.Charge, error)) bool { return one == added })
		})
	}
}
