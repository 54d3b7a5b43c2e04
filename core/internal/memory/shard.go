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
	slots  map[logID]*slots
	_      [24]byte // keeps shards on cache lines of their own
}

// quota counts the keys of all shards together. It is never above most, not even for a
// moment: that would reject keys that there is room for.
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

// release subtracts one key.
func (q *quota) release() { q.used.Add(-1) }

// take decides on one log, unless the log would be one key too many. It takes the lock,
// and reads the time after it. An earlier time would be wrong for a log that was deleted
// in between, since its newest entry had the latest time.
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

// charge adds units to a log, even above a limit, unless the log would be one key too
// many. It takes the lock and the time like take.
func (s *shard) charge(p *store.Log, id logID, units int64, now func() int64) (ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.record(p, id, s.logs[id], units, now(), &store.Usage{})
}

// refund gives back units of an entry. It takes the lock and the time like take.
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

// record admits cost to the log, or to a new log if it is nil, unless a new log would be
// one key too many.
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

// look returns the state of the log and of the policy's earlier logs. The log is nil if
// there is none.
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

// admit adds cost to the log, and to the state from look.
func (s *shard) admit(p *store.Log, log *keyLog, cost, clock int64, u *store.Usage) {
	now := log.add(p, cost, clock)
	log.queue.moveToBack(log)
	ahead := millis(now - clock) // nonzero after the clock stepped back
	for i, l := range p.Limits {
		u.Limits[i].Used += cost
		if u.Limits[i].FreeIn != 0 {
			continue
		}
		if l.Period == nil {
			u.Limits[i].FreeIn = l.Window + ahead
		} else {
			_, end := around(l.Period, now)
			u.Limits[i].FreeIn = millis(end - clock)
		}
	}
	u.ResetAfter = p.Longest + ahead
	if len(p.Periods) > 0 {
		u.ResetAfter = millis(log.empty(p) - clock)
	}
	if p.Refundable() {
		u.Entry = store.EntryID{Time: now, Total: log.entries.Last().Total}
	}
}

// create makes an empty log. Its key is reserved. The caller must add an entry before it
// releases the lock.
func (s *shard) create(p *store.Log, id logID) *keyLog {
	// The caller may reuse the memory of the key.
	id.key = strings.Clone(id.key)
	log := newKeyLog(p, id)
	s.logs[id] = log
	log.queue = s.queue(log.window)
	log.queue.pushBack(log)
	return log
}

// forgetExpired deletes the logs whose entries have all left their windows. It takes the
// lock, and reads the time after it. An earlier time would be wrong for a log that was
// started after the clock stepped back.
func (s *shard) forgetExpired(clock func() int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := clock()
	s.expireSlots(now)
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
