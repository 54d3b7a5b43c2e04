package memory

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/streamlimit/streamlimit/core/store"
)

// logID names a log in memory.
type logID struct{ log, key string }

// shard holds some of the logs of a Store. The caller of a method must hold the lock,
// unless the method takes it.
type shard struct {
	mu     sync.Mutex
	keys   *quota // of all shards together
	logs   map[logID]*keyLog
	queues map[int64]*expiryQueue // by window, in milliseconds
	_      [32]byte               // keeps shards on cache lines of their own
}

// quota counts the keys of all shards together, and never counts more than most:
// a count that was above it for a moment would refuse keys that there is room for.
type quota struct {
	used atomic.Int64
	most int64
}

// reserve counts n more keys if there is room for all of them.
func (q *quota) reserve(n int64) bool {
	for {
		used := q.used.Load()
		if used+n > q.most {
			return false
		}
		if q.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

// release counts one key less.
func (q *quota) release() { q.used.Add(-1) }

// take decides on one log, unless it would be one key too many. It takes the
// lock, and the time after it: an old time would not do for a log that was
// forgotten meanwhile, whose newest entry says how late it is.
func (s *shard) take(p *store.Log, id logID, cost int64, now func() int64, u *store.Usage) (ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clock := now()
	log := s.look(p, id, cost, clock, u)
	if !u.Allowed {
		return true
	}
	return s.record(p, id, log, cost, clock, u)
}

// charge adds units to a log whether they fit or not, unless it would be one key
// too many. It takes the lock and the time as take does.
func (s *shard) charge(p *store.Log, id logID, units int64, now func() int64) (ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.record(p, id, s.logs[id], units, now(), &store.Usage{})
}

// refund gives back units of an entry. It takes the lock and the time as take
// does.
func (s *shard) refund(p *store.Log, id logID, entry store.EntryID, units int64, now func() int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.logs[id]
	if log == nil || !log.refund(p, entry, units, now()) {
		return store.ErrTooLate
	}
	log.queue.moveToBack(log)
	return nil
}

// record admits cost to the log, or to a new one if it is nil, unless that would
// be one key too many.
func (s *shard) record(p *store.Log, id logID, log *keyLog, cost, clock int64, u *store.Usage) (ok bool) {
	if log == nil {
		if !s.keys.reserve(1) {
			return false
		}
		log = s.create(p, id)
	}
	s.admit(p, log, cost, clock, u)
	return true
}

// look finds what the log and the policy's earlier logs have room for; the log is nil
// when there is none.
func (s *shard) look(p *store.Log, id logID, cost, clock int64, u *store.Usage) *keyLog {
	log := s.logs[id]
	var space [1 + store.MaxEarlier]*keyLog
	logs := keyLogs(space[:0])
	if log != nil {
		logs = append(logs, log)
	}
	for _, e := range p.Earlier { // all logs of a key are in one shard
		if earlier := s.logs[logID{log: e.Name, key: id.key}]; earlier != nil {
			logs = append(logs, earlier)
		}
	}
	if len(logs) == 0 {
		*u = store.Usage{Allowed: true, Source: store.SourceMemory}
	} else {
		logs.usage(p, cost, clock, u)
	}
	return log
}

// admit adds cost to the log and to what was found in it.
func (s *shard) admit(p *store.Log, log *keyLog, cost, clock int64, u *store.Usage) {
	now := log.add(p, cost, clock)
	log.queue.moveToBack(log)
	ahead := millis(now - clock) // of a clock that stepped back
	for i, l := range p.Limits {
		u.Limits[i].Used += cost
		if u.Limits[i].FreeIn == 0 {
			u.Limits[i].FreeIn = l.Window + ahead
		}
	}
	u.ResetAfter = p.Longest + ahead
	if p.Refundable() {
		u.Entry = store.EntryID{Time: now, Total: log.entries.Last().Total}
	}
}

// create makes an empty log, whose key is reserved, and which must get an entry
// before the lock is freed.
func (s *shard) create(p *store.Log, id logID) *keyLog {
	// The key may be a string that its caller reuses.
	id.key = strings.Clone(id.key)
	log := newKeyLog(p, id)
	s.logs[id] = log
	log.queue = s.queue(log.window)
	log.queue.pushBack(log)
	return log
}

// forgetExpired forgets the logs whose entries have all left their windows. It takes the
// lock, and the time after it: an old time would not do for a log that
// was begun after the clock had stepped back.
func (s *shard) forgetExpired(clock func() int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := clock()
	for window, q := range s.queues {
		for q.front != nil && q.front.expires() <= now {
			s.forget(q.front)
		}
		if q.front == nil {
			delete(s.queues, window)
		}
	}
}

func (s *shard) forget(log *keyLog) {
	log.queue.remove(log)
	delete(s.logs, log.id)
	s.keys.release()
}

func (s *shard) queue(window int64) *expiryQueue {
	q := s.queues[window]
	if q == nil {
		q = &expiryQueue{}
		s.queues[window] = q
	}
	return q
}
