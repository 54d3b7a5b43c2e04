package redisstream

import (
	"context"
	"errors"
	"time"

	"github.com/streamlimit/streamlimit/core/internal/lease"
	"github.com/streamlimit/streamlimit/core/store"
)

// logState is the state of a log after a call, with the units of the call.
type logState struct {
	reset  time.Duration
	entry  store.EntryID
	limits []store.LimitUsage
}

// TakeLeased implements [store.Leaser].
func (s *Store) TakeLeased(p *store.Log, key string, least, most int64) (store.Usage, int64) {
	if !hasLeases(p) {
		return store.Usage{}, 0
	}
	got, ok := s.leases.table.Take(leased{p, key}, least, most)
	if !ok {
		return store.Usage{}, 0
	}
	return usageOf(p, got), got.Units
}

// TakeAllLeased implements [store.Leaser].
func (s *Store) TakeAllLeased(charges []store.Charge) ([]store.Usage, bool) {
	taken := make([]lease.Taken[logState], 0, len(charges))
	usages := make([]store.Usage, len(charges))
	for i, c := range charges {
		t, ok := lease.Taken[logState]{}, false
		if hasLeases(c.Log) {
			t, ok = s.leases.table.Take(leased{c.Log, c.Key}, c.Cost, c.Cost)
		}
		if !ok {
			for _, t := range taken {
				t.Generation.PutBack(t.Units)
			}
			return nil, false
		}
		taken = append(taken, t)
		usages[i] = usageOf(c.Log, t)
	}
	return usages, true
}

// usageOf returns the usage of a log for a request that a lease serves.
func usageOf(p *store.Log, got lease.Taken[logState]) store.Usage {
	u := store.Usage{Allowed: true, Source: store.SourceLease}
	since := (got.At.Mono - got.Generation.Received.Mono).Truncate(time.Millisecond)
	got.Generation.State.write(&u, p, got.Left, since)
	return u
}

// write writes the state that an earlier call found. left is the number of units that the
// log counts and this process has not used.
func (s *logState) write(u *store.Usage, p *store.Log, left int64, since time.Duration) {
	u.ResetAfter = s.reset - since
	for i, l := range s.limits {
		free := l.FreeIn - since
		if free <= 0 && l.Used > 0 {
			free = p.Limits[i].Window - since // when the entry of the lease leaves
		}
		u.Limits[i] = store.LimitUsage{Used: l.Used - left, FreeIn: free}
	}
}

// addLeft adds the units that this process has left to the units that the log has left.
func addLeft(u *store.Usage, p *store.Log, left, cost int64) {
	for i := range p.Limits {
		u.Limits[i].Used -= left
	}
	if left >= cost {
		u.Allowed, u.RetryAfter = true, 0
	}
}

// takeLeased decides by a lease, or waits for a lease. It takes from least to most units.
// After a denial the answer has no units.
func (s *Store) takeLeased(ctx context.Context, p *store.Log, key string, least, most int64) (store.Usage, lease.Answer[logState], error) {
	if err := ctx.Err(); err != nil {
		return store.Usage{}, lease.Answer[logState]{}, err
	}
	k := leased{p, key}
	if got, ok := s.leases.table.Take(k, least, most); ok {
		return usageOf(p, got), lease.Answer[logState]{Taken: got}, nil
	}
	if s.transport.closed.Load() {
		return store.Usage{}, lease.Answer[logState]{}, prefixed(store.ErrClosed)
	}
	cached := cacheable(p)
	if cached {
		if u, ok := s.cache.get(p, key); ok {
			return u, lease.Answer[logState]{}, nil
		}
	}
	sent := s.cache.sending(key)
	a, err := s.leases.table.Acquire(ctx, k, termsOf(p), least, most)
	if err != nil {
		return store.Usage{}, a, err
	}
	if a.Local {
		return usageOf(p, a.Taken), a, nil
	}
	u := store.Usage{Allowed: a.Units > 0, Source: store.SourceRedis, RetryAfter: a.RetryAfter}
	a.Generation.State.write(&u, p, a.Left, 0)
	if !u.Allowed && cached {
		s.cache.put(p, key, u, sent)
	}
	return u, a, nil
}

// takeAllLeased decides on charges when some are on leased logs. It decides on the leased
// logs first, since their units can be put back.
func (s *Store) takeAllLeased(ctx context.Context, asks []store.Charge) ([]store.Usage, error) {
	usages := make([]store.Usage, len(asks))
	answers := make([]lease.Answer[logState], len(asks))
	putBack := func() {
		for i, a := range answers {
			if a.Units > 0 {
				a.Generation.PutBack(a.Units)
				usages[i] = without(usages[i], asks[i])
			}
		}
	}
	var rest []store.Charge
	var places []int // the places in asks of the other charges
	for i, c := range asks {
		if !hasLeases(c.Log) {
			rest, places = append(rest, c), append(places, i)
			continue
		}
		u, a, err := s.takeLeased(ctx, c.Log, c.Key, c.Cost, c.Cost)
		if err != nil {
			putBack()
			return nil, &store.ChargeError{Index: i, Err: err}
		}
		usages[i], answers[i] = u, a
		if !u.Allowed && !c.Log.Shadow {
			// Peek at the other logs, to show their state.
			for j, c := range asks {
				if j > i || !hasLeases(c.Log) {
					if usages[j], err = s.Peek(ctx, c.Log, c.Key, c.Cost); err != nil {
						usages[j] = store.Usage{Allowed: true, Source: store.SourceRedis}
					}
				}
			}
			putBack()
			return usages, nil
		}
	}
	if len(rest) == 0 {
		return usages, nil
	}
	others, err := s.takeRest(ctx, rest)
	var one *store.ChargeError
	switch {
	case errors.As(err, &one) && one.Index < len(places):
		err = &store.ChargeError{Index: places[one.Index], Err: one.Err}
	case err != nil:
		err = &store.ChargeError{Index: places[0], Err: err}
	}
	if err != nil {
		putBack()
		return nil, err
	}
	denied := false
	for i, u := range others {
		usages[places[i]] = u
		denied = denied || !u.Allowed && !rest[i].Log.Shadow
	}
	if denied {
		putBack()
	}
	return usages, nil
}

func (s *Store) takeRest(ctx context.Context, rest []store.Charge) ([]store.Usage, error) {
	if len(rest) > 1 {
		return s.TakeAll(ctx, rest)
	}
	u, err := s.takeOne(ctx, rest[0])
	return []store.Usage{u}, err
}

// TakeUpTo implements [store.Partial]. For logs without refunds and leases it calls the
// server several times.
func (s *Store) TakeUpTo(ctx context.Context, p *store.Log, key string, most int64) (u store.Usage, cost int64, err error) {
	switch {
	case hasLeases(p):
		u, a, err := s.takeLeased(ctx, p, key, 1, most)
		return u, max(1, a.Units), err
	case p.Layout != store.Refunded || len(p.Earlier) > 0:
		return store.TakePart(ctx, s, p, key, most)
	}
	want := lease.Want{Count: 1, Least: 1, Most: most}
	r, err := s.askLease(ctx, p, key, 0, want)
	if err != nil {
		return u, 1, err
	}
	cost = want.Serve(r.Room)
	u = store.Usage{Allowed: cost > 0, Source: store.SourceRedis, Entry: r.State.entry}
	r.State.write(&u, p, 0, 0)
	if cost == 0 {
		u.RetryAfter = r.Waits[0].For
	}
	return u, max(1, cost), nil
}
