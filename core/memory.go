package core

import (
	"context"
	"fmt"
	"hash/maphash"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/streamlimit/streamlimit/core/internal/ring"
)

// DefaultMaxKeys is how many keys a [Memory] keeps unless [WithMaxKeys] says
// otherwise. A key of 42 bytes with one request takes about 250 bytes.
const DefaultMaxKeys = 250_000

// sweepInterval is how often a Memory looks for logs that have expired.
const sweepInterval = time.Second

// Memory is a [Store] that keeps the logs in this process's memory. It answers
// exactly as the Redis store does, for this process alone.
//
// It is bounded: when the maximum number of keys is reached, those whose
// entries have all left their windows are forgotten. A key with live entries
// never is, since that would give its client a new budget: while all are live, a
// request with a new key gets [ErrStoreFull] and known keys go on as before. A
// log has at most as many entries as its longest window has milliseconds, and as
// its limit has units.
type Memory struct {
	seed   maphash.Seed
	shards []shard
	keys   atomic.Int64 // in all shards
	now    func() int64 // milliseconds; may step back
	closed atomic.Bool
	stop   chan struct{}
	swept  chan struct{} // closed when the sweeper has ended
}

// MemoryOption is a setting for [NewMemory].
type MemoryOption func(*memoryConfig)

type memoryConfig struct {
	maxKeys int
	now     func() time.Time
}

// WithMaxKeys sets how many keys the store keeps, counted over all policies: one
// whose clients can invent keys, and keep them live for a day, can fill it for
// the others. It panics below 1.
func WithMaxKeys(n int) MemoryOption {
	if n < 1 {
		panic(fmt.Sprintf("core: WithMaxKeys: %d keys: use at least 1, or leave the option out for %d", n, DefaultMaxKeys))
	}
	return func(c *memoryConfig) { c.maxKeys = n }
}

// WithClock sets the clock, for tests. Without it the store's clock never steps,
// whatever happens to the machine's.
func WithClock(now func() time.Time) MemoryOption {
	if now == nil {
		panic("core: WithClock: nil clock: leave the option out for the real one")
	}
	return func(c *memoryConfig) { c.now = now }
}

// NewMemory makes a store in this process's memory. Close it to end its one
// goroutine.
func NewMemory(options ...MemoryOption) *Memory {
	c := memoryConfig{maxKeys: DefaultMaxKeys, now: steadyClock()}
	for _, o := range options {
		if o == nil {
			panic("core: NewMemory: a nil option: leave it out")
		}
		o(&c)
	}
	m := &Memory{
		seed:   maphash.MakeSeed(),
		shards: make([]shard, shardCount()),
		now:    func() int64 { return c.now().UnixMilli() },
		stop:   make(chan struct{}),
		swept:  make(chan struct{}),
	}
	for i := range m.shards {
		m.shards[i].logs = make(map[logID]*memoryLog)
		m.shards[i].queues = make(map[int64]*expiryQueue)
		m.shards[i].keys, m.shards[i].maxKeys = &m.keys, int64(c.maxKeys)
	}
	go m.sweep()
	return m
}

// steadyClock follows the monotonic clock from the wall clock's time now.
func steadyClock() func() time.Time {
	start := time.Now()
	return func() time.Time { return start.Add(time.Since(start)) }
}

// shardCount is a power of two, a few shards a processor, so that callers seldom
// wait for each other.
func shardCount() int {
	n := 1
	for n < 16*runtime.GOMAXPROCS(0) {
		n *= 2
	}
	return n
}

// Take implements [Store].
func (m *Memory) Take(ctx context.Context, p *Policy, key string, cost int64) (Usage, error) {
	return m.ask(ctx, p, key, cost, true)
}

// Peek implements [Store].
func (m *Memory) Peek(ctx context.Context, p *Policy, key string, cost int64) (Usage, error) {
	return m.ask(ctx, p, key, cost, false)
}

func (m *Memory) ask(ctx context.Context, p *Policy, key string, cost int64, take bool) (Usage, error) {
	if err := m.check(ctx); err != nil {
		return Usage{}, err
	}
	id := logID{log: p.logName, key: key}
	s := m.shard(id)
	clock := m.now()
	u, ok := s.ask(p, id, cost, clock, take)
	if !ok {
		// Perhaps there are expired keys that the sweeper has not met yet.
		m.forgetExpired(clock)
		if u, ok = s.ask(p, id, cost, clock, take); !ok {
			return Usage{}, ErrStoreFull
		}
	}
	return u, nil
}

// ask decides on one log, unless it would be one key too many.
func (s *shard) ask(p *Policy, id logID, cost, clock int64, take bool) (_ Usage, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.logs[id]
	if log == nil {
		return s.first(p, id, cost, clock, take)
	}
	// Time never runs backwards within a log, whatever the clock does.
	now := max(clock, log.entries.Last().Time)
	log.entries.DropBefore(now - p.longest.Milliseconds() + 1)
	u := usage(p, &log.entries, cost, now, clock)
	if u.Allowed && take {
		log.entries.Add(now, cost)
		s.queue(log.window).moveToBack(log)
		u.admit(p, cost, millis(now-clock))
	}
	return u, true
}

// usage is what the entries leave of the policy's limits at now. Waits are
// counted from clock, which is behind now where the clock stepped back.
func usage(p *Policy, entries *ring.Log, cost, now, clock int64) Usage {
	u := Usage{Allowed: true, Source: SourceMemory}
	for i, l := range p.limits {
		window := l.Window.Milliseconds()
		cut := now - window + 1
		used, first := entries.Since(cut)
		u.Limits[i].Used = used
		if used > 0 {
			u.Limits[i].FreeIn = millis(first + window - clock)
		}
		if over := used + cost - l.Max; over > 0 {
			u.Allowed = false
			u.RetryAfter = max(u.RetryAfter, millis(entries.Leaving(cut, over)+window-clock))
		}
	}
	if entries.Len() > 0 {
		u.ResetAfter = max(0, millis(entries.Last().Time+p.longest.Milliseconds()-clock))
	}
	return u
}

// admit adds the request itself, which is recorded ahead of the clock where
// that stepped back.
func (u *Usage) admit(p *Policy, cost int64, ahead time.Duration) {
	for i, l := range p.limits {
		u.Limits[i].Used += cost
		if u.Limits[i].FreeIn == 0 {
			u.Limits[i].FreeIn = l.Window + ahead
		}
	}
	u.ResetAfter = p.longest + ahead
}

func millis(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

// Reset implements [Store].
func (m *Memory) Reset(ctx context.Context, p *Policy, key string) error {
	if err := m.check(ctx); err != nil {
		return err
	}
	id := logID{log: p.logName, key: key}
	s := m.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if log := s.logs[id]; log != nil {
		s.forget(log)
	}
	return nil
}

// Ping implements [Store].
func (m *Memory) Ping(ctx context.Context) error { return m.check(ctx) }

func (m *Memory) check(ctx context.Context) error {
	if m.closed.Load() {
		return ErrClosed
	}
	return ctx.Err()
}

// Len is how many keys the store keeps now.
func (m *Memory) Len() int { return int(m.keys.Load()) }

// Close implements [Store]: it ends the sweeper and waits for it.
func (m *Memory) Close() error {
	if m.closed.CompareAndSwap(false, true) {
		close(m.stop)
	}
	<-m.swept
	return nil
}

// sweep frees expired logs until the store is closed.
func (m *Memory) sweep() {
	defer close(m.swept)
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-m.stop:
			return
		case <-tick.C:
			m.forgetExpired(m.now())
		}
	}
}

func (m *Memory) forgetExpired(now int64) {
	for i := range m.shards {
		m.shards[i].forgetExpired(now)
	}
}

func (m *Memory) shard(id logID) *shard {
	return &m.shards[maphash.Comparable(m.seed, id)&uint64(len(m.shards)-1)]
}

// cloneID copies the key, which may be a string that its caller reuses.
func cloneID(id logID) logID { return logID{log: id.log, key: strings.Clone(id.key)} }

type shard struct {
	mu      sync.Mutex
	keys    *atomic.Int64 // of all shards together,
	maxKeys int64         // and the most they may have
	logs    map[logID]*memoryLog
	queues  map[int64]*expiryQueue // by window, in milliseconds
	_       [24]byte               // keeps shards on cache lines of their own
}
