package redisstream

import "sync"

const (
	// maxTogether bounds the decisions of a batch, and maxLogs their logs. The
	// server runs nothing else meanwhile, for less than a millisecond. One hot log
	// is a fifth faster with 128 than with 64.
	maxTogether = 128
	maxLogs     = 64

	// maxOfOneLog bounds the decisions on one log in a batch while others wait.
	maxOfOneLog = 32
)

// queue holds those who wait for one server: in order of
// arrival, and in a line for each log. Lines take turns.
type queue struct {
	size        int
	first, last *waiter // by arrival
	lines       map[string]*line
	turn, back  *line // the line whose turn it is, and the last in the round
}

// line holds the waiters that wait for one log.
type line struct {
	log         string
	place       string // of the log: see topology
	size        int
	first, last *waiter
	prev, next  *line // in the round
	round       uint64
}

var spareLines = sync.Pool{New: func() any { return new(line) }}

// push appends a waiter.
func (q *queue) push(t *waiter, place string) {
	log := t.charges[0].log
	l := q.lines[log]
	if l == nil {
		l = spareLines.Get().(*line)
		l.log, l.place = log, place
		if q.lines == nil {
			q.lines = make(map[string]*line)
		}
		q.lines[log] = l
		q.enter(l)
	}
	t.line = l
	t.before, t.after = q.last, nil
	if q.last == nil {
		q.first = t
	} else {
		q.last.after = t
	}
	q.last = t
	t.ahead, t.behind = l.last, nil
	if l.last == nil {
		l.first = t
	} else {
		l.last.behind = t
	}
	l.last = t
	l.size++
	q.size++
}

// remove takes a waiter out, wherever it stands.
func (q *queue) remove(t *waiter) {
	l := t.line
	if t.before == nil {
		q.first = t.after
	} else {
		t.before.after = t.after
	}
	if t.after == nil {
		q.last = t.before
	} else {
		t.after.before = t.before
	}
	if t.ahead == nil {
		l.first = t.behind
	} else {
		t.ahead.behind = t.behind
	}
	if t.behind == nil {
		l.last = t.ahead
	} else {
		t.behind.ahead = t.ahead
	}
	t.line, t.before, t.after, t.ahead, t.behind = nil, nil, nil, nil, nil
	q.size--
	if l.size--; l.size == 0 {
		q.exit(l)
		delete(q.lines, l.log)
		*l = line{}
		spareLines.Put(l)
	}
}

// enter puts a line at the end of the round.
func (q *queue) enter(l *line) {
	l.prev, l.next = q.back, nil
	if q.back == nil {
		q.turn = l
	} else {
		q.back.next = l
	}
	q.back = l
}

func (q *queue) exit(l *line) {
	if l.prev == nil {
		q.turn = l.next
	} else {
		l.prev.next = l.next
	}
	if l.next == nil {
		q.back = l.prev
	} else {
		l.next.prev = l.prev
	}
	l.prev, l.next = nil, nil
}

// take removes the waiters of the next batch. They belong to one place, and a
// waiter with a script of its own is a batch alone. Lines take turns, so that a hot
// log does not starve the others; round is a number that no call has used before.
func (q *queue) take(round uint64, into []*waiter) []*waiter {
	logs := 0
	for q.turn != nil && len(into) < maxTogether && logs < maxLogs {
		l := q.turn
		if l.round == round || len(into) > 0 && l.place != into[0].place {
			break
		}
		l.round = round
		logs++
		share := maxTogether
		if len(q.lines) > 1 {
			share = maxOfOneLog
		}
		for share = min(share, maxTogether-len(into)); share > 0; share-- {
			t := l.first
			own, last := t.apartFromOthers(), l.size == 1
			if own {
				if len(into) > 0 {
					return into
				}
				share = 1
			}
			q.remove(t)
			into = append(into, t)
			if own {
				return into
			}
			if last {
				l = nil // it is spare now
				break
			}
		}
		if l != nil {
			q.exit(l)
			q.enter(l)
		}
	}
	return into
}
