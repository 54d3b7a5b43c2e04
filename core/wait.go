package core

import (
	"container/list"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

// Wait waits until a request of cost 1 is admitted, and counts it. It is [Limiter.WaitN]
// with a cost of 1.
func (l *Limiter) Wait(ctx context.Context, p *Policy, key string) error {
	return l.WaitN(ctx, p, key, 1)
}

// WaitN waits until a request that takes cost units is admitted, and counts it. It returns
// nil when the request is admitted. It is for workers and clients: a server denies
// requests, see [Limiter.AllowN].
//
// WaitN reserves nothing. When the request is denied, WaitN sleeps for the denial's
// RetryAfter and a random time, and asks again. So nothing is lost if a caller leaves.
// Order is not promised, least of all between processes. Requests are not spread over the
// window: for that, use a limit such as Per(1, 100*time.Millisecond). WaitN sleeps by real
// time, whatever the store's clock says. Observers, such as the monitor,
// see each time that WaitN asks as a request, denied or allowed.
//
// Calls for one policy name and key stand in line in each process. While there is no room,
// only the first in line asks. So 1,000 waiting calls make at most about two decisions for
// each admitted request. They make one if every cost is 1 and no other process asks. A
// small cost waits behind a large one, so a large cost is not starved. Changed rules and
// returned units have an effect when the first in line asks again.
//
// WaitN fails at once in these cases:
//
//   - The context's deadline is earlier than the time at which the request would fit. The
//     error wraps [context.DeadlineExceeded] and the [*LimitedError]. The denial in it may
//     be that of the first call in line. The number of calls ahead is not considered,
//     since they can leave.
//   - The client is blocked or banned. The error is the *LimitedError.
//   - The arguments are wrong, so that the error is [ErrCost] or [ErrNoKey], for example.
//     Or the limiter is closed.
//   - The store does not answer, and the failure mode is [FailClosed]. With [FailOpen],
//     WaitN returns nil. With [FailLocal], it waits for the limits in this process's
//     memory.
//   - This process is overloaded, and the failure mode is not [FailOpen]: see
//     [ErrOverloaded].
//
// If the context ends during the wait, the error wraps the context's. Without a deadline,
// WaitN waits as long as it takes: up to a day for a limit per day.
func (l *Limiter) WaitN(ctx context.Context, p *Policy, key string, cost int64) error {
	v := l.view.Load()
	if cost == 0 {
		cost = noUnits
	}
	a := Charge{Policy: p, Key: key, Cost: cost}
	if err := l.prepare(v, &a); err != nil {
		return err
	}
	if _, ok := v.answer(a, netip.Prefix{}); ok { // by a rule, for which nobody waits in line
		if d, err := l.AllowN(ctx, p, key, cost); err != nil || d.final() {
			return errorOf(d, err)
		}
	}
	w := l.lines.join(ctx, lineKey{p.name, a.Key}, a.Cost)
	defer w.leave() // also when an observer panics
	for {
		if err := w.await(ctx); err != nil {
			return policyError(a.Policy, err)
		}
		d, err := l.AllowN(ctx, p, key, cost)
		if err != nil || d.final() {
			if err == nil && d.Allowed {
				w.admitted = &d
			}
			return errorOf(d, err)
		}
		w.deny(d)
	}
}

func errorOf(d Decision, err error) error {
	if err != nil {
		return err
	}
	return d.Err()
}

// final reports whether waiting can't change the decision.
func (d *Decision) final() bool { return d.Allowed || d.Reason != ReasonLimits }

// maxTurns bounds the calls in one line that ask at once.
const maxTurns = 64

// The random part of a sleep is up to spread. The spread doubles when a call asks in vain
// after a sleep, since other processes were faster, and shrinks when a call is admitted.
// In TestWaitCosts, eight processes then ask 1.2 to 1.9 times for each admitted request.
const (
	minSpread = 5 * time.Millisecond
	maxSpread = 10 * time.Second

	spreadShare = 8 // the spread is at most the window divided by this
)

// lines are the calls of WaitN in progress. A line is deleted with its last call.
type lines struct {
	mu     sync.Mutex
	open   map[lineKey]*line
	closed chan struct{}
}

type lineKey struct{ policy, key string }

func newLines() *lines {
	return &lines{open: make(map[lineKey]*line), closed: make(chan struct{})}
}

// close ends all waits, and those that begin later.
func (ls *lines) close() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	select {
	case <-ls.closed:
	default:
		close(ls.closed)
	}
}

// line has the calls on one key. After a denial, one call sleeps and then asks. After that,
// as many calls ask at once as were admitted since the denial. So at most one more than half
// of a round's decisions are denials.
type line struct {
	queue list.List // of the *waiter without a turn
	turns int64     // calls with a turn: they sleep or ask
	width int64     // the most turns at once
	run   int64     // requests admitted since the last denial

	denials int // how many
	denial  Decision
	ready   time.Time // when the denied request would fit; the zero Time if that is not known
	at      time.Time // when the next call asks: a random time after ready
	spread  time.Duration
}

// waiter is one call. Its fields are guarded by the mutex of lines, except as noted.
type waiter struct {
	lines    *lines
	line     *line
	key      lineKey
	cost     int64
	deadline time.Time // the zero Time for none

	place   *list.Element // in the queue; nil for a call that is not in it
	turn    bool
	denials int           // of the line, when the turn began
	called  chan struct{} // has a value when the fields below are set

	at    time.Time // when to ask; the zero Time for at once
	unmet error     // the deadline can't be met

	admitted *Decision // the result if it is admitted, written by the call
}

// join puts a call at the end of its line.
func (ls *lines) join(ctx context.Context, key lineKey, cost int64) *waiter {
	w := &waiter{lines: ls, key: key, cost: cost, called: make(chan struct{}, 1)}
	w.deadline, _ = ctx.Deadline()
	ls.mu.Lock()
	defer ls.mu.Unlock()
	w.line = ls.open[key]
	if w.line == nil {
		w.line = &line{width: 1}
		ls.open[key] = w.line
	}
	w.place = w.line.queue.PushBack(w)
	w.line.expire(w)
	w.line.advance()
	return w
}

// await returns nil when it is the call's turn to ask.
func (w *waiter) await(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-w.lines.closed:
		return store.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	case <-w.called:
	}
	if w.unmet != nil || w.at.IsZero() {
		return w.unmet
	}
	timer := time.NewTimer(time.Until(w.at))
	defer timer.Stop()
	select {
	case <-w.lines.closed:
		return store.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// deny puts the call back to the front of its line, since it was denied.
func (w *waiter) deny(d Decision) {
	w.lines.mu.Lock()
	defer w.lines.mu.Unlock()
	n := w.line
	if !w.at.IsZero() {
		n.spread *= 2
	}
	w.turn = false
	n.turns--
	w.place = n.queue.PushFront(w)
	n.denied(d)
	n.advance()
}

// denied makes the next call wait for as long as a denial says. The calls whose deadline
// can't be met leave the queue.
func (n *line) denied(d Decision) {
	n.spread = max(minSpread, min(n.spread, maxSpread, d.Limit.Window/spreadShare))
	n.run, n.width, n.denial = 0, 1, d
	n.denials++
	n.ready = time.Now().Add(max(d.RetryAfter, time.Millisecond))
	jitter := rand.N(n.spread)
	for e := n.queue.Front(); e != nil; {
		next := e.Next() // expire removes e
		if o := e.Value.(*waiter); !n.expire(o) && o.deadline.After(n.ready) {
			jitter = min(jitter, o.deadline.Sub(n.ready)/2)
		}
		e = next
	}
	n.at = n.ready.Add(jitter)
}

// expire calls a waiter out of the queue if its deadline is too early for the last denial,
// which says nothing about a smaller cost.
func (n *line) expire(w *waiter) bool {
	if w.deadline.IsZero() || n.ready.Before(w.deadline) || w.cost < n.denial.Cost {
		return false
	}
	d := n.denial
	d.RetryAfter = time.Until(n.ready)
	w.unmet = fmt.Errorf("wait: %w: %w", context.DeadlineExceeded, &LimitedError{Decision: d})
	n.queue.Remove(w.place)
	w.place = nil
	w.called <- struct{}{}
	return true
}

// advance gives turns to the calls at the front of the queue.
func (n *line) advance() {
	for n.turns < n.width && n.queue.Len() > 0 {
		w := n.queue.Remove(n.queue.Front()).(*waiter)
		w.place, w.turn, w.denials, w.at = nil, true, n.denials, n.at
		if w.cost < n.denial.Cost {
			w.at = time.Time{} // the call that was denied has left
		}
		n.turns++
		w.called <- struct{}{}
	}
}

// leave takes the call out of its line, and gives its turn to the next one.
func (w *waiter) leave() {
	w.lines.mu.Lock()
	defer w.lines.mu.Unlock()
	n := w.line
	if w.place != nil {
		n.queue.Remove(w.place)
	}
	if w.turn {
		n.turns--
	}
	if w.admitted != nil && w.denials == n.denials {
		n.admitted(w)
	}
	n.advance()
	if n.turns == 0 && n.queue.Len() == 0 {
		delete(w.lines.open, w.key)
	}
}

// admitted makes the line ask for more, or wait until units come free if none are left.
func (n *line) admitted(w *waiter) {
	if !w.at.IsZero() {
		n.spread -= n.spread / 4
	}
	d := w.admitted
	var full time.Duration
	for _, s := range d.States() {
		if s.Remaining == 0 && d.Counted {
			full = max(full, s.Reset)
		}
	}
	if full > 0 {
		denial := *d
		denial.Cost, denial.Allowed, denial.Counted, denial.RetryAfter, denial.receipt = 1, false, false, full, nil
		n.denied(denial)
		return
	}
	n.run++
	n.width = max(1, min(n.run, d.Remaining, maxTurns))
	n.ready, n.at = time.Time{}, time.Time{}
}
