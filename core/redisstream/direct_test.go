package redisstream

import (
	"context"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

// decide asks for one log alone, past the cache and the batcher.
func (s *Store) decide(ctx context.Context, p *store.Log, log string, cost int64, mode any) (store.Usage, error) {
	c := charge{policy: p, log: log, cost: cost}
	reply, err := s.transport.send(&request{Context: ctx, listen: 10 * time.Second}, scriptOf(p), decision(&c, mode))
	if err != nil {
		return store.Usage{}, err
	}
	return parseUsage(reply, p)
}

// waiterFor returns a waiter that may share a batch with others.
func waiterFor(p *store.Log, log string, cost int64) *waiter {
	t := &waiter{one: [1]charge{{policy: p, log: log, cost: cost}}, done: make(chan struct{}, 1)}
	t.charges = t.one[:]
	return t
}

// runTogether sends the waiters in one batch.
func (s *Store) runTogether(all []*waiter) {
	v := &s.batcher.one
	v.mu.Lock()
	v.inFlight++
	batch := v.newBatch(all)
	v.mu.Unlock()
	v.runBatches(batch)
}

// patient makes a store wait longer than any busy machine takes.
func patient(s *Store) {
	WithTimeout(10 * time.Second)(s)
	WithWaitBound(10 * time.Second)(s)
	s.batcher.first = 10 * time.Second
}
