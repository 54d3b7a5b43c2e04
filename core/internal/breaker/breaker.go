// Package breaker decides when a server that does not respond gets no more requests.
package breaker

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// inARow failures in a row open a breaker, if at least spread passes from the first
	// to the last. One broken connection can fail several requests at one moment. That is
	// not an outage.
	inARow = 5
	spread = 10 * time.Millisecond

	// A breaker also opens after at least atLeast outcomes within window, if at least
	// half of them are failures. A server that responds now and then fails so. For this
	// count, failures within moment are one failure.
	atLeast = 20
	window  = time.Second
	moment  = time.Millisecond
)

// Breaker counts the outcomes of requests to one server. The zero Breaker is
// closed. It may be used concurrently.
type Breaker struct {
	open   atomic.Bool
	failed atomic.Bool // there was a failure, so outcomes are counted

	mu       sync.Mutex
	row      int       // failures since the last success
	first    time.Time // the first of these failures
	begun    time.Time // time of the first failure in the window
	last     time.Time // time of the last counted failure
	failures int       // in the window
	outcomes int
}

// Open reports whether the server gets no requests.
func (b *Breaker) Open() bool { return b.open.Load() }

// Failing reports whether there was a failure since the last success.
func (b *Breaker) Failing() bool {
	if !b.failed.Load() {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.row > 0
}

// Fail counts a failure, and reports whether it opens the breaker.
func (b *Breaker) Fail(now time.Time) (opens bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open.Load() {
		return false
	}
	if b.row++; b.row == 1 {
		b.first = now
	}
	if !b.failed.Load() || now.Sub(b.begun) > window {
		b.begun, b.failures, b.outcomes = now, 0, 0
	}
	if b.failures == 0 || now.Sub(b.last) >= moment {
		b.last = now
		b.failures++
		b.outcomes++
	}
	b.failed.Store(true)
	long := now.Sub(b.first) >= spread
	if b.row >= inARow && long || b.half() && now.Sub(b.begun) >= spread {
		b.open.Store(true)
		return true
	}
	return false
}

// Succeed counts a success. It costs next to nothing while there are no failures.
func (b *Breaker) Succeed(now time.Time) {
	if !b.failed.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.row = 0
	b.outcomes++
	if now.Sub(b.begun) > window {
		b.failed.Store(false)
	}
}

// Close closes the breaker, after the server has responded.
func (b *Breaker) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.row, b.failures, b.outcomes = 0, 0, 0
	b.failed.Store(false)
	b.open.Store(false)
}

func (b *Breaker) half() bool { return b.outcomes >= atLeast && 2*b.failures >= b.outcomes }
