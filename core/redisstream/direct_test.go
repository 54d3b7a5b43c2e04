package redisstream

import (
	"context"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// decide asks for one log alone, past the cache and the batcher.
func (s *Store) decide(ctx context.Context, p *core.Policy, log string, cost int64, mode any) (core.Usage, error) {
	c := charge{policy: p, log: log, cost: cost}
	reply, err := s.transport.send(&flight{Context: ctx, listen: 10 * time.Second}, scriptOf(p), decision(&c, mode))
	if err != nil {
		return core.Usage{}, err
	}
	return parseUsage(reply, p)
}

// ticketFor returns a ticket that may travel with others.
func ticketFor(p *core.Policy, log string, cost int64) *ticket {
	t := &ticket{one: [1]charge{{policy: p, log: log, cost: cost}}, done: make(chan struct{}, 1)}
	t.charges = t.one[:]
	return t
}

// flyTogether sends the tickets in one flight.
func (s *Store) flyTogether(all []*ticket) {
	v := &s.batcher.one
	v.mu.Lock()
	v.flights++
	y := v.board(all)
	v.mu.Unlock()
	v.fly(y)
}

// patient makes a store wait longer than any busy machine takes.
func patient(s *Store) {
	WithTimeout(10 * time.Second)(s)
	WithWaitBound(10 * time.Second)(s)
	s.batcher.first = 10 * time.Second
}
