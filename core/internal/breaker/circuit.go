package breaker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/streamlimit/streamlimit/core/internal/background"
	"github.com/streamlimit/streamlimit/core/store"
)

const (
	// probeInterval is how often a server is probed while its circuit is open and there
	// are decisions.
	probeInterval = 250 * time.Millisecond

	// idleProbeInterval is the longest interval between probes. The interval doubles up
	// to it while there are no decisions.
	idleProbeInterval = 10 * time.Second

	// probeTimeout bounds the time of a probe. The store's own timeout is usually
	// shorter.
	probeTimeout = time.Second
)

// Circuit keeps requests from waiting for a server that does not respond. While its
// breaker is open, requests are not sent to the server. A goroutine then probes the
// server with the charge that failed last, and takes nothing. The first response closes
// the breaker.
type Circuit struct {
	all     *Circuits
	server  string
	breaker Breaker
	down    atomic.Pointer[Down] // nil unless the breaker is open
	refused background.Activity  // decisions without the server, which make probes more frequent

	mu     sync.Mutex
	failed store.Charge // the last charge that the server failed to decide
	err    error        // the error of that failure
}

// Down is a server that gets no requests.
type Down struct {
	Server string // "" if the store has one server
	Since  time.Time
	Err    error // the last failure before Since

	refusal error // of each request meanwhile
}

// Open reports whether the server gets no requests.
func (c *Circuit) Open() bool { return c.down.Load() != nil }

// Refuses returns a [store.ErrDown] while the breaker is open.
func (c *Circuit) Refuses() error {
	if d := c.down.Load(); d != nil {
		c.refused.Note()
		return d.refusal
	}
	return nil
}

// slowly is the time after which a call without a response is a failure of the store,
// even if the caller's own deadline ended the wait.
const slowly = 50 * time.Millisecond

// Learn counts the outcome of a call that began at begun. It does nothing if the store
// reports outcomes itself.
func (c *Circuit) Learn(ctx context.Context, begun time.Time, asked store.Charge, err error) {
	if c.all.stop != nil {
		return
	}
	if err == nil || ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) && time.Since(begun) >= slowly {
		c.count(asked, err)
	}
}

// count counts an outcome.
func (c *Circuit) count(asked store.Charge, err error) {
	switch {
	case c.down.Load() != nil, errors.Is(err, store.ErrClosed), errors.Is(err, store.ErrOverloaded):
		// Only the probe counts now, or the error says nothing about the server.
	case Answered(err):
		failing := c.breaker.Failing()
		c.breaker.Succeed(time.Now())
		if failing {
			failed, err := c.lastFailure()
			c.all.Failed(failed.Log.Policy, err, ", and answers now")
		}
	default:
		c.mu.Lock()
		c.failed, c.err = asked, err
		c.mu.Unlock()
		if c.breaker.Fail(time.Now()) {
			d := &Down{Server: c.server, Since: time.Now(), Err: err, refusal: fmt.Errorf("%w: %w", store.ErrDown, err)}
			c.down.Store(d)
			c.all.Tasks.Start(func(ctx context.Context) { c.probe(ctx, d) })
		}
	}
}

// Answered reports whether a store has responded, even with an error.
func Answered(err error) bool {
	if err == nil {
		return true
	}
	for _, answer := range []error{store.ErrRejected, store.ErrWrongType, store.ErrFull, store.ErrCrossSlot, store.ErrTooLate} {
		if errors.Is(err, answer) {
			return true
		}
	}
	return false
}

func (c *Circuit) lastFailure() (store.Charge, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed, c.err
}

// probe calls the server until it responds, and logs when the probe begins and ends.
func (c *Circuit) probe(ctx context.Context, d *Down) {
	logger := c.all.Logger
	if d.Server != "" {
		logger = logger.With("server", d.Server)
	}
	logger.Warn("streamlimit: the store does not answer; until it does, requests are decided without it, by the limiter's failure mode or their policy's own",
		"mode", c.all.Mode, "error", d.Err)
	for idle := probeInterval; ; {
		decisions, ok := c.pause(ctx, idle)
		if !ok {
			return
		}
		if Answered(c.ask(ctx)) {
			break
		}
		if idle = min(2*idle, idleProbeInterval); decisions {
			idle = probeInterval
		}
	}
	c.breaker.Close()
	c.down.Store(nil)
	logger.Info("streamlimit: the store answers again",
		"after", time.Since(d.Since).Round(time.Millisecond))
}

// pause waits for probeInterval if there are decisions, and for idle otherwise. It
// reports whether there were decisions. ok is false if ctx has ended.
func (c *Circuit) pause(ctx context.Context, idle time.Duration) (decisions, ok bool) {
	if !background.Sleep(ctx, probeInterval) {
		return false, false
	}
	timer := time.NewTimer(idle - probeInterval)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false, false
	case <-c.refused.Awake():
		c.refused.Forget()
		return true, true
	case <-timer.C:
		return false, true
	}
}

// ask peeks with the charge that failed last, since the server must be able to decide
// that.
func (c *Circuit) ask(ctx context.Context) error {
	a, _ := c.lastFailure()
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	_, err := c.all.Store.Peek(ctx, a.Log, a.Key, a.Cost)
	return err
}
