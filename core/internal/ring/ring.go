// Package ring holds one log in memory: admitted units by the millisecond, with a running
// total. The ring grows and shrinks with its entries.
package ring

// Entry has the units admitted in one millisecond.
type Entry struct {
	Time  int64 // milliseconds
	Total int64 // units admitted in the log up to and including this entry
}

// Log is a sequence of entries of growing time and total. The zero Log is
// empty, and starts to count at 0. It is not safe for concurrent use.
type Log struct {
	buf  []Entry
	head int
	n    int
	base int64 // Total of the last entry that was dropped
}

// minCap is the first size of the buffer. Most clients send few requests.
const minCap = 2

// Start returns an empty log whose total starts at base.
func Start(base int64) Log { return Log{base: base} }

// Len returns the number of entries.
func (l *Log) Len() int { return l.n }

// Last returns the newest entry, or the zero Entry of an empty log.
func (l *Log) Last() Entry {
	if l.n == 0 {
		return Entry{}
	}
	return l.at(l.n - 1)
}

func (l *Log) at(i int) Entry { return l.buf[(l.head+i)&(len(l.buf)-1)] }

// total returns the units admitted up to and including entry i, which may be -1.
func (l *Log) total(i int) int64 {
	if i < 0 {
		return l.base
	}
	return l.at(i).Total
}

// Add records units at time, which must not be before the last entry's. Entries
// of one slice of time, such as of one millisecond for a slice of 1, are one
// entry, with the time of the newest.
func (l *Log) Add(time, units, slice int64) {
	total := l.total(l.n-1) + units
	if l.n > 0 {
		last := &l.buf[(l.head+l.n-1)&(len(l.buf)-1)]
		if last.Time/slice == time/slice {
			*last = Entry{Time: time, Total: total}
			return
		}
	}
	if l.n == len(l.buf) {
		l.resize(max(minCap, 2*len(l.buf)))
	}
	l.buf[(l.head+l.n)&(len(l.buf)-1)] = Entry{Time: time, Total: total}
	l.n++
}

// Has reports whether the units up to total were recorded at time.
func (l *Log) Has(time, total int64) bool {
	i := l.first(time)
	return i < l.n && l.at(i).Time == time && l.total(i-1) < total && total <= l.at(i).Total
}

// Back calls each with the time and the units of the entries, newest first, until each
// returns false.
func (l *Log) Back(each func(time, units int64) bool) {
	for i := l.n - 1; i >= 0; i-- {
		if e := l.at(i); !each(e.Time, e.Total-l.total(i-1)) {
			return
		}
	}
}

// DropBefore removes the entries before time.
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

// Since returns the units admitted at time or later, and the time of the first of them.
// It returns 0 and 0 if there are none.
func (l *Log) Since(time int64) (units, first int64) {
	i := l.first(time)
	if i == l.n {
		return 0, 0
	}
	return l.total(l.n-1) - l.total(i-1), l.at(i).Time
}

// first returns the index of the first entry at time or later, or n. The entry is usually
// near the head, so the search starts there and doubles its distance.
func (l *Log) first(time int64) int {
	low, high := 0, 0 // all entries before low are too early
	for step := 1; high < l.n && l.at(high).Time < time; step *= 2 {
		low, high = high+1, high+step
	}
	high = min(high, l.n)
	for low < high {
		middle := (low + high) / 2
		if l.at(middle).Time < time {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// resize moves the entries to a buffer of size, a power of two.
func (l *Log) resize(size int) {
	buf := make([]Entry, size)
	for i := range l.n {
		buf[i] = l.at(i)
	}
	l.buf, l.head = buf, 0
}
