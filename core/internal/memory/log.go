package memory

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/streamlimit/streamlimit/core/internal/ring"
	"github.com/streamlimit/streamlimit/core/store"
)

// keyLog is the log of one policy and key, and its place in the queue of the logs with
// the same window. Times are in milliseconds.
type keyLog struct {
	id         logID
	window     int64 // the policy's longest window
	sliding    int64 // the longest of the windows that slide; 0 for none
	entries    ring.Log
	refunds    *refunds // of a refundable policy
	periods    *periods // of a policy with calendar limits
	queue      *expiryQueue
	prev, next *keyLog
}

// refunds has the refunds in a log, and their delays.
type refunds struct {
	given ring.Log // by the time of the refund

	// The longest time between a request and its refund, for refunds made in the stretch
	// of one window that has the newest entry, and for those in the stretch before.
	// Stretches are aligned. Each refund in the window is in one of them.
	lag, lagBefore int64
}

func newKeyLog(p *store.Log, id logID) *keyLog {
	log := &keyLog{id: id, window: p.Longest.Milliseconds(), sliding: p.Sliding.Milliseconds()}
	if len(p.Periods) > 0 {
		log.periods = &periods{used: make([]int64, len(p.Periods))}
	}
	if p.Refundable() || log.periods != nil {
		// A total that no other log of this key has had. A request is then not given back
		// twice after a reset.
		start := rand.Int64N(1 << 48)
		log.entries = ring.Start(start)
		log.refunds = &refunds{}
		if log.periods != nil {
			log.periods.start = start
		}
	}
	return log
}

// last returns the time of the newest entry, including refunds.
func (l *keyLog) last() int64 {
	last := l.entries.Last().Time
	if l.refunds != nil {
		last = max(last, l.refunds.given.Last().Time)
	}
	if l.periods != nil {
		last = max(last, l.periods.last)
	}
	return last
}

// expires returns the time when the newest entry leaves the longest window.
func (l *keyLog) expires() int64 { return l.last() + l.window }

// keyLogs are the logs that a decision counts: the policy's own log, and its logs from
// before its limits were changed.
type keyLogs []*keyLog

// usage returns the policy's limits with the units that the entries use. Waits are
// counted from clock, which can be behind the newest entry after a step back.
func (logs keyLogs) usage(p *store.Log, cost, clock int64, u *store.Usage) {
	*u = store.Usage{Allowed: true, Source: store.SourceMemory}
	leaves := int64(0) // when the first entry leaves each limit without room
	for i, limit := range p.Limits {
		used, first := logs.usedOf(p, limit, clock)
		u.Limits[i].Used = used
		if used > 0 {
			u.Limits[i].FreeIn = millis(first - clock)
		}
		if used+cost > limit.Max {
			u.Allowed = false
			leaves = max(leaves, first)
		}
	}
	if !u.Allowed {
		u.RetryAfter = millis(logs.fits(p, cost, leaves) - clock)
	}
	for _, l := range logs {
		last := l.last()
		if empty := l.empty(p); empty > max(clock, last) {
			u.ResetAfter = max(u.ResetAfter, millis(empty-clock))
		}
	}
}

// empty returns when the newest entry leaves the windows and the periods of p.
func (l *keyLog) empty(p *store.Log) int64 {
	last := l.last()
	at := last + min(p.Sliding.Milliseconds(), l.window)
	for _, period := range p.Periods {
		_, end := around(period, last)
		at = max(at, end)
	}
	return at
}

// usedOf returns the units that a limit counts at a time, and when the first of them
// leave.
func (logs keyLogs) usedOf(p *store.Log, limit store.Limit, at int64) (units, leaves int64) {
	if limit.Period == nil {
		return logs.used(limit.Window.Milliseconds(), at)
	}
	return logs[0].inPeriod(p, limit.Period, at) // there are no earlier logs
}

// used returns the units used in the window that ends at a time. It also returns the time
// when the first entry with some of them leaves the window.
func (logs keyLogs) used(window, at int64) (units, leaves int64) {
	for _, l := range logs {
		window := min(window, l.window) // no log holds more than its own window
		// Time never runs backward within a log, even if the clock does.
		used, first := l.used(max(at, l.last()) - window)
		if used > 0 && (units == 0 || first+window < leaves) {
			leaves = first + window
		}
		units += used
	}
	return units, leaves
}

// used returns the units used after the time cut, and the time of the first entry after
// it.
//
// A refund counts only if its request is surely later than cut, too. That holds if the
// refund is later than cut plus the longest delay of any refund in the window.
func (l *keyLog) used(cut int64) (units, first int64) {
	units, first = l.entries.Since(cut + 1)
	if l.refunds == nil {
		return units, first
	}
	given, _ := l.refunds.given.Since(cut + max(l.refunds.lag, l.refunds.lagBefore) + 1)
	if _, refund := l.refunds.given.Since(cut + 1); refund > 0 && (first == 0 || refund < first) {
		first = refund
	}
	return units - given, first
}

// fits returns a time from which cost fits every limit of p, and before which it does not
// fit. Without refunds it is the first such time.
func (logs keyLogs) fits(p *store.Log, cost, from int64) int64 {
	room := func(now int64) bool {
		for _, limit := range p.Limits {
			if used, _ := logs.usedOf(p, limit, now); used+cost > limit.Max {
				return false
			}
		}
		return true
	}
	low, high := from-1, int64(0)
	for _, l := range logs {
		high = max(high, l.expires())
	}
	for high-low > 1 {
		if room(from) {
			high = from
		} else {
			low = from
		}
		from = low + (high-low)/2
	}
	return high
}

// add records cost, and returns the time of its entry.
func (l *keyLog) add(p *store.Log, cost, clock int64) int64 {
	l.enterPeriods(p, clock)
	now := l.begin(clock)
	l.count(p, now, cost)
	l.entries.Add(now, cost, max(1, p.Slice.Milliseconds()))
	return now
}

// refund records that units of an entry were given back, unless it is too late.
func (l *keyLog) refund(p *store.Log, entry store.EntryID, units, clock int64) bool {
	now := max(clock, l.last())
	if l.refunds == nil || now-entry.Time > p.Grace.Milliseconds() || !l.has(entry) || !l.counts(p, entry.Time, now) {
		return false
	}
	l.enterPeriods(p, clock)
	l.begin(clock)
	l.count(p, entry.Time, -units)
	if l.periods != nil && now-entry.Time > l.sliding/2 {
		return true // too late for the limits that slide
	}
	l.refunds.lag = max(l.refunds.lag, now-entry.Time)
	l.refunds.given.Add(now, units, 1)
	return true
}

// begin prepares the log for a new entry, and returns the time of the entry.
func (l *keyLog) begin(clock int64) int64 {
	last := l.last()
	now := max(clock, last)
	// Entries are dropped only here, when the log's own time reaches now. Otherwise,
	// after the clock has stepped back, a request could be dropped and its refund not.
	cut := now - l.sliding + 1
	if l.periods != nil {
		cut = min(cut, l.entries.Last().Time) // the newest entry has the total
	}
	l.entries.DropBefore(cut)
	if l.refunds == nil || l.sliding == 0 {
		return now
	}
	l.refunds.given.DropBefore(now - l.sliding + 1)
	switch stretches := now/l.sliding - last/l.sliding; {
	case stretches > 1 || now-last >= l.sliding:
		l.refunds.lag, l.refunds.lagBefore = 0, 0
	case stretches == 1:
		l.refunds.lag, l.refunds.lagBefore = 0, l.refunds.lag
	}
	return now
}

// list returns up to most of the newest entries after the time cut, newest first.
func (l *keyLog) list(cut int64, most int) []store.Entry {
	var entries []store.Entry
	l.entries.Back(func(at, units int64) bool {
		if at > cut && len(entries) < most {
			entries = append(entries, store.Entry{Time: time.UnixMilli(at), Cost: units})
		}
		return at > cut && len(entries) < most
	})
	if l.refunds == nil {
		return entries
	}
	l.refunds.given.Back(func(at, units int64) bool {
		if at > cut {
			entries = append(entries, store.Entry{Time: time.UnixMilli(at), Refund: units})
		}
		return at > cut && len(entries) < 2*most
	})
	slices.SortStableFunc(entries, func(a, b store.Entry) int { return b.Time.Compare(a.Time) })
	return entries[:min(most, len(entries))]
}
