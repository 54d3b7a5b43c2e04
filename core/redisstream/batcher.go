package redisstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/store"
)

// batcher decides which decisions share a round trip, and when. It may assume that
// the transport returns, sooner or later, from all that it is given.
//
// A decision that finds its server idle is sent alone and at once. While requests
// are in flight, others wait, and then share one. The
// batcher calls off what has waited too long: see the package's documentation.
type batcher struct {
	transport *transport
	topology  *topology
	bound     time.Duration // for waiting in this process
	first     time.Duration // for waiting for the first connection to a server

	starvation starvation

	one     server   // of all logs, unless the topology has several
	others  sync.Map // of *server, by address
	reports reports
}

// waiter is a call that waits for its turn, or is in flight: a decision by one policy,
// which may share a script, or any other script.
type waiter struct {
	charges []charge // one, or several of a decision that is all or nothing
	place   string   // of the logs: see topology
	one     [1]charge

	// args are those of the layout's script where it is not to take the charge.
	args []any

	// These are set for a script that shares its round trip with nothing else.
	script *script
	call   []any

	// command is one that is not a script, and has a round trip of its own too.
	command redis.Cmder

	done   chan struct{} // receives a value when the answer is there
	usages []store.Usage // the answer to the charges
	usage  [1]store.Usage
	reply  []int64 // the answer of a script that does not take charges
	err    error

	// The server's lock guards these.
	number uint64 // in order of arrival
	since  time.Time
	state  waiterState
	line   *line
	links  [2]link // in the queue and in the line
}

type waiterState byte

const (
	waiting waiterState = iota
	underway
	finished
	abandoned // by its caller, while it was in flight
)

var spareWaiters = sync.Pool{New: func() any { return &waiter{done: make(chan struct{}, 1)} }}

// newWaiter returns a waiter for a decision by one policy.
func newWaiter(c charge) *waiter {
	t := spareWaiters.Get().(*waiter)
	t.one[0] = c
	t.charges = t.one[:]
	return t
}

// free ends the use of a waiter that was answered.
func (t *waiter) free() {
	*t = waiter{done: t.done}
	spareWaiters.Put(t)
}

// server returns the server that has the log.
func (b *batcher) server(log string) *server {
	address := b.topology.address(log)
	if address == "" {
		return &b.one
	}
	if known, ok := b.others.Load(address); ok {
		return known.(*server)
	}
	known, _ := b.others.LoadOrStore(address, &server{batcher: b})
	return known.(*server)
}

// take decides on one charge.
func (b *batcher) take(ctx context.Context, c charge) (store.Usage, error) {
	v := b.server(c.log)
	reply, since, done, err := v.atOnce(ctx, &c, steadyInFlight, scriptOf(c.policy), func() []any { return decision(&c, modeTake) })
	if done {
		if err != nil {
			return store.Usage{}, err
		}
		u, err := parseUsage(reply, c.policy)
		return u, prefixed(err)
	}
	t := newWaiter(c)
	t.since = since
	if err := v.wait(ctx, t); err != nil {
		return store.Usage{}, err
	}
	u := t.usage[0]
	t.free()
	return u, nil
}

// takeSeveral decides on several charges, all or nothing, by one script.
func (b *batcher) takeSeveral(ctx context.Context, charges []charge) ([]store.Usage, error) {
	v := b.server(charges[0].log)
	sc, call := decisionOfSeveral(charges)
	reply, since, done, err := v.atOnce(ctx, &charges[0], maxInFlight, sc, func() []any { return call })
	if done {
		if err != nil {
			return nil, err
		}
		usages, err := parseSeveral(reply, charges)
		return usages, prefixed(err)
	}
	t := &waiter{charges: charges, script: sc, call: call, since: since, done: make(chan struct{}, 1)}
	if err := v.wait(ctx, t); err != nil {
		return nil, err
	}
	return t.usages, nil
}

// ask runs the script that decides on the charge, with the given arguments.
func (b *batcher) ask(ctx context.Context, c charge, args []any) ([]int64, error) {
	return b.other(ctx, c, steadyInFlight, scriptOf(c.policy), append(callFor(&c, len(args)), args...), &waiter{args: args})
}

// run runs a script that is not a decision, for the log or key of the charge.
func (b *batcher) run(ctx context.Context, c charge, sc *script, call []any) ([]int64, error) {
	return b.other(ctx, c, maxInFlight, sc, call, &waiter{script: sc, call: call})
}

// other sends a call that takes no charges, at once or in its turn as t.
func (b *batcher) other(ctx context.Context, c charge, most int, sc *script, call []any, t *waiter) ([]int64, error) {
	v := b.server(c.log)
	reply, since, done, err := v.atOnce(ctx, &c, most, sc, func() []any { return call })
	if done {
		return reply, err
	}
	t.one[0], t.since, t.done = c, since, make(chan struct{}, 1)
	t.charges = t.one[:]
	if err := v.wait(ctx, t); err != nil {
		return nil, err
	}
	return t.reply, nil
}

// command sends a command that is not a script to the server that has the key.
func (b *batcher) command(ctx context.Context, key string, cmd redis.Cmder) error {
	t := &waiter{one: [1]charge{{log: key}}, command: cmd, done: make(chan struct{}, 1)}
	t.charges = t.one[:]
	return b.server(key).wait(ctx, t)
}

// apartFromOthers reports whether the call shares its round trip with nothing else.
func (t *waiter) apartFromOthers() bool { return t.script != nil || t.command != nil }

func prefixed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("redisstream: %w", err)
}

// apart reports whether a server has refused a script since its logs are in
// several hash slots. Scripts use one slot each from then on.
func (b *batcher) apart(err error) bool {
	if !redis.HasErrorPrefix(err, "CROSSSLOT") {
		return false
	}
	b.topology.crossSlot()
	return true
}

// waitBound returns how long a waiter may wait for its turn. In a starved process
// each step takes so long that more patience is better than a refusal.
func (b *batcher) waitBound() time.Duration {
	if b.starvation.now() {
		return starvedBounds * b.bound
	}
	return b.bound
}

// exhausted reports whether all connections of the client's pool are in use. Then
// a command waits for others of this process, and not for the server.
func (b *batcher) exhausted(log string) bool {
	c := b.topology.client(log)
	if c == nil {
		return false
	}
	stats := c.PoolStats()
	return stats.IdleConns == 0 && int(stats.TotalConns) >= c.Options().PoolSize
}

// most returns how many connections to the server of the log may be used.
func (b *batcher) most(log string) int {
	if c := b.topology.client(log); c != nil {
		return min(maxInFlight, c.Options().PoolSize)
	}
	return maxInFlight
}

// connections returns how many connections to the server of the log are open at
// most.
func (b *batcher) connections(log string) int {
	c := b.topology.client(log)
	if c == nil {
		return maxInFlight
	}
	return int(c.PoolStats().TotalConns)
}

// servers calls f with each server that this process knows.
func (b *batcher) servers(f func(*server)) {
	f(&b.one)
	b.others.Range(func(_, v any) bool {
		f(v.(*server))
		return true
	})
}

// wait puts a waiter into the queue, and returns when it was answered. After an
// error other than the waiter's own the waiter may still be in flight.
func (v *server) wait(ctx context.Context, t *waiter) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if v.batcher.transport.closed.Load() {
		return store.ErrClosed
	}
	t.place = v.batcher.topology.place(t.charges[0].log)
	v.mu.Lock()
	err := v.admit(t)
	v.unlock()
	if err != nil {
		return err
	}
	return v.arrival(ctx, t)
}

// arrival waits for a waiter's answer.
func (v *server) arrival(ctx context.Context, t *waiter) error {
	select {
	case <-t.done:
		return t.err
	case <-ctx.Done():
	}
	v.mu.Lock()
	state := t.state
	switch state {
	case waiting:
		v.queue.remove(t)
		if v.silent != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			// It would not have been answered, whatever its caller's deadline.
			v.report(&t.charges[0], v.silent)
		}
	case underway:
		t.state = abandoned
	}
	v.unlock()
	if state == finished { // at the same moment
		<-t.done
		return t.err
	}
	return ctx.Err()
}

// claim makes a waiter finished, unless its caller has left. The server's lock
// is held. The answer is sent without it, since nobody else touches the waiter.
func (t *waiter) claim() {
	if t.state != abandoned {
		t.state = finished
	}
}

// answer sends the answer to a waiter that was claimed.
func (t *waiter) answer(err error) {
	if t.state != finished {
		return
	}
	if err != nil && t.command == nil {
		err = fmt.Errorf("redisstream: %w", err)
	}
	t.err = err
	t.done <- struct{}{}
}
