package redisstream

import (
	"errors"
	"fmt"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

const (
	// firstConnection is how long requests wait for the first connection of a
	// process. Later a server without a connection is one that does not answer.
	firstConnection = time.Second

	// maxBuilding bounds the connections that are built at once.
	maxBuilding = 2

	// restless is how long connections may rest before they are tried with a
	// command that counts nothing: a NAT or a load balancer may have dropped them.
	restless = 15 * time.Second

	// rebuild is how much time lies between attempts to connect at least.
	rebuild = 10 * time.Millisecond
)

// lost notes that a connection has broken.
func (v *server) lost() { v.ready = max(0, v.ready-1) }

// rested has connections that nobody has used for long tried before they are
// used again.
func (v *server) rested() {
	if v.inFlight == 0 && v.ready > 0 && time.Since(v.finishedAt) > restless {
		v.ready = 0
	}
}

// unconnected returns why requests do not wait for a connection: the last attempt has
// failed, or the first attempt takes too long.
func (v *server) unconnected(now time.Time) error {
	if v.wanted.IsZero() {
		v.wanted = now
	}
	switch {
	case v.failed != nil:
		return fmt.Errorf("%w: %w", errNoConnection, v.failed)
	case !v.met && now.Sub(v.wanted) >= v.batcher.first+v.batcher.starvation.excuse():
		return errNoConnection
	}
	return nil
}

// connectionWait returns how long a call waits for a connection to a server that had one:
// the timeout, and longer in a starved process.
func (b *batcher) connectionWait() time.Duration {
	return b.transport.timeout + b.starvation.excuse()
}

// tooLate returns err, or in a starved process that it is overloaded. After a while
// without an answer that is no excuse.
func (v *server) tooLate(err error) error {
	last := v.answered
	if last.IsZero() {
		last = v.finishedAt // the time from which there is a connection
	}
	if v.silent == nil && v.batcher.starvation.now() && time.Since(last) < 2*v.batcher.first {
		return errWaited
	}
	return err
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
			for t := v.queue.first; t != nil; t = t.links[byArrival].after {
				t.since = v.finishedAt
			}
		}
		v.met, v.failed, v.wanted = true, nil, time.Time{}
		// It may be one that a request has just left.
		v.ready = min(v.ready+1, max(1, v.batcher.connections(c.log)))
		if trip <= v.batcher.transport.timeout {
			v.trip = trip
		}
	case v.batcher.exhausted(c.log), errors.Is(err, store.ErrClosed):
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
