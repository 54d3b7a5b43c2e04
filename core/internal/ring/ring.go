// Package ring holds one log in memory: admitted units by the millisecond, with
// a running total, in a ring that grows and shrinks with what it holds.
package ring

import "sort"

// Entry is what was admitted in one millisecond.
type Entry struct {
	Time  int64 // milliseconds
	Total int64 // units admitted in the log up to and including this entry
}

// Log is a sequence of entries of growing time and total. The zero Log is
// empty. It is not safe for concurrent use.
type Log struct {
	buf  []Entry
	head int
	n    int
	base int64 // Total of the last entry that was dropped
}

// minCap is the first size of the buffer; most clients send few requests.
const minCap = 2

// Len is how many entries the log has.
func (l *Log) Len() int { return l.n }

// Last is the newest entry; the zero Entry when the log is empty.
func (l *Log) Last() Entry {
	if l.n == 0 {
		return Entry{}
	}
	return l.at(l.n - 1)
}

func (l *Log) at(i int) Entry { return l.buf[(l.head+i)&(len(l.buf)-1)] }

// total is the units admitted up to and including entry i; i may be -1.
func (l *Log) total(i int) int64 {
	if i < 0 {
		return l.base
	}
	return l.at(i).Total
}

// Add records units at time, which must not be before the last entry's.
// What is admitted in one millisecond leaves in one too, so it is one entry.
func (l *Log) Add(time, units int64) {
	total := l.total(l.n-1) + units
	if l.n > 0 {
		if last := (l.head + l.n - 1) & (len(l.buf) - 1); l.buf[last].Time == time {
			l.buf[last].Total = total
			return
		}
	}
	if l.n == len(l.buf) {
		l.resize(max(minCap, 2*len(l.buf)))
	}
	l.buf[(l.head+l.n)&(len(l.buf)-1)] = Entry{Time: time, Total: total}
	l.n++
}

// DropBefore forgets the entries before time.
func (l *Log) DropBefore(time int64) {
	for l.n > 0 && l.buf[l.head].Time < time {
		l.base = l.buf[l.head].Total
		l.head = (l.head + 1) & (len(l.buf) - 1)
		l.n--
	}
	size := len(l.buf)
	for l.n < size/4 && size > minCap {
		size /= 2
	}
	if size < len(l.buf) {
		l.resize(size)
	}
}

// Since is the units admitted at time or later, and the time of the first of
// them; 0 and 0 when there are none.
func (l *Log) Since(time int64) (units, first int64) {
	i := 0
	if l.n > 0 && l.buf[l.head].Time < time {
		i = sort.Search(l.n, func(i int) bool { return l.at(i).Time >= time })
	}
	if i == l.n {
		return 0, 0
	}
	return l.total(l.n-1) - l.total(i-1), l.at(i).Time
}

// Leaving is the time of the entry with which, counted from the first one at
// from or later, at least units have left; 0 when there are fewer.
func (l *Log) Leaving(from, units int64) int64 {
	i := sort.Search(l.n, func(i int) bool { return l.at(i).Time >= from })
	need := l.total(i-1) + units
	j := i + sort.Search(l.n-i, func(j int) bool { return l.at(i+j).Total >= need })
	if j == l.n {
		return 0
	}
	return l.at(j).Time
}

// resize moves the entries to a buffer of size, a power of two.
func (l *Log) resize(size int) {
	buf := make([]Entry, size)
	for i := range l.n {
		buf[i] = l.at(i)
	}
	l.buf, l.head = buf, 0
}
