package redisstream

import (
	"context"
	"errors"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

// finish notes what a request that has ended says about the server.
func (v *server) finish(batch *batch, c *charge, err error) {
	v.inFlight--
	now := time.Now()
	v.finishedAt = now
	at, sent := batch.sentAt()
	if c.policy != nil && (err == nil || sent && answered(err)) {
		v.measure(now.Sub(batch.begun), now.Sub(at))
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
	case errors.Is(err, store.ErrClosed):
	case !sent && errors.Is(err, context.Canceled): // by a caller who waited for a connection
	case sent && answered(err):
		if errors.Is(err, store.ErrRejected) || errors.Is(err, store.ErrWrongType) {
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
func (v *server) measure(took, trip time.Duration) {
	if v.answers++; v.answers == 1 {
		v.took = took
	}
	v.took += (took - v.took) / 8
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

// failedToAnswer notes that a decision which was sent at a time has no answer, or
// had no connection from then on. If none was answered since, those who wait do so
// in vain, and who comes waits for no longer than the timeout until one is.
func (v *server) failedToAnswer(c *charge, at time.Time, err error) {
	v.script = v.batcher.transport.timeout // perhaps it had others to answer first
	v.report(c, err)
	if v.answered.After(at) {
		return
	}
	v.silent, v.doubted = err, time.Time{}
	if c.policy == nil {
		v.doubted = time.Now() // another command says less: those who wait get the timeout
		return
	}
	for t := v.queue.first; t != nil; t = v.queue.first {
		v.queue.remove(t)
		t.claim()
		t.answer(err)
	}
}

// report notes an outcome for the breaker. The lock is held.
func (v *server) report(c *charge, err error) {
	switch now := time.Now(); {
	case c.policy == nil, errors.Is(err, store.ErrOverloaded):
		return // it says nothing about decisions, or about the server
	case err != nil:
		v.troubled = now
	case now.Sub(v.troubled) > time.Second:
		v.troubled = time.Time{}
	}
	v.outcomes = append(v.outcomes, outcome{store.Charge{Log: c.policy, Key: c.key, Cost: c.cost}, err})
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
