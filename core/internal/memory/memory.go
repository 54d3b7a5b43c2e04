// Package memory is the store that keeps logs in a process's memory. It makes the same
// decisions as the Redis store, for this process alone.
package memory

import (
	"context"
	"hash/maphash"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

// sweepInterval is the interval between sweeps for expired logs.
const sweepInterval = time.Second

// Store is a [store.Store] that keeps the logs in this process's memory: see
// core.NewMemory.
type Store struct {
	seed   maphash.Seed
	shards []shard
	keys   quota // in all shards
	rules  rules
	now    func() int64 // milliseconds; may step back
	closed atomic.Bool
	stop   chan struct{}
	swept  chan struct{} // closed after the sweeper has ended
}

// New returns a store with room for maxKeys keys and with a clock. If clock is nil, the
// store's clock never steps, even if the machine's clock does.
func New(maxKeys int, clock func() time.Time) *Store {
	if clock == nil {
		clock = steadyClock()
	}
	m := &Store{
		seed:   maphash.MakeSeed(),
		shards: make([]shard, shardCount()),
		now:    func() int64 { return clock().UnixMilli() },
		stop:   make(chan struct{}),
		swept:  make(chan struct{}),
	}
	m.keys.most = int64(maxKeys)
	for i := range m.shards {
		m.shards[i].logs = make(map[logID]*keyLog)
		m.shards[i].slots = make(map[logID]*slots)
		m.shards[i].queues = make(map[int64]*expiryQueue)
		m.shards[i].keys = &m.keys
	}
	go m.sweep()
	return m
}

// steadyClock returns a clock that starts at the wall clock's time and then follows the
// monotonic clock.
func steadyClock() func() time.Time {
	start := time.Now()
	return func() time.Time { return start.Add(time.Since(start)) }
}

// shardCount is a power of two, a few for each processor, so that callers seldom wait for
// each other.
func shardCount() int {
	n := 1
	for n < 16*runtime.GOMAXPROCS(0) {
		n *= 2
	}
	return n
}

// Take implements [store.Store].
func (m *Store) Take(ctx context.Context, p *store.Log, key string, cost int64) (u store.Usage, _ error) {
	if err := m.check(ctx); err != nil {
		return store.Usage{}, err
	}
	p = p.WithoutLease()
	id := logID{log: p.Name, key: key}
	s := m.shard(id)
	if !s.take(p, id, cost, m.now, &u) {
		// Expired keys may exist that the sweeper has not removed yet.
		m.forgetExpired()
		if !s.take(p, id, cost, m.now, &u) {
			return store.Usage{}, store.ErrFull
		}
	}
	return u, nil
}

// TakeAll implements [store.Store], in one step.
func (m *Store) TakeAll(ctx context.Context, charges []store.Charge) ([]store.Usage, error) {
	if err := m.check(ctx); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(charges, func(c store.Charge) bool { return c.Log.Unleased != nil }) {
		charges = slices.Clone(charges)
		for i := range charges {
			charges[i].Log = charges[i].Log.WithoutLease()
		}
	}
	usages, ok := m.takeAll(charges)
	if !ok {
		m.forgetExpired()
		if usages, ok = m.takeAll(charges); !ok {
			return nil, store.ErrFull
		}
	}
	return usages, nil
}

func (m *Store) takeAll(charges []store.Charge) (_ []store.Usage, ok bool) {
	defer m.lockAll(charges)()
	clock := m.now() // as in shard.take
	usages := make([]store.Usage, len(charges))
	logs := make([]*keyLog, len(charges))
	taken := true
	missing := int64(0)
	for i, a := range charges {
		id := logID{log: a.Log.Name, key: a.Key}
		if a.Log.Layout == store.Slots {
			fresh := m.shard(id).lookSlots(a.Log, id, a.Token, clock, &usages[i])
			taken = taken && (usages[i].Allowed || a.Log.Shadow)
			if usages[i].Allowed && fresh {
				missing++
			}
			continue
		}
		logs[i] = m.shard(id).look(a.Log, id, a.Cost, clock, &usages[i])
		taken = taken && (usages[i].Allowed || a.Log.Shadow)
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
	for i, a := range charges {
		if usages[i].Allowed {
			id := logID{log: a.Log.Name, key: a.Key}
			s := m.shard(id)
			if a.Log.Layout == store.Slots {
				s.takeSlot(a.Log, id, a.Token, clock, &usages[i])
				continue
			}
			if logs[i] == nil {
				logs[i] = s.create(a.Log, id)
			}
			s.admit(a.Log, logs[i], a.Cost, clock, &usages[i])
		}
	}
	return usages, true
}

// lockAll locks the shards of several logs, always in the same order. It returns the
// function that unlocks them.
func (m *Store) lockAll(charges []store.Charge) (unlock func()) {
	var indexes []int
	for _, a := range charges {
		indexes = append(indexes, m.index(logID{log: a.Log.Name, key: a.Key}))
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

// Peek implements [store.Store].
func (m *Store) Peek(ctx context.Context, p *store.Log, key string, cost int64) (u store.Usage, _ error) {
	if err := m.check(ctx); err != nil {
		return store.Usage{}, err
	}
	p = p.WithoutLease()
	id := logID{log: p.Name, key: key}
	s := m.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Layout == store.Slots {
		s.lookSlots(p, id, "", m.now(), &u)
	} else {
		s.look(p, id, cost, m.now(), &u)
	}
	return u, nil
}

// Settle implements [store.Store].
func (m *Store) Settle(ctx context.Context, p *store.Log, key string, entry store.EntryID, correction int64) error {
	if err := m.check(ctx); err != nil {
		return err
	}
	p = p.WithoutLease()
	id := logID{log: p.Name, key: key}
	s := m.shard(id)
	if correction < 0 {
		return s.refund(p, id, entry, -correction, m.now)
	}
	if !s.charge(p, id, correction, m.now) {
		m.forgetExpired()
		if !s.charge(p, id, correction, m.now) {
			return store.ErrFull
		}
	}
	return nil
}

// Entries implements [store.Store].
func (m *Store) Entries(ctx context.Context, p *store.Log, key string, most int) ([]store.Entry, error) {
	if err := m.check(ctx); err != nil {
		return nil, err
	}
	p = p.WithoutLease()
	id := logID{log: p.Name, key: key}
	s := m.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Layout == store.Slots {
		return s.listSlots(p, id, most, m.now()), nil
	}
	log := s.logs[id]
	if log == nil {
		return nil, nil
	}
	return log.list(max(m.now(), log.last())-p.Longest.Milliseconds(), most), nil
}

func millis(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

// Reset implements [store.Store].
func (m *Store) Reset(ctx context.Context, p *store.Log, key string) error {
	if err := m.check(ctx); err != nil {
		return err
	}
	p = p.WithoutLease()
	id := logID{log: p.Name, key: key}
	s := m.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if log := s.logs[id]; log != nil {
		s.forget(log)
	}
	s.forgetSlots(id)
	return nil
}

// Ping implements [store.Store].
func (m *Store) Ping(ctx context.Context) error { return m.check(ctx) }

func (m *Store) check(ctx context.Context) error {
	if m.closed.Load() {
		return store.ErrClosed
	}
	return ctx.Err()
}

// Len returns the number of keys that the store keeps now.
func (m *Store) Len() int { return int(m.keys.used.Load()) }

// Close implements [store.Store]: it ends the sweeper and waits for it.
func (m *Store) Close() error {
	if m.closed.CompareAndSwap(false, true) {
		close(m.stop)
	}
	<-m.swept
	return nil
}

// sweep frees expired logs until the store is closed.
func (m *Store) sweep() {
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

func (m *Store) forgetExpired() {
	for i := range m.shards {
		m.shards[i].forgetExpired(m.now)
	}
}

func (m *Store) shard(id logID) *shard {
	return &m.shards[m.index(id)]
}

func (m *Store) index(id logID) int {
	// All logs of a key are in one shard. Few keys have several logs.
	return int(maphash.String(m.seed, id.key) & uint64(len(m.shards)-1)) //nolint:gosec // below the number of shards
}
