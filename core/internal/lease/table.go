// Package lease hands out units that a process took from a log ahead of its requests.
//
// A [Table] has a lease for each key. [Table.Take] takes units from the lease without a
// call. [Table.Join] queues a request for which the lease has no units, and [Table.Begin]
// does so for one that waits for its answer. At most one call per key is in flight. A call
// takes the units that all waiting requests need, and some units ahead. Units that are
// left when a lease ends are returned to the log.
//
// The package does not know the store. Its clock, its calls and its timer are
// functions in [Config], so that the same code runs under a simulated clock and
// network.
//
// # Why no limit is exceeded
//
// A unit that is used at a time u was taken from the log at a time t with
// u-d <= t <= u, where d is the length of a lease. The uses in any interval of length W
// were therefore taken in an interval of length W+d, in which the log admits at most the
// limit. That rests on these rules:
//
//   - A lease ends d after its call was sent, by the monotonic clock or by the wall
//     clock, whichever is first. A request reads the clocks after it has found the lease,
//     and takes from that same lease.
//   - Requests that waited when the call was sent are decided at the server's moment,
//     however late the reply. Later ones are not.
//   - A lease is closed before its units are returned, and each unit is returned once. A
//     unit that comes back to a closed lease is returned, and not handed out.
//   - The units of a call with an unknown outcome are never handed out.
package lease

import (
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Moment is a reading of the process's clocks. Either can stand still or step while
// the other continues.
type Moment struct {
	Mono time.Duration // monotonic, from any start
	Wall time.Duration // since 1970
}

func (m Moment) add(d time.Duration) Moment { return Moment{m.Mono + d, m.Wall + d} }

// reached reports whether one of the clocks has reached its end.
func (m Moment) reached(end Moment) bool { return m.Mono >= end.Mono || m.Wall >= end.Wall }

var epoch = time.Now()

// Now reads the clocks of this process.
func Now() Moment {
	now := time.Now()
	return Moment{Mono: now.Sub(epoch), Wall: time.Duration(now.UnixNano())}
}

// Terms are what a policy says about its leases.
type Terms struct {
	Length time.Duration // d: a lease ends that long after its call was sent
	Ahead  int64         // the most units that one call takes ahead
}

// Config connects a [Table] to its clock and its store.
type Config[K comparable, S any] struct {
	Now func() Moment

	// Ask sends a call to the log, and later calls Call.Done once. It must not block.
	Ask func(*Call[K, S])

	// Return gives units back to the logs. Each element is sent at most once, and is
	// not sent again after an error. It must not block.
	Return func([]Return[K, S])

	// After calls f after a time.
	After func(time.Duration, func())
}

const (
	shards = 64

	// keysInShard bounds the keys of a table: 65,536. Requests of further keys are
	// decided one by one, until others are idle.
	keysInShard = 1024

	// searched is the number of keys that makeRoom checks for an idle key.
	searched = 8

	// recentKeys is the number of leases that a request can find without a lock.
	recentKeys = 8192
)

// Table holds the leases of a process. S is the state of a log after a call.
type Table[K comparable, S any] struct {
	Config[K, S]
	seed   maphash.Seed
	recent []atomic.Pointer[lease[K, S]] // found last, by the hash of the key
	shards [shards]shard[K, S]
	agenda agenda[K, S]
	closed atomic.Bool
}

type shard[K comparable, S any] struct {
	mu   sync.RWMutex
	keys map[uint64]*lease[K, S] // by the hash of the key
	_    [32]byte                // so that shards do not share cache lines
}

// NewTable returns an empty table.
func NewTable[K comparable, S any](c Config[K, S]) *Table[K, S] {
	t := &Table[K, S]{Config: c, seed: maphash.MakeSeed(), recent: make([]atomic.Pointer[lease[K, S]], recentKeys)}
	t.agenda.pause = sweepPause
	for i := range t.shards {
		t.shards[i].keys = make(map[uint64]*lease[K, S])
	}
	return t
}

func (t *Table[K, S]) hash(k K) uint64 { return maphash.Comparable(t.seed, k) }

func (t *Table[K, S]) shard(hash uint64) *shard[K, S] { return &t.shards[hash%shards] }

// find returns the lease of a key, or nil.
func (t *Table[K, S]) find(k K) *lease[K, S] {
	hash := t.hash(k)
	recent := t.recentOf(hash)
	if l := recent.Load(); l != nil && l.key == k && !l.gone.Load() {
		return l
	}
	s := t.shard(hash)
	s.mu.RLock()
	l := s.keys[hash]
	s.mu.RUnlock()
	if l == nil || l.key != k {
		return nil
	}
	recent.Store(l)
	if l.gone.Load() { // drop may have come before Store; this frees the memory
		recent.CompareAndSwap(l, nil)
	}
	return l
}

func (t *Table[K, S]) recentOf(hash uint64) *atomic.Pointer[lease[K, S]] {
	return &t.recent[hash/shards%recentKeys]
}

// lease is the state of one key in this process.
type lease[K comparable, S any] struct {
	current atomic.Pointer[Generation[S]] // requests take from it; nil for none
	next    atomic.Pointer[Generation[S]] // follows the current one; set with mu held
	gone    atomic.Bool                   // from the table; set with mu held

	key   K
	hash  uint64
	terms Terms
	spare bool // not in the table, which is full; takes no units ahead

	mu      sync.Mutex
	waiting []*Waiter[K, S] // in order of arrival, without requests of the call in flight
	call    *Call[K, S]     // in flight; nil for none
	size    size
	called  bool
	sent    Moment // when the last call was sent

	due   time.Duration // when the sweep checks the lease; the agenda's lock guards due and place
	place int           // in the agenda; -1 for none
}

// of returns the lease of a key.
func (t *Table[K, S]) of(k K, terms Terms) *lease[K, S] {
	if l := t.find(k); l != nil {
		return l
	}
	now, hash := t.Now(), t.hash(k)
	s := t.shard(hash)
	s.mu.Lock()
	known := s.keys[hash]
	if known != nil && known.key == k {
		s.mu.Unlock()
		return known
	}
	l := &lease[K, S]{key: k, hash: hash, terms: terms, place: -1}
	if known != nil || len(s.keys) >= keysInShard && !t.makeRoom(s) || t.closed.Load() {
		s.mu.Unlock()
		l.spare = true
		return l
	}
	s.keys[hash] = l
	s.mu.Unlock()
	t.agenda.add(l, now.Mono+2*terms.Length)
	t.arm(now)
	return l
}

// makeRoom removes an idle key, and reports whether there was one. The caller holds the
// shard's lock.
func (t *Table[K, S]) makeRoom(s *shard[K, S]) bool {
	seen := 0
	for _, l := range s.keys { // in random order
		if l.mu.TryLock() {
			idle := l.idle()
			if idle {
				t.drop(s, l)
			}
			l.mu.Unlock()
			if idle {
				t.agenda.remove(l)
				return true
			}
		}
		if seen++; seen == searched {
			break
		}
	}
	return false
}

// forget removes a lease from the table. The caller holds the lease's lock.
func (t *Table[K, S]) forget(l *lease[K, S]) {
	s := t.shard(l.hash)
	s.mu.Lock()
	t.drop(s, l)
	s.mu.Unlock()
}

// drop removes a lease from its shard. The caller holds the locks of both.
func (t *Table[K, S]) drop(s *shard[K, S], l *lease[K, S]) {
	l.gone.Store(true)
	if s.keys[l.hash] == l {
		delete(s.keys, l.hash)
	}
	t.recentOf(l.hash).CompareAndSwap(l, nil)
}

// Reset drops the units of a key whose log was reset. They are not returned.
func (t *Table[K, S]) Reset(k K) {
	l := t.find(k)
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if g := l.current.Swap(nil); g != nil {
		g.close()
	}
	if next := l.next.Swap(nil); next != nil {
		next.close()
	}
	if l.call != nil {
		l.call.stale = true
	}
}

// Left returns the units that the key's lease has.
func (t *Table[K, S]) Left(k K) int64 {
	l := t.find(k)
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now, sum := t.Now(), int64(0)
	for _, g := range []*Generation[S]{l.current.Load(), l.next.Load()} {
		if g != nil && !now.reached(g.end) {
			sum += max(0, g.left.Load())
		}
	}
	return sum
}

// Close returns the units of all leases, and the units of later replies. After Close, no
// call takes units ahead.
func (t *Table[K, S]) Close() {
	t.closed.Store(true)
	now := t.Now()
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		all := slices.Collect(maps.Values(s.keys))
		s.mu.RUnlock()
		for _, l := range all {
			l.mu.Lock()
			if g := l.current.Swap(nil); g != nil {
				t.retire(l, g, now)
			}
			if next := l.next.Swap(nil); next != nil {
				t.retire(l, next, now)
			}
			l.mu.Unlock()
		}
	}
	t.flush()
}
