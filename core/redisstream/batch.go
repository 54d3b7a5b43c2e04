package redisstream

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"
)

// slack is how much later than the timeout a caller's deadline must be for the
// caller to send its call itself.
const slack = 50 * time.Millisecond

// alone reports whether a caller may send its call in its own goroutine, which
// saves the way to another one and back. It must not leave before the answer, and
// have the time to read it.
func (b *batcher) alone(ctx context.Context) bool {
	if !b.transport.keepsDeadlines || b.starvation.now() || ctx.Err() != nil {
		return false
	}
	at, ok := ctx.Deadline()
	return !ok || time.Until(at) >= b.transport.timeout+slack
}

// atOnce sends a call in the caller's goroutine if it need not wait and fewer than most
// requests are in flight. Otherwise it is not done, and may wait for its turn: since is
// when it began to wait for a connection, or zero.
func (v *server) atOnce(ctx context.Context, c *charge, most int, sc *script, call func() []any) (reply []int64, since time.Time, done bool, err error) {
	b := v.batcher
	if !b.alone(ctx) || !v.startAlone(most) {
		return nil, time.Time{}, false, nil
	}
	timeout := b.transport.timeout
	batch := batch{begun: time.Now()}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	batch.Context, batch.unsent, batch.listen = limited, batch.begun.Add(timeout), timeout
	reply, err = b.transport.send(&batch.request, sc, call())
	over := time.Since(batch.begun) - timeout
	if b.starvation.note(over) && over >= lateCaller && late(err) && batch.wasSent() {
		err = errStarved // the reply may have arrived, and the client can't look again
	}
	v.mu.Lock()
	v.finish(&batch, c, err)
	v.pump()
	v.unlock()
	if !batch.wasSent() && errors.Is(err, errNoConnection) {
		return nil, batch.begun, false, nil
	}
	return reply, time.Time{}, true, prefixed(err)
}

// batch is a request with the waiters that it serves.
type batch struct {
	request
	waiters  []*waiter
	number   uint64    // waiters up to this one had begun to wait when it began
	oldest   time.Time // when the first of the waiters began to wait
	begun    time.Time
	timer    atomic.Pointer[time.Timer] // ends the wait for the answer
	returned atomic.Bool                // the transport has returned

	// The server's lock guards these.
	over     bool // the waiters were answered
	timedOut bool // by timeOut, which has noted why
	excused  bool // the process was starved when the time was over
}

// newBatch begins a batch. The server's lock is held.
func (v *server) newBatch(waiters []*waiter) *batch {
	v.sent = time.Now()
	batch := &batch{waiters: waiters, number: v.number, begun: v.sent, oldest: v.sent}
	for _, t := range waiters {
		t.state = underway
		if t.since.Before(batch.oldest) {
			batch.oldest = t.since
		}
	}
	v.newest = batch
	batch.Context, batch.listen = context.Background(), v.batcher.transport.timeout+listenLonger
	return batch
}

// unsentUntil returns until when a batch may wait to be sent. The client may find its
// connections dead, and make another.
func (v *server) unsentUntil(b *batch) time.Time {
	wait := v.batcher.connectionWait()
	until := b.oldest.Add(wait)
	if soonest := b.begun.Add(wait / 2); soonest.After(until) {
		return soonest
	}
	return until
}

// runBatches sends a batch and those that follow it.
func (v *server) runBatches(batch *batch) {
	for batch != nil {
		current := batch
		timer := time.AfterFunc(time.Hour, func() { v.timeOut(current) })
		batch.timer.Store(timer) // before it can fire
		timer.Reset(min(v.batcher.transport.timeout, time.Until(v.unsentUntil(batch))))
		results, err := v.sendBatch(batch)
		batch.returned.Store(true)
		timer.Stop()
		v.mu.Lock()
		inTime := !batch.over
		batch.over = true
		if _, sent := batch.sentAt(); inTime && !sent && err != nil && v.ready > 1 {
			// A dead connection fails nobody while there are others.
			inTime, batch.timedOut = false, true
			for _, t := range slices.Backward(batch.waiters) {
				if t.state == underway {
					t.state = waiting
					v.queue.putBack(t)
				}
			}
		}
		if inTime {
			for i := range results {
				if results[i].err == errUnexplained { //nolint:errorlint // it is set as it is
					go v.explain(results[i])
					results[i] = result{}
				}
				for _, t := range results[i].group {
					t.claim()
				}
			}
			v.share(results, batch.number)
		}
		v.finish(batch, &batch.waiters[0].charges[0], err)
		v.unlock()
		if inTime {
			for i := range results {
				results[i].deliver()
			}
		}
		// Some of those who have their answer ask again already.
		v.mu.Lock()
		batch = v.next()
		v.unlock()
	}
}

// due returns when the time of a batch ends, as far as this process knows.
func (v *server) due(batch *batch) time.Time {
	if at, sent := batch.sentAt(); sent {
		return at.Add(v.batcher.transport.timeout)
	}
	due := v.unsentUntil(batch)
	if last := batch.begun.Add(v.batcher.transport.timeout); v.isSilent() && last.Before(due) {
		return last
	}
	return due
}

// timeOut is called when a batch has taken the timeout. It ends the wait for the batch
// unless that was sent later than it began.
func (v *server) timeOut(batch *batch) {
	b, timeout := v.batcher, v.batcher.transport.timeout
	due := v.due(batch)
	if left := time.Until(due); left > 0 {
		if !batch.wasSent() {
			left = min(left, tick) // the server may be found silent meanwhile
		}
		batch.timer.Load().Reset(left)
		return
	}
	seen, starved := b.starvation.lastLook(due, due.Add(longestLook), batch.returned.Load)
	if seen {
		return
	}
	if left := time.Until(v.due(batch)); left > 0 { // it was sent just now, or has more time in a starved process
		batch.timer.Load().Reset(left)
		return
	}
	if !batch.wasSent() && !batch.callOff() { // it was sent just now
		batch.timer.Load().Reset(timeout)
		return
	}
	v.mu.Lock()
	if batch.returned.Load() {
		v.unlock()
		return
	}
	c := &batch.waiters[0].charges[0]
	at, sent := batch.sentAt()
	var err error
	switch {
	case starved:
		// The server is not to blame, unless there is still no answer later.
		err = errStarved
		batch.excused = true
		batch.timer.Load().Reset(timeout)
	case sent:
		err = b.transport.noAnswer()
		batch.excused = false
		v.failedToAnswer(c, at, err)
	case b.exhausted(c.log):
		err = errPool
	default:
		err = errNoConnection
		v.failedToAnswer(c, batch.begun, err)
	}
	late := batch.over
	batch.over, batch.timedOut = true, true
	for _, t := range batch.waiters {
		if !late {
			t.claim()
		}
	}
	v.unlock()
	for _, t := range batch.waiters {
		if !late {
			t.answer(err)
		}
	}
}
