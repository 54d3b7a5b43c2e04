package lease

import "sync/atomic"

// closed is the value of left in a closed lease. A closed lease hands out no units.
const closed = -1 << 62

// Generation holds the units that one call took ahead. The fields that take uses come
// first: for a rarely used key, a request waits for each cache line.
type Generation[S any] struct {
	left     atomic.Int64 // units; below 0 once it is closed
	low      int64        // what is left when the next call is sent
	end      Moment
	renew    Moment      // a request after this moment sends the next call
	renewing atomic.Bool // the next call was sent, or no call is needed

	Received Moment // when the reply arrived
	State    S      // the log after the call, which counts all its units

	size  int64 // units at first
	sent  Moment
	began Moment // when requests began to use it
}

// Taken has the units that a lease has handed out.
type Taken[S any] struct {
	Generation *Generation[S] // the lease; nil if no units were taken
	Units      int64
	Left       int64  // units that the state counts and this process has left
	At         Moment // when the units were taken
}

// Take takes from least to most units of the key's lease, as many as it has. It reports
// false if it has fewer than least. Take may send a call, but does not wait for the reply.
// It does not allocate unless it sends a call or moves to the next lease.
func (t *Table[K, S]) Take(k K, least, most int64) (got Taken[S], ok bool) {
	l := t.find(k)
	if l == nil {
		return got, false
	}
	g := l.current.Load()
	if g == nil {
		return got, false // a key with a next lease has a current one
	}
	now := t.Now() // after the lease was found, and before its units are taken
	got, renew := g.take(now, least, most)
	if got.Units == 0 {
		return t.takeNext(l, g, least, most)
	}
	if renew {
		t.renew(l, g, now)
	}
	return got, true
}

// takeNext moves from a lease to the next one and takes units from that. If the next lease
// has too few, the current one keeps its units for smaller requests.
func (t *Table[K, S]) takeNext(l *lease[K, S], g *Generation[S], least, most int64) (got Taken[S], ok bool) {
	if l.next.Load() == nil && l.current.Load() == g {
		return got, false
	}
	l.mu.Lock()
	var c *Call[K, S]
	// Without a next lease, another request has just moved to it.
	if next := l.next.Load(); next == nil || next.left.Load() >= least {
		got, c = t.takeHere(l, t.Now(), least, most)
	}
	l.mu.Unlock()
	if c != nil {
		t.Ask(c)
	}
	return got, got.Units > 0
}

// takeHere takes units from the current lease. If that has too few, it moves to the next
// lease. It takes nothing while other requests wait. The caller holds the lease's lock. It
// sends the call that takeHere returns, if any, after it has released the lock.
func (t *Table[K, S]) takeHere(l *lease[K, S], now Moment, least, most int64) (got Taken[S], c *Call[K, S]) {
	t.advance(l, now, least)
	g := l.current.Load()
	if g == nil || len(l.waiting) > 0 {
		return got, nil
	}
	got, renew := g.take(now, least, most)
	if renew {
		c = t.startRenewal(l, g, now)
	}
	return got, c
}

// take takes units at a moment that is later than the lease's reply. The last result
// reports whether it is time for the next call.
func (g *Generation[S]) take(now Moment, least, most int64) (got Taken[S], renew bool) {
	if now.reached(g.end) {
		return got, false
	}
	var taken, left int64
	for {
		had := g.left.Load()
		if had < least {
			return got, false
		}
		taken = min(most, had)
		left = had - taken
		if g.left.CompareAndSwap(had, left) {
			break
		}
	}
	renew = (left <= g.low || now.reached(g.renew)) && !g.renewing.Load() && g.renewing.CompareAndSwap(false, true)
	return Taken[S]{g, taken, left, now}, renew
}

// PutBack puts back the units of a request that is not admitted. If their lease is
// closed, they go back to the log.
func (t *Table[K, S]) PutBack(k K, units Taken[S]) {
	g := units.Generation
	for had := g.left.Load(); had >= 0; had = g.left.Load() {
		if g.left.CompareAndSwap(had, had+units.Units) {
			return
		}
	}
	t.agenda.giveBack(Return[K, S]{Key: k, State: g.State, Units: units.Units})
	if t.closed.Load() {
		t.flush()
	}
	t.arm(t.Now())
}

// close ends the lease and returns the units that it had left.
func (g *Generation[S]) close() int64 { return max(0, g.left.Swap(closed)) }
