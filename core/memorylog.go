package core

import "github.com/streamlimit/streamlimit/core/internal/ring"

// logID names a log in memory.
type logID struct{ log, key string }

// memoryLog is the log of one policy and key, and its place in the queue of
// the logs with the same window.
type memoryLog struct {
	id         logID
	window     int64 // the policy's longest, milliseconds
	entries    ring.Log
	prev, next *memoryLog
}

// expires is when the newest entry leaves the longest window.
func (l *memoryLog) expires() int64 { return l.entries.Last().Time + l.window }

// first answers the request for a log that the shard does not have, unless it
// would be one key too many.
func (s *shard) first(p *Policy, id logID, cost, now int64, take bool) (_ Usage, ok bool) {
	u := Usage{Allowed: true, Source: SourceMemory}
	if !take {
		return u, true
	}
	if s.keys.Add(1) > s.maxKeys {
		s.keys.Add(-1)
		return Usage{}, false
	}
	log := &memoryLog{id: cloneID(id), window: p.longest.Milliseconds()}
	log.entries.Add(now, cost)
	s.logs[log.id] = log
	s.queue(log.window).pushBack(log)
	u.admit(p, cost, 0)
	return u, true
}

// forgetExpired forgets the logs whose entries have all left their windows.
func (s *shard) forgetExpired(now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
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
	s.queue(log.window).remove(log)
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

// expiryQueue is a list of logs of one window by the time of their newest
// entry, so that its front is the first to expire.
type expiryQueue struct{ front, back *memoryLog }

func (q *expiryQueue) pushBack(l *memoryLog) {
	l.prev, l.next = q.back, nil
	if q.back != nil {
		q.back.next = l
	} else {
		q.front = l
	}
	q.back = l
}

func (q *expiryQueue) remove(l *memoryLog) {
	if l.prev != nil {
		l.prev.next = l.next
	} else {
		q.front = l.next
	}
	if l.next != nil {
		l.next.prev = l.prev
	} else {
		q.back = l.prev
	}
	l.prev, l.next = nil, nil
}

func (q *expiryQueue) moveToBack(l *memoryLog) {
	if q.back != l {
		q.remove(l)
		q.pushBack(l)
	}
}
