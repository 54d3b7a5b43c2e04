package redisstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/streamlimit/streamlimit/core"
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

	// firstConnection is how long requests wait for the first connection of a
	// process. Later a server without a connection is one that does not answer.
	firstConnection = time.Second

	// maxBuilding bounds the connections that are built at once.
	maxBuilding = 2

	// restless is how long connections may rest before they are tried with a
	// command that counts nothing: a NAT or a load balancer may have dropped them.
	restless = 15 * time.Second

	// telling is how many requests must be answered before their average counts.
	telling = 16

	// rebuild is how much time lies between attempts to connect at least.
	rebuild = 10 * time.Millisecond
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

	answers  int           // how many requests were answered
	perBatch int           // answers in a batch, on average
	took     time.Duration // a request, on average
	script   time.Duration // the server's part of that, at least
	trip     time.Duration // the network's part, at most; 0 until it is known

	// ready is how many connections are established, as far as this process
	// knows; the client's pool has the last word.
	ready      int
	building   int
	attempts   uint64    // to connect, so far
	fresh      uint64    // attempts before this one say nothing any more
	wanted     time.Time // when the first connection was needed first
	met        bool      // there was a connection once
	failed     error     // of the last attempt to connect, nil after a success
	retry      time.Time // when the next attempt may begin after one that failed
	finishedAt time.Time // when a request ended last

	answered time.Time // when a decision was answered last
	silent   error     // set while decisions are not answered
	troubled time.Time // when a decision was last not answered; zero for never

	ticking  bool
	tickAt   time.Time // when the next tick is due
	outcomes []outcome // for the breaker, which hears of them without the lock
}

var (
	errWaited  = fmt.Errorf("%w: no turn within the wait bound", core.ErrOverloaded)
	errCrowd   = fmt.Errorf("%w: too many requests wait for Redis", core.ErrOverloaded)
	errStarved = fmt.Errorf("%w: this process has no time to read the answer", core.ErrOverloaded)
	errPool    = fmt.Errorf("%w: all connections of the client's pool are in use", core.ErrOverloaded)
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

// rested has connections that nobody has used for long tried before they are
// used again.
func (v *server) rested() {
	if v.inFlight == 0 && v.ready > 0 && time.Since(v.finishedAt) > restless {
		v.ready = 0
	}
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
	}
	v.queue.push(t, t.place)
	v.pump()
	if v.queue.size > 0 && !v.ticking {
		v.ticking = true
		v.tickAt = now.Add(tick)
		time.AfterFunc(tick, v.tick)
	}
	return nil
}

// unconnected returns why nobody waits for a connection: the last attempt has
// failed, or the first one takes too long. In a starved process that is no fault
// of the server.
func (v *server) unconnected(now time.Time) error {
	if v.wanted.IsZero() {
		v.wanted = now
	}
	switch {
	case v.failed != nil:
		return fmt.Errorf("%w: %w", errNoConnection, v.failed)
	case !v.met && now.Sub(v.wanted) >= v.batcher.first:
		return v.tooLate(errNoConnection)
	}
	return nil
}

// tooLate returns err, or in a starved process that it is overloaded. After a while
// without an answer that is no excuse.
func (v *server) tooLate(err error) error {
	last := v.answered
	if last.IsZero() {
		last = v.wanted
	}
	if v.silent == nil && v.batcher.starvation.now() && time.Since(last) < 2*v.batcher.first {
		return errWaited
	}
	return err
}

// crowded reports whether a waiter would wait for longer than the bound, by the
// batches that are needed for those before it and the time that one takes. The first
// requests of a process say little about that.
func (v *server) crowded(t *waiter) bool {
	if v.queue.size == 0 || v.answers < telling {
		return false
	}
	perBatch := max(v.perBatch, maxTogether)
	needed := v.queue.size / perBatch
	if t.place != "" {
		needed = len(v.queue.lines) // each place needs a batch of its own
	}
	parallel := max(1, v.inFlight)
	if time.Duration(needed+1)*v.took/time.Duration(parallel) > v.batcher.bound {
		return true
	}
	// One log takes at most a quarter of the queue while others wait.
	l := v.queue.lines[t.charges[0].log]
	room := perBatch * parallel * int(v.batcher.bound/max(v.took, time.Microsecond))
	return l != nil && len(v.queue.lines) > 1 && l.size >= max(perBatch, room/4)
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
// is known, and one request has to do.
func (v *server) late() bool {
	return v.inFlight > 0 && (v.answers == 0 || v.trip+time.Duration(v.inFlight+1)*v.script > v.batcher.transport.timeout*9/10)
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
			if err = v.unconnected(now); err == nil && v.met && waited >= v.batcher.transport.timeout {
				err = v.tooLate(errNoConnection)
			}
		case v.silent != nil:
			if waited >= v.batcher.transport.timeout {
				err = v.silent
			}
		case waited < v.batcher.waitBound():
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

// finish notes what a request that has ended says about the server.
func (v *server) finish(batch *batch, c *charge, err error) {
	v.inFlight--
	now := time.Now()
	v.finishedAt = now
	at, sent := batch.sentAt()
	if decision := c.policy != nil; decision && (err == nil || sent && answered(err)) {
		v.measure(now.Sub(batch.begun), now.Sub(at), batch.answers)
	}
	switch {
	case batch.timedOut && err == nil && c.policy != nil: // too late, and yet an answer
		v.answered, v.silent = now, nil
	case batch.timedOut: // timeOut has noted why
		if err != nil && !answered(err) {
			v.lost()
			if batch.excused && sent {
				v.failedToAnswer(c, at, err)
			}
		}
	case err == nil || c.policy == nil && answered(err):
		if c.policy == nil {
			break // what is no decision says nothing about decisions
		}
		v.answered, v.silent = now, nil
		if !v.troubled.IsZero() {
			v.report(c, nil)
		}
	case errors.Is(err, core.ErrClosed):
	case !sent && errors.Is(err, context.Canceled): // by a caller who waited for a connection
	case sent && answered(err):
		if errors.Is(err, core.ErrRefused) || errors.Is(err, core.ErrNotALog) {
			v.answered, v.silent = now, nil // unlike a server that loads its data
		}
		v.report(c, err)
	case !sent && v.batcher.exhausted(c.log):
	case !sent && errors.Is(err, errNoConnection): // none within the timeout
		v.lost()
	case sent && late(err):
		v.lost()
		v.failedToAnswer(c, at, err)
	default:
		v.lost()
		v.report(c, err)
	}
}

// measure learns from a request that was answered.
func (v *server) measure(took, trip time.Duration, answers int) {
	if v.answers++; v.answers == 1 {
		v.took = took
	}
	v.took += (took - v.took) / 8
	v.perBatch += (answers - v.perBatch) / 8
	if trip > v.batcher.transport.timeout {
		return // this process was starved, or nobody has waited for it
	}
	if v.trip == 0 || trip < v.trip {
		v.trip = trip
	}
	// What a script takes at least counts, since a busy process sees replies late.
	if script := trip - v.trip; v.script == 0 || script < v.script {
		v.script = script
	} else {
		v.script += (script - v.script) / 8
	}
}

// isSilent reports whether the server does not answer decisions.
func (v *server) isSilent() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.silent != nil
}

// lost notes that a connection has broken.
func (v *server) lost() { v.ready = max(0, v.ready-1) }

// failedToAnswer notes that a decision which was sent at a time has no answer, or
// had no connection from then on. If none was answered since, those who wait do so
// in vain, and who comes waits for no longer than the timeout until one is.
func (v *server) failedToAnswer(c *charge, at time.Time, err error) {
	v.script = v.batcher.transport.timeout // perhaps it had others to answer first
	v.report(c, err)
	if v.answered.After(at) {
		return
	}
	v.silent = err
	for t := v.queue.first; t != nil; t = v.queue.first {
		v.queue.remove(t)
		t.claim()
		t.answer(err)
	}
}

// build has a connection established in the background, by a command that counts
// nothing for a log of the server. It takes the time that it needs, and is kept.
func (v *server) build(c *charge) {
	now := time.Now()
	if v.building >= maxBuilding || now.Before(v.retry) || v.ready+v.building >= v.batcher.most(c.log) {
		return
	}
	v.building++
	v.attempts++
	v.retry = now.Add(rebuild)
	go v.connect(*c, v.attempts)
}

// connect makes an attempt to connect.
func (v *server) connect(c charge, attempt uint64) {
	trip, err := v.batcher.transport.connect(c.log)
	v.mu.Lock()
	v.building--
	v.finishedAt = time.Now()
	switch {
	case err == nil:
		if !v.met {
			// The wait for the first connection has a bound of its own.
			for t := v.queue.first; t != nil; t = t.after {
				t.since = v.finishedAt
			}
		}
		v.met, v.failed = true, nil
		// It may be one that a request has just left.
		v.ready = min(v.ready+1, max(1, v.batcher.connections(c.log)))
		if trip <= v.batcher.transport.timeout {
			v.trip = trip
		}
	case v.batcher.exhausted(c.log), errors.Is(err, core.ErrClosed):
	default:
		if attempt >= v.fresh {
			v.failed = err
		}
		v.report(&c, fmt.Errorf("%w: %w", errNoConnection, err))
	}
	v.pump()
	v.expire()
	v.unlock()
}

// report notes an outcome for the breaker. The lock is held.
func (v *server) report(c *charge, err error) {
	switch now := time.Now(); {
	case c.policy == nil, errors.Is(err, core.ErrOverloaded):
		return // it says nothing about decisions, or about the server
	case err != nil:
		v.troubled = now
	case now.Sub(v.troubled) > time.Second:
		v.troubled = time.Time{}
	}
	v.outcomes = append(v.outcomes, outcome{core.Ask{Policy: c.policy, Key: c.key, Cost: c.cost}, err})
}

// unlock releases the lock, and then reports what was noted under it.
func (v *server) unlock() {
	outcomes := v.outcomes
	v.outcomes = nil
	v.mu.Unlock()
	for _, o := range outcomes {
		v.batcher.reports.send(o)
	}
}
