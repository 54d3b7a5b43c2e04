package redisstream

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/streamlimit/streamlimit/core/internal/lease"
	"github.com/streamlimit/streamlimit/core/store"
)

// logState is the state of a log after a call, with the units of the call. The first
// limit, mostly the only one, has a field of its own: a request then reads nothing else.
type logState struct {
	reset  time.Duration
	first  store.LimitUsage
	others []store.LimitUsage
	entry  store.EntryID
}

// newLogState returns a state with its own copy of the limits.
func newLogState(reset time.Duration, entry store.EntryID, limits []store.LimitUsage) logState {
	return logState{reset: reset, first: limits[0], others: slices.Clone(limits[1:]), entry: entry}
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
			for j, t := range taken {
				s.leases.table.PutBack(leased{charges[j].Log, charges[j].Key}, t)
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
	for i := range p.Limits {
		l := &s.first
		if i > 0 {
			l = &s.others[i-1]
		}
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
	t := leasedTake{log: p, key: key, least: least, most: most}
	if err := ctx.Err(); err != nil {
		return t.usage, t.answer, err
	}
	if !t.here(s) {
		t.begin(s)
		t.wait(ctx, s)
	}
	return t.usage, t.answer, t.err
}

// leasedTake takes units of one lease in three steps: here, begin if here reports false,
// and wait.
type leasedTake struct {
	log         *store.Log
	key         string
	least, most int64

	sent  sending
	begun *lease.Begun[leased, logState] // nil if nothing was asked for

	decided bool // usage is known
	usage   store.Usage
	answer  lease.Answer[logState]
	err     error
}

// here decides by the units that this process has, or by a cached denial. It reports
// false if neither is there.
func (t *leasedTake) here(s *Store) bool {
	got, ok := s.leases.table.Take(leased{t.log, t.key}, t.least, t.most)
	switch {
	case ok:
		t.decided, t.usage, t.answer.Taken = true, usageOf(t.log, got), got
	case cacheable(t.log) && !s.transport.closed.Load():
		t.usage, t.decided = s.cache.get(t.log, t.key)
	}
	return t.decided
}

// begin asks for units.
func (t *leasedTake) begin(s *Store) {
	if s.transport.closed.Load() {
		t.err = prefixed(store.ErrClosed)
		return
	}
	t.sent = s.cache.sending(t.key)
	t.begun = s.leases.table.Begin(leased{t.log, t.key}, termsOf(t.log), t.least, t.most)
}

// wait waits for the units that begin has asked for.
func (t *leasedTake) wait(ctx context.Context, s *Store) {
	if t.begun != nil {
		a, err := t.begun.Wait(ctx)
		t.take(a, err, s)
	}
}

// leave ends the wait, and takes the units if they have come already.
func (t *leasedTake) leave(s *Store) {
	if t.begun != nil {
		if a, ok := t.begun.Leave(); ok {
			t.take(a, a.Err, s)
		}
	}
}

// take takes the answer.
func (t *leasedTake) take(a lease.Answer[logState], err error, s *Store) {
	if t.err = err; err != nil {
		return
	}
	t.decided, t.answer = true, a
	if a.Local {
		t.usage = usageOf(t.log, a.Taken)
		return
	}
	t.usage = store.Usage{Allowed: a.Units > 0, Source: store.SourceRedis, RetryAfter: a.RetryAfter}
	a.Generation.State.write(&t.usage, t.log, a.Left, 0)
	if !t.usage.Allowed && cacheable(t.log) {
		s.cache.put(t.log, t.key, t.usage, t.sent)
	}
}

// denies reports whether the request is denied.
func (t *leasedTake) denies() bool { return t.decided && !t.usage.Allowed && !t.log.Shadow }

// takeAllLeased decides on charges when some are on leased logs. It decides on the leased
// logs first, since their units can be put back. It asks at once for all units that this
// process does not have, so that they take one round trip.
func (s *Store) takeAllLeased(ctx context.Context, asks []store.Charge) ([]store.Usage, error) {
	if err := ctx.Err(); err != nil {
		return nil, &store.ChargeError{Err: err}
	}
	takes := make([]leasedTake, len(asks)) // zero for logs without leases
	var unknown, rest []int                // places in asks: what this process does not have, and logs without leases
	denied := false
	for i, c := range asks {
		if !hasLeases(c.Log) {
			rest = append(rest, i)
			continue
		}
		takes[i] = leasedTake{log: c.Log, key: c.Key, least: c.Cost, most: c.Cost}
		if !takes[i].here(s) {
			unknown = append(unknown, i)
		}
		denied = denied || takes[i].denies()
	}
	var failed error
	if !denied {
		unknown, denied, failed = s.takeThere(ctx, takes, unknown)
	}
	usages := make([]store.Usage, len(asks))
	for i := range takes {
		usages[i] = takes[i].usage
	}
	if failed == nil && !denied && len(rest) > 0 {
		denied, failed = s.takeRest(ctx, asks, rest, usages)
		rest = nil
	}
	if failed == nil && !denied {
		return usages, nil
	}
	for i := range takes {
		if a := &takes[i].answer; a.Units > 0 {
			s.leases.table.PutBack(leased{asks[i].Log, asks[i].Key}, a.Taken)
			usages[i] = without(usages[i], asks[i])
		}
	}
	if failed != nil {
		return nil, failed
	}
	// Peek at the other logs, to show their state.
	for _, i := range append(unknown, rest...) {
		var err error
		if usages[i], err = s.Peek(ctx, asks[i].Log, asks[i].Key, asks[i].Cost); err != nil {
			usages[i] = store.Usage{Allowed: true, Source: store.SourceRedis}
		}
	}
	return usages, nil
}

// takeThere asks for units of the takes at some places, and waits until all are there, or
// one of them denies the request or fails. It returns the places that it does not know.
func (s *Store) takeThere(ctx context.Context, takes []leasedTake, places []int) (unknown []int, denied bool, failed error) {
	for _, i := range places {
		takes[i].begin(s)
	}
	for _, i := range places {
		t := &takes[i]
		switch {
		case !denied && failed == nil:
			if t.wait(ctx, s); t.err != nil {
				failed = &store.ChargeError{Index: i, Err: t.err}
			}
			denied = t.denies()
		default:
			if t.leave(s); !t.decided {
				unknown = append(unknown, i)
			}
		}
	}
	return unknown, denied, failed
}

// takeRest decides on the charges at some places in asks. It reports whether one of them
// denies the request.
func (s *Store) takeRest(ctx context.Context, asks []store.Charge, places []int, usages []store.Usage) (denied bool, err error) {
	rest := make([]store.Charge, len(places))
	for i, place := range places {
		rest[i] = asks[place]
	}
	others, err := s.takeAll(ctx, rest)
	if err != nil {
		first := 0 // the first charge that the error is about
		var one *store.ChargeError
		if errors.As(err, &one) && one.Index < len(places) {
			first, err = one.Index, one.Err
		}
		return false, &store.ChargeError{Index: places[first], Err: err}
	}
	for i, u := range others {
		usages[places[i]] = u
		denied = denied || !u.Allowed && !rest[i].Log.Shadow
	}
	return denied, nil
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
