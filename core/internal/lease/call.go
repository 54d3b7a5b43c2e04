package lease

import "time"

// Want has the needs of some consecutive requests of a call.
type Want struct {
	Count       int64 // of requests
	Least, Most int64 // units that each request gets, or it gets none
}

// Serve returns the units that the next request gets of the room that is left.
func (w Want) Serve(room int64) int64 {
	if room < w.Least {
		return 0
	}
	return min(w.Most, room)
}

// maxWants bounds the wants of a call. A request with a further want waits for the next
// call.
const maxWants = 16

// Call asks a log for units. It serves waiting requests in order of arrival, each if
// there is room for it. Then it takes some units ahead.
type Call[K comparable, S any] struct {
	Key   K
	Wants []Want
	Ahead int64 // the most units to take ahead

	table   *Table[K, S]
	lease   *lease[K, S]
	sent    Moment
	waiters []*Waiter[K, S]
	stale   bool // the log was reset after the call was sent
}

// Alone returns the units of a call that serves one request and takes nothing ahead, and
// reports whether the call is one. Such a call is a decision as without leases, which
// costs the server less.
func (c *Call[K, S]) Alone() (units int64, ok bool) {
	if c.Ahead > 0 || len(c.Wants) != 1 || c.Wants[0].Count != 1 || c.Wants[0].Least != c.Wants[0].Most {
		return 0, false
	}
	return c.Wants[0].Least, true
}

// Reply is the log's reply to a call. The server decides all of it at one moment.
type Reply[S any] struct {
	Room  int64 // units that every limit had room for, before the call took any
	Ahead int64 // units taken ahead
	State S     // the log after the call
	Waits []Wait
}

// Wait is the time that a denied request must wait.
type Wait struct {
	Least int64 // units that the request needs
	For   time.Duration
}

// Return is a return of units to a log: units that a call took and no request used.
type Return[K comparable, S any] struct {
	Key   K
	State S // of the reply to the call
	Units int64
}

// startCall begins a call for the waiting requests. The caller holds the lease's lock,
// and sends the call after it has released the lock.
func (t *Table[K, S]) startCall(l *lease[K, S], now Moment) *Call[K, S] {
	c := &Call[K, S]{Key: l.key, table: t, lease: l, sent: now}
	need := int64(0)
	for len(l.waiting) > 0 {
		w := l.waiting[0]
		if w.state == waits {
			last := len(c.Wants) - 1
			same := last >= 0 && c.Wants[last].Least == w.Least && c.Wants[last].Most == w.Most
			if !same && len(c.Wants) == maxWants {
				break
			}
			if same {
				c.Wants[last].Count++
			} else {
				c.Wants = append(c.Wants, w.want())
			}
			need += w.Least
			c.waiters = append(c.waiters, w)
		}
		l.waiting = l.waiting[1:]
	}
	if need > 0 && l.called && now.Mono < l.sent.Mono+l.terms.Length {
		l.size.grow(l.terms, need)
	}
	if !l.spare && !t.closed.Load() {
		c.Ahead = l.size.want()
	}
	l.call, l.sent, l.called = c, now, true
	return c
}

// renew sends a call for the next lease. No request waits for it.
func (t *Table[K, S]) renew(l *lease[K, S], g *Generation[S], now Moment) {
	l.mu.Lock()
	c := t.startRenewal(l, g, now)
	l.mu.Unlock()
	if c != nil {
		t.Ask(c)
	}
}

func (t *Table[K, S]) startRenewal(l *lease[K, S], g *Generation[S], now Moment) *Call[K, S] {
	if l.call != nil || l.next.Load() != nil || l.current.Load() != g || l.gone.Load() {
		return nil
	}
	l.size.follow(l.terms, g.size-g.left.Load(), now.Mono-g.began.Mono)
	if l.size.want() == 0 {
		return nil
	}
	return t.startCall(l, now)
}

// Done ends the call. After an error, the units of the call are never handed out.
func (c *Call[K, S]) Done(r Reply[S], err error) {
	t, l := c.table, c.lease
	l.mu.Lock()
	now := t.Now() // when the reply arrived
	l.call = nil
	l.size.slow = now.Mono-c.sent.Mono > l.terms.Length/4
	if err != nil {
		l.size.limited = true
		for _, w := range c.waiters {
			w.answer(Answer[S]{Err: err})
		}
	} else {
		t.receive(l, c, r, now)
	}
	var next *Call[K, S]
	if len(l.waiting) > 0 {
		next = t.startCall(l, now)
	}
	l.mu.Unlock()
	if t.closed.Load() {
		t.flush()
	}
	if next != nil {
		t.Ask(next)
	}
}

// receive hands out the units of a reply. The caller holds the lease's lock.
func (t *Table[K, S]) receive(l *lease[K, S], c *Call[K, S], r Reply[S], now Moment) {
	g := &Generation[S]{sent: c.sent, end: c.sent.add(l.terms.Length), State: r.State, Received: now}
	spare, left := r.Ahead, r.Ahead
	room := r.Room
	units := make([]int64, len(c.waiters))
	for i, w := range c.waiters {
		units[i] = w.want().Serve(room)
		room -= units[i]
		left += units[i]
	}
	l.size.limited = r.Ahead < c.Ahead
	var unanswered []*Waiter[K, S]
	for i, w := range c.waiters {
		left -= units[i]
		a := Answer[S]{Taken: Taken[S]{g, units[i], left, now}}
		if a.Units == 0 {
			l.size.limited = true
			var known bool
			if a.RetryAfter, known = r.wait(w.Least); !known {
				unanswered = append(unanswered, w)
				continue
			}
		}
		if w.state == gone {
			spare += a.Units
		}
		w.answer(a)
	}
	l.waiting = append(unanswered, l.waiting...)
	if c.stale {
		return
	}
	// Requests that came after the call was sent get units that are left, at this moment.
	g.size = spare
	for len(l.waiting) > 0 && spare > 0 && !now.reached(g.end) {
		w := l.waiting[0]
		if w.state == waits {
			n := w.want().Serve(spare)
			if n == 0 {
				break
			}
			spare -= n
			w.answer(Answer[S]{Taken: Taken[S]{g, n, spare, now}, Local: true})
		}
		l.waiting = l.waiting[1:]
	}
	if spare > 0 {
		t.install(l, g, spare, now)
	} else if back := g.close(); back > 0 { // a request has put units back already
		t.agenda.giveBack(Return[K, S]{Key: l.key, State: g.State, Units: back})
		t.arm(now)
	}
}

func (r *Reply[S]) wait(least int64) (time.Duration, bool) {
	for _, w := range r.Waits {
		if w.Least == least {
			return w.For, true
		}
	}
	return 0, false
}

// install makes units available until the lease ends.
func (t *Table[K, S]) install(l *lease[K, S], g *Generation[S], units int64, now Moment) {
	g.left.Add(units) // units may have been put back already
	g.low, g.renew = g.size/4, g.end
	if g.size >= 4 {
		g.renew = g.sent.add(l.terms.Length * 3 / 4)
	}
	g.renewing.Store(g.size < 4)
	current := l.current.Load()
	switch {
	case t.closed.Load() || now.reached(g.end):
		t.retire(l, g, now)
		return
	case current == nil || now.reached(current.end) || current.left.Load() == 0:
		if current != nil {
			t.retire(l, current, now)
		}
		g.began = now
		l.current.Store(g)
	default:
		l.next.Store(g)
	}
	t.agenda.add(l, g.end.Mono)
	t.arm(now)
}

// advance ends leases whose time is over. It moves to the next lease if the current lease
// has fewer units than are needed. The caller holds the lease's lock.
func (t *Table[K, S]) advance(l *lease[K, S], now Moment, least int64) {
	next := l.next.Load()
	if next != nil && now.reached(next.end) {
		t.retire(l, next, now)
		l.next.Store(nil)
		next = nil
	}
	g := l.current.Load()
	if g != nil {
		if !now.reached(g.end) && (next == nil || g.left.Load() >= least) {
			return
		}
		t.retire(l, g, now)
	}
	if next != nil {
		next.began = now
	}
	l.current.Store(next) // not nil in between: Take relies on it
	l.next.Store(nil)
}

// retire closes a lease, and queues its remaining units for return.
func (t *Table[K, S]) retire(l *lease[K, S], g *Generation[S], now Moment) {
	left := g.close()
	if now.reached(g.end) {
		l.size.shrink(g.size, left)
	}
	// The script ignores a later return.
	if left > 0 && !now.reached(g.end.add(l.terms.Length)) {
		t.agenda.giveBack(Return[K, S]{Key: l.key, State: g.State, Units: left})
		t.arm(now)
	}
}
