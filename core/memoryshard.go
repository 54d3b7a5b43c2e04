package core

import (
	"strings"
	"sync"
	"sync/atomic"
)

// logID names a log in memory.
type logID struct{ log, key string }

// shard is some of the logs of a Memory. Its methods need the lock, unless they
// take it.
type shard struct {
	mu      sync.Mutex
	keys    *atomic.Int64 // of all shards together,
	maxKeys int64         // and the most they may have
	logs    map[logID]*memoryLog
	queues  map[int64]*expiryQueue // by window, in milliseconds
	_       [24]byte               // keeps shards on cache lines of their own
}

// take decides on one log, unless it would be one key too many. It takes the
// lock, and the time after it: an old time would not do for a log that was
// forgotten meanwhile, whose newest entry says how late it is.
func (s *shard) take(p *Policy, id logID, cost int64, now func() int64, u *Usage) (ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clock := now()
	log := s.look(p, id, cost, clock, u)
	if !u.Allowed {
		return true
	}
	if log == nil {
		if !s.room() {
			return false
		}
		log = s.create(p, id)
	}
	s.admit(p, log, cost, clock, u)
	return true
}

// look finds what the log has room for; the log is nil when there is none.
func (s *shard) look(p *Policy, id logID, cost, clock int64, u *Usage) *memoryLog {
	log := s.logs[id]
	if log == nil {
		*u = Usage{Allowed: true, Source: SourceMemory}
	} else {
		log.usage(p, cost, clock, u)
	}
	return log
}

// admit adds cost to the log and to what was found in it.
func (s *shard) admit(p *Policy, log *memoryLog, cost, clock int64, u *Usage) {
	now := log.add(p, cost, clock)
	log.queue.moveToBack(log)
	ahead := millis(now - clock) // of a clock that stepped back
	for i, l := range p.limits {
		u.Limits[i].Used += cost
		if u.Limits[i].FreeIn == 0 {
			u.Limits[i].FreeIn = l.Window + ahead
		}
	}
	u.ResetAfter = p.longest + ahead
	if p.refundable {
		u.Entry = EntryID{Time: now, Total: log.entries.Last().Total}
	}
}

// room is whether there may be one more log, which is then counted.
func (s *shard) room() bool {
	if s.keys.Add(1) > s.maxKeys {
		s.keys.Add(-1)
		return false
	}
	return true
}

// create makes an empty log, which must get an entry before the lock is freed.
func (s *shard) create(p *Policy, id logID) *memoryLog {
	// The key may be a string that its caller reuses.
	id.key = strings.Clone(id.key)
	log := newMemoryLog(p, id)
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

func (s *shard) forget(log *memoryLog) {
	log.queue.remove(log)
	delete(s.logs, log.id)
	s.keys.Add(-1)
}

func (s *shard) queue(window int64) *expiryQueue {
	q := s.queues[window]
	if q == nil {
		q = &expiryQueue{}
		s.queues[window] = q
	}
	return q
}
