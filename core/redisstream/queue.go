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

// queue holds those who wait for one server: in order of arrival, and in a line for
// each log. Lines take turns.
type queue struct {
	list  // by arrival
	size  int
	apart int // those whose call shares its round trip with nothing else
	lines map[string]*line
	turn  *line // whose turn it is
	back  *line // the last in the round
}

// line holds the waiters for one log.
type line struct {
	list
	log        string
	place      string // of the log: see topology
	size       int
	prev, next *line // in the round
	round      uint64
}

var spareLines = sync.Pool{New: func() any { return new(line) }}

// list is a doubly linked list of waiters. Each waiter is in two: in its queue's and
// in its line's.
type list struct{ first, last *waiter }

// which names the two lists that a waiter is in.
type which int

const (
	byArrival which = iota
	ofItsLine
)

// link holds a waiter's neighbors in a list.
type link struct{ before, after *waiter }

func (l *list) append(t *waiter, w which) {
	t.links[w] = link{before: l.last}
	if l.last == nil {
		l.first = t
	} else {
		l.last.links[w].after = t
	}
	l.last = t
}

func (l *list) prepend(t *waiter, w which) {
	t.links[w] = link{after: l.first}
	if l.first == nil {
		l.last = t
	} else {
		l.first.links[w].before = t
	}
	l.first = t
}

func (l *list) unlink(t *waiter, w which) {
	at := t.links[w]
	if at.before == nil {
		l.first = at.after
	} else {
		at.before.links[w].after = at.after
	}
	if at.after == nil {
		l.last = at.before
	} else {
		at.after.links[w].before = at.before
	}
	t.links[w] = link{}
}

// push appends a waiter.
func (q *queue) push(t *waiter) {
	l := q.join(t)
	q.append(t, byArrival)
	l.append(t, ofItsLine)
}

// putBack puts a waiter in front of all others, since it has waited and was not served.
func (q *queue) putBack(t *waiter) {
	l := q.join(t)
	q.prepend(t, byArrival)
	l.prepend(t, ofItsLine)
}

// join returns the line for a waiter, and counts it.
func (q *queue) join(t *waiter) *line {
	log := t.charges[0].log
	l := q.lines[log]
	if l == nil {
		l = spareLines.Get().(*line)
		l.log, l.place = log, t.place
		if q.lines == nil {
			q.lines = make(map[string]*line)
		}
		q.lines[log] = l
		q.enter(l)
	}
	t.line = l
	l.size++
	q.size++
	if t.apartFromOthers() {
		q.apart++
	}
	return l
}

// remove takes a waiter out, wherever it stands.
func (q *queue) remove(t *waiter) {
	l := t.line
	q.unlink(t, byArrival)
	l.unlink(t, ofItsLine)
	t.line = nil
	if t.apartFromOthers() {
		q.apart--
	}
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
