package core

import (
	"context"
	"fmt"
	"hash/maphash"
	"runtime"
	"slices"
	"sync/atomic"
	"time"
)

// DefaultMaxKeys is the maximum number of keys in a [Memory]. [WithMaxKeys] changes it.
// A key of 42 bytes with one request takes about 250 bytes.
const DefaultMaxKeys = 250_000

// sweepInterval is how often a Memory looks for logs that have expired.
const sweepInterval = time.Second

// Memory is a [Store] that keeps the logs in this process's memory. It answers
// exactly as the Redis store does, for this process alone.
//
// It is bounded. When it reaches the maximum number of keys, it deletes the keys whose
// entries have all left their windows. It keeps keys with live entries, since a client
// whose key is deleted gets a new budget. While all keys are live, a request with a new
// key gets [ErrStoreFull], and known keys work as before. A log has no more entries
// than its longest window has milliseconds, or its limit has units.
type Memory struct {
	seed   maphash.Seed
	shards []shard
	keys   quota // in all shards
	rules  memoryRules
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

// WithMaxKeys sets the maximum number of keys in the store, over all policies. A policy
// whose clients can invent keys, and keep them live for a day, can fill the store for
// the others. WithMaxKeys panics if n is below 1.
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
	m.keys.most = int64(c.maxKeys)
	for i := range m.shards {
		m.shards[i].logs = make(map[logID]*memoryLog)
		m.shards[i].queues = make(map[int64]*expiryQueue)
		m.shards[i].keys = &m.keys
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
func (m *Memory) Take(ctx context.Context, p *Policy, key string, cost int64) (u Usage, _ error) {
	if err := m.check(ctx); err != nil {
		return Usage{}, err
	}
	id := logID{log: p.logName, key: key}
	s := m.shard(id)
	if !s.take(p, id, cost, m.now, &u) {
		// Perhaps there are expired keys that the sweeper has not met yet.
		m.forgetExpired()
		if !s.take(p, id, cost, m.now, &u) {
			return Usage{}, ErrStoreFull
		}
	}
	return u, nil
}

// TakeAll implements [Store], in one step.
func (m *Memory) TakeAll(ctx context.Context, asks []Charge) ([]Usage, error) {
	if err := m.check(ctx); err != nil {
		return nil, err
	}
	usages, ok := m.takeAll(asks)
	if !ok {
		m.forgetExpired()
		if usages, ok = m.takeAll(asks); !ok {
			return nil, ErrStoreFull
		}
	}
	return usages, nil
}

func (m *Memory) takeAll(asks []Charge) (_ []Usage, ok bool) {
	defer m.lockAll(asks)()
	clock := m.now() // as in shard.take
	usages := make([]Usage, len(asks))
	logs := make([]*memoryLog, len(asks))
	taken := true
	missing := int64(0)
	for i, a := range asks {
		id := logID{log: a.Policy.logName, key: a.Key}
		logs[i] = m.shard(id).look(a.Policy, id, a.Cost, clock, &usages[i])
		taken = taken && (usages[i].Allowed || a.Policy.shadow)
		if usages[i].Allowed && logs[i] == nil {
			missing++
		}
	}
	if !taken {
		return usages, true
	}
	if !m.keys.reserve(missing) {
		return nil, false
	}
	for i, a := range asks {
		if usages[i].Allowed {
			id := logID{log: a.Policy.logName, key: a.Key}
			s := m.shard(id)
			if logs[i] == nil {
				logs[i] = s.create(a.Policy, id)
			}
			s.admit(a.Policy, logs[i], a.Cost, clock, &usages[i])
		}
	}
	return usages, true
}

// lockAll locks the shards of several logs, always in the same order, and
// returns what unlocks them.
func (m *Memory) lockAll(asks []Charge) (unlock func()) {
	var indexes []int
	for _, a := range asks {
		indexes = append(indexes, m.index(logID{log: a.Policy.logName, key: a.Key}))
	}
	slices.Sort(indexes)
	indexes = slices.Compact(indexes)
	for _, i := range indexes {
		m.shards[i].mu.Lock()
	}
	return func() {
		for _, i := range indexes {
			m.shards[i].mu.Unlock()
		}
	}
}

// Peek implements [Store].
func (m *Memory) Peek(ctx context.Context, p *Policy, key string, cost int64) (u Usage, _ error) {
	if err := m.check(ctx); err != nil {
		return Usage{}, err
	}
	id := logID{log: p.logName, key: key}
	s := m.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.look(p, id, cost, m.now(), &u)
	return u, nil
}

// Settle implements [Store].
func (m *Memory) Settle(ctx context.Context, p *Policy, key string, entry EntryID, correction int64) error {
	if err := m.check(ctx); err != nil {
		return err
	}
	id := logID{log: p.logName, key: key}
	s := m.shard(id)
	if correction < 0 {
		return s.refund(p, id, entry, -correction, m.now)
	}
	if !s.charge(p, id, correction, m.now) {
		m.forgetExpired()
		if !s.charge(p, id, correction, m.now) {
			return ErrStoreFull
		}
	}
	return nil
}

// Entries implements [Store].
func (m *Memory) Entries(ctx context.Context, p *Policy, key string, most int) ([]Entry, error) {
	if err := m.check(ctx); err != nil {
		return nil, err
	}
	id := logID{log: p.logName, key: key}
	s := m.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.logs[id]
	if log == nil {
		return nil, nil
	}
	return log.list(max(m.now(), log.last())-p.longest.Milliseconds(), most), nil
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

// Len returns the number of keys that the store keeps now.
func (m *Memory) Len() int { return int(m.keys.used.Load()) }

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
			m.forgetExpired()
		}
	}
}

func (m *Memory) forgetExpired() {
	for i := range m.shards {
		m.shards[i].forgetExpired(m.now)
	}
}

func (m *Memory) shard(id logID) *shard {
	return &m.shards[m.index(id)]
}

func (m *Memory) index(id logID) int {
	// All logs of a key are in one shard: few keys have several.
	return int(maphash.String(m.seed, id.key) & uint64(len(m.shards)-1)) //nolint:gosec // below the number of shards
}
