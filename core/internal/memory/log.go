package memory

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/streamlimit/streamlimit/core/internal/ring"
	"github.com/streamlimit/streamlimit/core/store"
)

// keyLog is the log of one policy and key, and its place in the queue of
// the logs with the same window. Times are milliseconds.
type keyLog struct {
	id         logID
	window     int64 // the policy's longest
	entries    ring.Log
	refunds    *refunds // of a refundable policy
	queue      *expiryQueue
	prev, next *keyLog
}

// refunds is what was given back in a log, and how late.
type refunds struct {
	given ring.Log // at the time of the refund

	// The longest time between a request and its refund, among the refunds made
	// in the same stretch of one window as the newest entry, and in the one
	// before. Stretches are aligned. Every refund in the window is in one of them.
	lag, lagBefore int64
}

func newKeyLog(p *store.Log, id logID) *keyLog {
	log := &keyLog{id: id, window: p.Longest.Milliseconds()}
	if p.Refundable() {
		// A total that no other log of the same key has had, so that nothing is
		// given back twice when a log is reset.
		log.entries = ring.Start(rand.Int64N(1 << 48))
		log.refunds = &refunds{}
	}
	return log
}

// last is the time of the newest entry, refunds included.
func (l *keyLog) last() int64 {
	last := l.entries.Last().Time
	if l.refunds != nil {
		last = max(last, l.refunds.given.Last().Time)
	}
	return last
}

// expires is when the newest entry leaves the longest window.
func (l *keyLog) expires() int64 { return l.last() + l.window }

// keyLogs are the logs that a decision counts: the policy's own, and those from
// before its limits were changed.
type keyLogs []*keyLog

// usage is what the entries leave of the policy's limits. Waits are counted
// from clock, which may have stepped back behind the newest entry.
func (logs keyLogs) usage(p *store.Log, cost, clock int64, u *store.Usage) {
	*u = store.Usage{Allowed: true, Source: store.SourceMemory}
	leaves := int64(0) // the first entry, of each limit without room
	for i, limit := range p.Limits {
		used, first := logs.used(limit.Window.Milliseconds(), clock)
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
		if window := min(p.Longest.Milliseconds(), l.window); last+window > max(clock, last) {
			u.ResetAfter = max(u.ResetAfter, millis(last+window-clock))
		}
	}
}

// used returns the units used in the window that ends at a time, and when the first
// entry with some of them leaves it.
func (logs keyLogs) used(window, at int64) (units, leaves int64) {
	for _, l := range logs {
		window := min(window, l.window) // no log holds more than its own
		// Time never runs backwards within a log, whatever the clock does.
		used, first := l.used(max(at, l.last()) - window)
		if used > 0 && (units == 0 || first+window < leaves) {
			leaves = first + window
		}
		units += used
	}
	return units, leaves
}

// used is the units used after the time cut, and the time of the first entry
// after it.
//
// Of what was given back, only that counts whose request is surely later than
// cut too: that is, if it was given back later than cut plus the longest time
// that any refund in the window has taken.
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

// fits is a time with which cost fits every limit of p, from one on before which
// it does not: the first one, if nothing was given back.
func (logs keyLogs) fits(p *store.Log, cost, from int64) int64 {
	room := func(now int64) bool {
		for _, limit := range p.Limits {
			if used, _ := logs.used(limit.Window.Milliseconds(), now); used+cost > limit.Max {
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
	now := l.begin(clock)
	l.entries.Add(now, cost, max(1, p.Slice.Milliseconds()))
	return now
}

// refund records that units of an entry were given back, unless it is too late.
func (l *keyLog) refund(p *store.Log, entry store.EntryID, units, clock int64) bool {
	now := max(clock, l.last())
	if l.refunds == nil || now-entry.Time > p.Grace.Milliseconds() || !l.entries.Has(entry.Time, entry.Total) {
		return false
	}
	l.begin(clock)
	l.refunds.lag = max(l.refunds.lag, now-entry.Time)
	l.refunds.given.Add(now, units, 1)
	return true
}

// begin makes the log ready for a new entry, whose time it returns.
func (l *keyLog) begin(clock int64) int64 {
	last := l.last()
	now := max(clock, last)
	// Only here, where the log's own time gets to now: else, after the clock has
	// stepped back, a request could be gone and its refund not.
	l.entries.DropBefore(now - l.window + 1)
	if l.refunds == nil {
		return now
	}
	l.refunds.given.DropBefore(now - l.window + 1)
	switch stretches := now/l.window - last/l.window; {
	case stretches > 1 || now-last >= l.window:
		l.refunds.lag, l.refunds.lagBefore = 0, 0
	case stretches == 1:
		l.refunds.lag, l.refunds.lagBefore = 0, l.refunds.lag
	}
	return now
}

// list is up to most of the newest entries after the time cut, newest first.
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
