package redisstream

import (
	"fmt"
	"sync"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

const (
	// steadyInFlight is how many requests may be in flight at any time. More begin only
	// while answers are slow, since a larger batch costs the server less.
	steadyInFlight = 2

	// maxInFlight bounds the requests in flight to a server, and so the connections.
	maxInFlight = 32

	// slowAnswer is how old the newest request must be before a third one begins.
	slowAnswer = 5 * time.Millisecond

	// tick is how often those who wait are looked at while there are any.
	tick = 5 * time.Millisecond

	// telling is how many requests must be answered before their average counts.
	telling = 16
)

// server is one Redis server as this process sees it: who waits for it, what is
// under way, and which connections are good.
type server struct {
	batcher *batcher

	mu       sync.Mutex
	queue    queue
	number   uint64 // of the last waiter
	round    uint64 // of the last batch
	inFlight int
	newest   *batch    // of those in flight, or the last that was
	sent     time.Time // when the newest request began

	answers int           // how many requests were answered
	took    time.Duration // a request, on average
	script  time.Duration // the server's part of that, at least
	trip    time.Duration // the network's part, at most; 0 until it is known

	// ready is how many connections are established, as far as this process
	// knows; the client's pool has the last word.
	ready      int
	building   int
	attempts   uint64    // to connect, so far
	fresh      uint64    // attempts before this one say nothing any more
	wanted     time.Time // when a request found no connection; zero once a connection was made
	met        bool      // there was a connection once
	failed     error     // of the last attempt to connect, nil after a success
	retry      time.Time // when the next attempt may begin after one that failed
	finishedAt time.Time // when a request ended last

	answered time.Time // when a decision was answered last
	silent   error     // set while decisions are not answered
	doubted  time.Time // when a command that is not a decision made it silent; or zero
	troubled time.Time // when a decision was last not answered; zero for never

	ticking  bool
	tickAt   time.Time // when the next tick is due
	outcomes []outcome // for the breaker, which hears of them without the lock
}

var (
	errWaited  = fmt.Errorf("%w: no turn within the wait bound", store.ErrOverloaded)
	errCrowd   = fmt.Errorf("%w: too many requests wait for Redis", store.ErrOverloaded)
	errStarved = fmt.Errorf("%w: this process has no time to read the answer", store.ErrOverloaded)
	errPool    = fmt.Errorf("%w: all connections of the client's pool are in use", store.ErrOverloaded)
)

// startAlone reserves a connection for a call that finds the server idle: nobody waits,
// a connection is free, and fewer than most requests are in flight.
func (v *server) startAlone(most int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.rested()
	if v.queue.size > 0 || v.inFlight >= min(v.ready, most) || v.late() || v.batcher.transport.closed.Load() {
		return false
	}
	v.inFlight++
	v.sent = time.Now()
	return true
}

// admit puts a waiter into the queue, or refuses it.
func (v *server) admit(t *waiter) error {
	v.rested()
	now := time.Now()
	if v.ready == 0 && v.inFlight == 0 {
		if v.failed != nil && v.building < maxBuilding && !now.Before(v.retry) {
			v.failed, v.fresh = nil, v.attempts+1 // somebody has to wait for the next attempt
			v.build(&t.charges[0])
		}
		if err := v.unconnected(now); err != nil {
			v.report(&t.charges[0], err)
			return fmt.Errorf("redisstream: %w", err)
		}
	} else if v.inFlight >= v.ready && v.crowded(t) {
		return fmt.Errorf("redisstream: %w", errCrowd)
	}
	v.number++
	t.number, t.state = v.number, waiting
	if t.since.IsZero() {
		t.since = now
		v.queue.push(t)
	} else {
		v.queue.putBack(t) // it has already waited for a connection
	}
	v.pump()
	if v.queue.size > 0 && !v.ticking {
		v.ticking = true
		v.tickAt = now.Add(tick)
		time.AfterFunc(tick, v.tick)
	}
	return nil
}

// crowded reports whether a waiter would wait for longer than the bound, by the
// batches that are needed for those before it and the time that one takes. The first
// requests of a process say little about that.
func (v *server) crowded(t *waiter) bool {
	if v.queue.size == 0 || v.answers < telling {
		return false
	}
	needed := (v.queue.size-v.queue.apart)/maxTogether + v.queue.apart
	if t.place != "" {
		needed = max(needed, len(v.queue.lines)) // each place needs a batch of its own
	}
	parallel := max(1, v.inFlight)
	if time.Duration(needed+1)*v.took/time.Duration(parallel) > v.batcher.bound {
		return true
	}
	// One log takes at most a quarter of the queue while others wait.
	l := v.queue.lines[t.charges[0].log]
	room := maxTogether * parallel * int(v.batcher.bound/max(v.took, time.Microsecond))
	return l != nil && len(v.queue.lines) > 1 && l.size >= max(maxTogether, room/4)
}

// pump begins the batches that may begin. The lock is held.
func (v *server) pump() {
	for {
		if !v.free() {
			return
		}
		v.inFlight++
		batch := v.newBatch(v.nextWaiters())
		go v.runBatches(batch)
	}
}

// next begins the next batch in the goroutine of one that has ended, or
// returns nil. The lock is held.
func (v *server) next() *batch {
	if !v.free() {
		return nil
	}
	v.inFlight++
	return v.newBatch(v.nextWaiters())
}

func (v *server) nextWaiters() []*waiter {
	v.round++
	return v.queue.take(v.round, make([]*waiter, 0, min(v.queue.size, maxTogether)))
}

// free reports whether a batch of those who wait may begin, and has a
// connection built if that is what is missing.
func (v *server) free() bool {
	if v.queue.size == 0 || v.inFlight >= maxInFlight {
		return false
	}
	if !v.another() {
		return false
	}
	if v.inFlight < v.ready {
		return true
	}
	v.build(&v.queue.first.charges[0])
	return false
}

// another reports whether one more request does any good.
func (v *server) another() bool {
	if v.late() {
		return false
	}
	next := v.queue.turn
	if v.inFlight < steadyInFlight || next.place != "" || next.first.apartFromOthers() {
		return true // also to another place, or with a script that nothing else can share
	}
	return v.trip >= slowAnswer && time.Since(v.sent) >= slowAnswer
}

// late reports whether the answer to one more request would come too late, as far as
// is known: a server runs one script after the other. Before the first answer nothing
// is known, and one request has to do. A script takes at least as long as the newest
// request has waited by now, unless this process is what is slow.
func (v *server) late() bool {
	switch {
	case v.inFlight == 0:
		return false
	case v.answers == 0:
		return true
	}
	script := v.script
	if !v.batcher.starvation.now() {
		script = max(script, time.Since(v.sent)-v.trip)
	}
	return v.trip+time.Duration(v.inFlight+1)*script > v.batcher.transport.timeout*9/10
}

// tick looks at those who wait, as long as there are any.
func (v *server) tick() {
	v.mu.Lock()
	now := time.Now()
	v.batcher.starvation.note(now.Sub(v.tickAt))
	v.expire()
	v.pump()
	v.ticking = v.queue.size > 0
	if v.ticking {
		v.tickAt = now.Add(tick)
		time.AfterFunc(tick, v.tick)
	}
	v.unlock()
}

// expire refuses those who have waited for as long as they may: for the bound,
// or for the timeout while the server does not answer.
func (v *server) expire() {
	now := time.Now()
	reported := false
	for t := v.queue.first; t != nil; t = v.queue.first {
		waited := now.Sub(t.since)
		var err error
		switch {
		case v.ready == 0 && v.inFlight == 0:
			if err = v.unconnected(now); err == nil && v.met && waited >= v.batcher.connectionWait() {
				err = errNoConnection
			}
		case v.silent != nil:
			if min(waited, now.Sub(v.doubted)) >= v.batcher.transport.timeout {
				err = v.silent
			}
		case waited < v.batcher.waitBound():
		case v.inFlight > 0 && !v.answered.After(t.since) && waited < v.batcher.transport.timeout:
			// Nobody was answered meanwhile: it may be the server, which has its time.
		case v.batcher.exhausted(t.charges[0].log):
			err = errPool
		case !v.answered.After(t.since) && v.newest != nil && !v.newest.wasSent():
			err = v.tooLate(errNoConnection) // a connection that was believed to be there is built
		default:
			err = errWaited
		}
		if err == nil {
			return
		}
		if !reported {
			reported = true
			v.report(&t.charges[0], err)
		}
		v.queue.remove(t)
		t.claim()
		t.answer(err)
	}
}
