package core

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

const (
	// tripAfter is how many failures in a row open a circuit, and tripTime how long
	// the first of them is ago at least, since one lost connection can fail many
	// requests at once: enough that no hiccup does it, and little enough that hardly
	// a request waits in vain.
	tripAfter = 5
	tripTime  = 10 * time.Millisecond

	// probeInterval is how often a store is asked in the background while a
	// circuit is open.
	probeInterval = 250 * time.Millisecond

	// probeTimeout is how long that waits; a store has a timeout of its own,
	// usually a shorter one.
	probeTimeout = time.Second
)

// circuit keeps requests from waiting for a server that does not answer: it is a
// circuit breaker. It opens after a few failures in a row, and while it is
// open, the store is not asked for requests. A goroutine then asks for what was
// asked last, without taking anything, and the first answer closes it.
type circuit struct {
	limiter *Limiter
	server  string
	breaker *gobreaker.CircuitBreaker[struct{}]

	failing atomic.Bool          // it has failed since it last answered
	down    atomic.Pointer[Down] // nil unless the circuit is open

	mu     sync.Mutex
	first  time.Time // of the failures since it last answered
	failed Ask       // the last question that it failed to answer
	err    error     // and how
}

func newCircuit(l *Limiter, server string) *circuit {
	c := &circuit{limiter: l, server: server}
	c.breaker = gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Timeout: probeInterval / 2, // over by the next probe, the only one to ask then
		ReadyToTrip: func(n gobreaker.Counts) bool {
			return n.ConsecutiveFailures >= tripAfter && time.Since(c.firstFailure()) >= tripTime
		},
		OnStateChange: func(_ string, from, to gobreaker.State) {
			switch {
			case from == gobreaker.StateClosed:
				c.opened()
			case to == gobreaker.StateClosed:
				c.closed()
			}
		},
	})
	return c
}

// refuses is an error while the circuit is open, and else nil.
func (c *circuit) refuses() error {
	if d := c.down.Load(); d != nil {
		return fmt.Errorf("%w: %w", ErrDown, d.Err)
	}
	return nil
}

// slowly is how long a store has not answered a caller whose own deadline is up
// by then, for that to be a failure of the store.
const slowly = 50 * time.Millisecond

// begin is when a question to a store begins, as far as learn has to know it.
func begin(ctx context.Context) (begun time.Time) {
	if _, ok := ctx.Deadline(); ok {
		begun = time.Now()
	}
	return begun
}

// learn counts how the store has answered a question that begun.
func (c *circuit) learn(ctx context.Context, begun time.Time, a Ask, err error) {
	switch {
	case answered(err):
		if c.failing.Load() {
			c.succeed()
		}
	case errors.Is(err, ErrClosed):
	case ctx.Err() == nil, errors.Is(ctx.Err(), context.DeadlineExceeded) && time.Since(begun) >= slowly:
		c.fail(a, err)
	}
}

// answered is whether a store has answered, if only with an error.
func answered(err error) bool {
	if err == nil {
		return true
	}
	for _, answer := range []error{ErrRefused, ErrNotALog, ErrStoreFull, ErrApart, ErrTooLate} {
		if errors.Is(err, answer) {
			return true
		}
	}
	return false
}

func (c *circuit) fail(a Ask, err error) {
	if c.down.Load() != nil {
		return // the probe alone asks now
	}
	c.mu.Lock()
	if !c.failing.Swap(true) {
		c.first = time.Now()
	}
	c.failed, c.err = a, err
	c.mu.Unlock()
	_, _ = c.breaker.Execute(func() (struct{}, error) { return struct{}{}, err })
}

// succeed is for the first answer after a failure, or several at once.
func (c *circuit) succeed() {
	if c.down.Load() != nil || !c.failing.Swap(false) {
		return
	}
	_, _ = c.breaker.Execute(func() (struct{}, error) { return struct{}{}, nil })
	a, err := c.lastFailure()
	if c.down.Load() == nil {
		c.limiter.outage.log(c.limiter.Logger(), a.Policy, err, ", and answers now")
	}
}

func (c *circuit) firstFailure() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.first
}

func (c *circuit) lastFailure() (Ask, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed, c.err
}

// opened and closed are called by the breaker, under its lock.
func (c *circuit) opened() {
	_, err := c.lastFailure()
	d := &Down{Server: c.server, Since: time.Now(), Err: err}
	c.down.Store(d)
	c.limiter.tasks.start(func(ctx context.Context) { c.probe(ctx, d) })
}

func (c *circuit) closed() {
	c.down.Store(nil)
	c.failing.Store(false)
}

// probe asks until there is an answer, and says when it begins and ends.
func (c *circuit) probe(ctx context.Context, d *Down) {
	logger := c.limiter.Logger()
	if d.Server != "" {
		logger = logger.With("server", d.Server)
	}
	logger.Warn("streamlimit: the store does not answer; until it does, requests are decided without it, by the limiter's failure mode or their policy's own",
		"mode", c.limiter.failure.String(), "error", d.Err)
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for c.down.Load() == d {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_, _ = c.breaker.Execute(func() (struct{}, error) { return struct{}{}, c.ask(ctx) })
		}
	}
	logger.Info("streamlimit: the store answers again",
		"after", time.Since(d.Since).Round(time.Millisecond))
}

// ask asks for what was asked last, which is what the server must be able to
// answer.
func (c *circuit) ask(ctx context.Context) error {
	a, _ := c.lastFailure()
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	_, err := c.limiter.store.Peek(ctx, a.Policy, a.Key, a.Cost)
	if answered(err) {
		return nil
	}
	return err
}

// circuits are those of a limiter's store.
type circuits struct {
	limiter *Limiter
	placer  Placer   // nil if all logs are in one place
	one     *circuit // of the place ""
	others  sync.Map // of *circuit by place
}

func newCircuits(l *Limiter) *circuits {
	placer, _ := l.store.(Placer)
	return &circuits{limiter: l, placer: placer, one: newCircuit(l, "")}
}

// of is the circuit of the server that has a question's log.
func (c *circuits) of(a Ask) *circuit {
	if c.placer == nil {
		return c.one
	}
	place := c.placer.Place(a.Policy, a.Key)
	if place == "" {
		return c.one
	}
	if known, ok := c.others.Load(place); ok {
		return known.(*circuit)
	}
	known, _ := c.others.LoadOrStore(place, newCircuit(c.limiter, place))
	return known.(*circuit)
}

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
