package lease

import (
	"container/heap"
	"sync"
	"time"
)

// sweepPause is the longest time that the sweep waits for more leases to end, so that
// the units of many go back in one call.
const sweepPause = 5 * time.Millisecond

// agenda has the times at which the sweep must check each lease, and the units that the
// next sweep returns.
type agenda[K comparable, S any] struct {
	mu      sync.Mutex
	leases  dueHeap[K, S]
	returns []Return[K, S]
	round   uint64        // of the next sweep; the timers of earlier rounds do nothing
	armed   bool          // the next sweep has a timer
	at      time.Duration // when the next sweep is, if it is armed
	last    time.Duration // when the last one was
	pause   time.Duration
}

// add makes the sweep check a lease at a time, or earlier.
func (a *agenda[K, S]) add(l *lease[K, S], at time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pause = min(a.pause, l.terms.Length/4)
	switch {
	case l.place < 0:
		l.due = at
		heap.Push(&a.leases, l)
	case at < l.due:
		l.due = at
		heap.Fix(&a.leases, l.place)
	}
}

// remove removes a lease from the agenda.
func (a *agenda[K, S]) remove(l *lease[K, S]) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.place >= 0 {
		heap.Remove(&a.leases, l.place)
	}
}

func (a *agenda[K, S]) giveBack(r Return[K, S]) {
	a.mu.Lock()
	a.returns = append(a.returns, r)
	a.mu.Unlock()
}

// pop returns a lease that is due, and nil when there is none.
func (a *agenda[K, S]) pop(now time.Duration) *lease[K, S] {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.leases) == 0 || a.leases[0].due > now {
		return nil
	}
	return heap.Pop(&a.leases).(*lease[K, S])
}

// arm schedules the next sweep in time.
func (t *Table[K, S]) arm(now Moment) {
	a := &t.agenda
	a.mu.Lock()
	if t.closed.Load() || len(a.leases) == 0 && len(a.returns) == 0 {
		a.mu.Unlock()
		return
	}
	at := a.last + a.pause
	if len(a.returns) == 0 {
		at = max(at, a.leases[0].due)
	}
	at = max(at, now.Mono)
	if a.armed && a.at <= at {
		a.mu.Unlock()
		return
	}
	a.armed, a.at = true, at
	a.round++
	round := a.round
	a.mu.Unlock()
	t.After(at-now.Mono, func() { t.sweep(round) })
}

// sweep ends the leases whose time is over, removes idle keys, and returns units that
// were left.
func (t *Table[K, S]) sweep(round uint64) {
	now := t.Now()
	a := &t.agenda
	a.mu.Lock()
	if round != a.round {
		a.mu.Unlock()
		return // an earlier sweep was scheduled meanwhile
	}
	a.armed, a.last = false, now.Mono
	a.mu.Unlock()
	for l := a.pop(now.Mono); l != nil; l = a.pop(now.Mono) {
		l.mu.Lock()
		t.advance(l, now, 0)
		at, idle := l.look(now)
		gone := l.gone.Load()
		if idle {
			t.forget(l)
		}
		l.mu.Unlock()
		if !idle && !gone {
			a.add(l, at)
		}
	}
	t.flush()
	t.arm(now)
}

func (t *Table[K, S]) flush() {
	a := &t.agenda
	a.mu.Lock()
	returns := a.returns
	a.returns = nil
	a.mu.Unlock()
	if len(returns) > 0 {
		t.Return(returns)
	}
}

// look returns when the sweep must check the lease again. It reports whether the key was
// idle for the length of a lease. The caller holds the lease's lock.
func (l *lease[K, S]) look(now Moment) (at time.Duration, idle bool) {
	at = l.sent.Mono + 2*l.terms.Length
	if g := l.current.Load(); g != nil {
		return g.end.Mono, false
	}
	if at <= now.Mono {
		if l.idle() {
			return 0, true
		}
		at = now.Mono + l.terms.Length
	}
	return at, false
}

// idle reports whether the lease has no units and no request waits for it.
func (l *lease[K, S]) idle() bool {
	return l.current.Load() == nil && l.next.Load() == nil && l.call == nil && len(l.waiting) == 0
}

// dueHeap orders leases by when the sweep has to look at them.
type dueHeap[K comparable, S any] []*lease[K, S]

func (h dueHeap[K, S]) Len() int           { return len(h) }
func (h dueHeap[K, S]) Less(i, j int) bool { return h[i].due < h[j].due }
func (h dueHeap[K, S]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push implements [heap.Interface].
func (h *dueHeap[K, S]) Push(x any) {
	l := x.(*lease[K, S])
	l.place = len(*h)
	*h = append(*h, l)
}

// Pop implements [heap.Interface].
func (h *dueHeap[K, S]) Pop() any {
	last := len(*h) - 1
	l := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	l.place = -1
	return l
}
