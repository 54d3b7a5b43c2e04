package core

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/streamlimit/streamlimit/core/internal/breaker"
)

const (
	// probeInterval is how often a store is asked in the background while a circuit
	// is open and there are decisions.
	probeInterval = 250 * time.Millisecond

	// idleProbeInterval is how often it is asked at least. The interval doubles up to
	// that while nothing is decided.
	idleProbeInterval = 10 * time.Second

	// probeTimeout bounds the wait for that; a store has a timeout of its own,
	// usually a shorter one.
	probeTimeout = time.Second
)

// circuit keeps requests from waiting for a server that does not answer. While
// its breaker is open, the store is not asked for requests. A goroutine then asks
// for what was asked last, without taking anything, and the first answer closes
// the breaker.
type circuit struct {
	limiter *Limiter
	server  string
	breaker breaker.Breaker
	down    atomic.Pointer[Down] // nil unless the breaker is open
	refused activity             // for which the probe hurries

	mu     sync.Mutex
	failed Charge // the last question that the server failed to answer
	err    error  // and how
}

func newCircuit(l *Limiter, server string) *circuit {
	return &circuit{limiter: l, server: server, refused: newActivity()}
}

// refuses returns an error while the breaker is open.
func (c *circuit) refuses() error {
	if d := c.down.Load(); d != nil {
		c.refused.note()
		return fmt.Errorf("%w: %w", ErrDown, d.Err)
	}
	return nil
}

// slowly is the time after which a question without an answer is a failure of the
// store, although it was the caller's own deadline that ended the wait.
const slowly = 50 * time.Millisecond

// begin returns when a question to a store begins, as far as learn has to know.
func begin(ctx context.Context) (begun time.Time) {
	if _, ok := ctx.Deadline(); ok {
		begun = time.Now()
	}
	return begun
}

// expired reports whether the caller's deadline was over when it came. Then nobody waits
// for the answer. A deadline that the limiter's own waits have used up is the limiter's
// concern, and its failure mode decides.
func expired(ctx context.Context, came time.Time) bool {
	at, ok := ctx.Deadline()
	return ok && !came.Before(at)
}

// learn counts how the store has answered a question that begun. A store that
// reports outcomes itself knows better.
func (c *circuit) learn(ctx context.Context, begun time.Time, a Charge, err error) {
	if c.limiter.stopReports != nil {
		return
	}
	if err == nil || ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) && time.Since(begun) >= slowly {
		c.count(a, err)
	}
}

// count counts an outcome.
func (c *circuit) count(a Charge, err error) {
	switch {
	case c.down.Load() != nil, errors.Is(err, ErrClosed), errors.Is(err, ErrOverloaded):
		// The probe alone asks now, or it says nothing about the server.
	case answered(err):
		failing := c.breaker.Failing()
		c.breaker.Succeed(time.Now())
		if failing {
			failed, err := c.lastFailure()
			c.limiter.outage.log(c.limiter.Logger(), failed.Policy, err, ", and answers now")
		}
	default:
		c.mu.Lock()
		c.failed, c.err = a, err
		c.mu.Unlock()
		if c.breaker.Fail(time.Now()) {
			d := &Down{Server: c.server, Since: time.Now(), Err: err}
			c.down.Store(d)
			c.limiter.tasks.start(func(ctx context.Context) { c.probe(ctx, d) })
		}
	}
}

// answered reports whether a store has answered, if only with an error.
func answered(err error) bool {
	if err == nil {
		return true
	}
	for _, answer := range []error{ErrStoreRejected, ErrWrongType, ErrStoreFull, ErrCrossSlot, ErrTooLate} {
		if errors.Is(err, answer) {
			return true
		}
	}
	return false
}

func (c *circuit) lastFailure() (Charge, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed, c.err
}

// probe asks until there is an answer, and logs when it begins and ends.
func (c *circuit) probe(ctx context.Context, d *Down) {
	logger := c.limiter.Logger()
	if d.Server != "" {
		logger = logger.With("server", d.Server)
	}
	logger.Warn("streamlimit: the store does not answer; until it does, requests are decided without it, by the limiter's failure mode or their policy's own",
		"mode", c.limiter.failure.String(), "error", d.Err)
	for idle := probeInterval; ; {
		decisions, ok := c.pause(ctx, idle)
		if !ok {
			return
		}
		if answered(c.ask(ctx)) {
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

// pause waits for the probe's interval if there are decisions, and for idle otherwise.
// It reports whether there were any, and whether ctx has not ended.
func (c *circuit) pause(ctx context.Context, idle time.Duration) (decisions, ok bool) {
	if !sleep(ctx, probeInterval) {
		return false, false
	}
	timer := time.NewTimer(idle - probeInterval)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false, false
	case <-c.refused.awake:
		c.refused.forget()
		return true, true
	case <-timer.C:
		return false, true
	}
}

// ask asks for what was asked last, which is what the server must be able to
// answer.
func (c *circuit) ask(ctx context.Context) error {
	a, _ := c.lastFailure()
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	_, err := c.limiter.store.Peek(ctx, a.Policy, a.Key, a.Cost)
	return err
}

// circuits are those of a limiter's store.
type circuits struct {
	limiter *Limiter
	placer  Sharder  // nil if all logs are in one place
	one     *circuit // of the place ""
	others  sync.Map // of *circuit by place
}

func newCircuits(l *Limiter) *circuits {
	placer, _ := l.store.(Sharder)
	return &circuits{limiter: l, placer: placer, one: newCircuit(l, "")}
}

// of is the circuit of the server that has a question's log.
func (c *circuits) of(a Charge) *circuit {
	if c.placer == nil {
		return c.one
	}
	place := c.placer.Shard(a.Policy, a.Key)
	if place == "" {
		return c.one
	}
	if known, ok := c.others.Load(place); ok {
		return known.(*circuit)
	}
	known, _ := c.others.LoadOrStore(place, newCircuit(c.limiter, place))
	return known.(*circuit)
}

// report counts an outcome that the store reports.
func (c *circuits) report(a Charge, err error) { c.of(a).count(a, err) }

// down are the servers that don't answer.
func (c *circuits) down() (all []Down) {
	add := func(one *circuit) {
		if d := one.down.Load(); d != nil {
			all = append(all, *d)
		}
	}
	add(c.one)
	c.others.Range(func(_, one any) bool {
		add(one.(*circuit))
		return true
	})
	return all
}
