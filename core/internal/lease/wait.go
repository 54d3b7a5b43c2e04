package lease

import (
	"context"
	"time"
)

// Waiter is a request that waits for units. Answer is called once, unless the request
// leaves first. Answer must not block.
type Waiter[K comparable, S any] struct {
	Least, Most int64
	Answer      func(Answer[S])

	lease *lease[K, S]
	state waiterState // the lease's lock guards it
}

type waiterState byte

const (
	waits waiterState = iota
	gone
	answered
)

// Answer is the result for a waiter. A denial has no units.
type Answer[S any] struct {
	Taken[S]
	Local      bool          // this process decided now, and not the server
	RetryAfter time.Duration // of a denial
	Err        error         // of the call
}

func (w *Waiter[K, S]) want() Want { return Want{Count: 1, Least: w.Least, Most: w.Most} }

func (w *Waiter[K, S]) answer(a Answer[S]) {
	if w.state == waits {
		w.state = answered
		w.Answer(a)
	}
}

// Join queues a request on the key's lease. Join answers at once if the lease has units.
// Otherwise the call in flight or the next call answers.
func (t *Table[K, S]) Join(k K, terms Terms, w *Waiter[K, S]) {
	var c *Call[K, S]
	for {
		l := t.of(k, terms)
		l.mu.Lock()
		if l.gone.Load() {
			l.mu.Unlock()
			continue
		}
		c = t.join(l, w)
		l.mu.Unlock()
		break
	}
	if c != nil {
		t.Ask(c)
	}
}

// join returns a call to send, or nil.
func (t *Table[K, S]) join(l *lease[K, S], w *Waiter[K, S]) *Call[K, S] {
	now := t.Now()
	w.lease = l
	if got, c := t.takeHere(l, now, w.Least, w.Most); got.Units > 0 {
		w.answer(Answer[S]{Taken: got, Local: true})
		return c
	}
	l.waiting = append(l.waiting, w)
	if l.call != nil {
		return nil
	}
	return t.startCall(l, now)
}

// Leave ends the wait of a request. It returns true if the request gets no answer. Units
// that arrive for the request then serve others.
func (t *Table[K, S]) Leave(w *Waiter[K, S]) bool {
	l := w.lease
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.state == answered {
		return false
	}
	w.state = gone
	return true
}

// Begun is a request whose units were asked for. Wait or Leave must be called.
type Begun[K comparable, S any] struct {
	table  *Table[K, S]
	waiter Waiter[K, S]
	answer chan Answer[S]
}

// Begin asks for units, so that a request can ask for the units of several keys before it
// waits for any.
func (t *Table[K, S]) Begin(k K, terms Terms, least, most int64) *Begun[K, S] {
	b := &Begun[K, S]{table: t, answer: make(chan Answer[S], 1)}
	b.waiter = Waiter[K, S]{Least: least, Most: most, Answer: func(a Answer[S]) { b.answer <- a }}
	t.Join(k, terms, &b.waiter)
	return b
}

// Wait returns the answer, or an error when the context ends first. A denial is an answer
// without units.
func (b *Begun[K, S]) Wait(ctx context.Context) (Answer[S], error) {
	select {
	case a := <-b.answer:
		return a, a.Err
	case <-ctx.Done():
	}
	if a, ok := b.Leave(); ok {
		return a, a.Err
	}
	return Answer[S]{}, ctx.Err()
}

// Leave ends the wait, and returns the answer if there is one.
func (b *Begun[K, S]) Leave() (a Answer[S], ok bool) {
	if b.table.Leave(&b.waiter) {
		return a, false
	}
	return <-b.answer, true
}
