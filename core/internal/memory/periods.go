package memory

import (
	"slices"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

// periods is what a log with calendar limits counts besides its entries.
type periods struct {
	start int64   // the log's total before its first entry
	last  int64   // when used was right
	used  []int64 // units in the period around that time, of each period of the log
}

// around returns a period in milliseconds.
func around(p store.Period, at int64) (start, end int64) {
	from, until := p.Around(time.UnixMilli(at))
	return from.UnixMilli(), until.UnixMilli()
}

// inPeriod returns the units used in the period around a time, and when it ends.
func (l *keyLog) inPeriod(p *store.Log, period store.Period, at int64) (units, end int64) {
	start, end := around(period, max(at, l.periods.last))
	if l.periods.last < start {
		return 0, end
	}
	return l.periods.used[slices.Index(p.Periods, period)], end
}

// enterPeriods begins the periods around the time of a new entry.
func (l *keyLog) enterPeriods(p *store.Log, clock int64) {
	if l.periods == nil {
		return
	}
	now := max(clock, l.periods.last)
	for i, period := range p.Periods {
		if start, _ := around(period, now); l.periods.last < start {
			l.periods.used[i] = 0
		}
	}
	l.periods.last = now
}

// count counts the units of a request of a time, which are below 0 if they are given back,
// in the periods that have the request.
func (l *keyLog) count(p *store.Log, request, units int64) {
	if l.periods == nil {
		return
	}
	for i, period := range p.Periods {
		if start, _ := around(period, l.periods.last); request >= start {
			l.periods.used[i] = max(0, l.periods.used[i]+units)
		}
	}
}

// counts reports whether a refund at a time still counts for a limit. In a log without
// calendar limits the grace says that.
func (l *keyLog) counts(p *store.Log, request, now int64) bool {
	return l.periods == nil || now-request <= l.sliding/2 || slices.ContainsFunc(p.Periods, func(period store.Period) bool {
		start, _ := around(period, now)
		return request >= start
	})
}

// has reports whether an entry is one of the log. One with calendar limits has counted
// entries that it does not keep.
func (l *keyLog) has(entry store.EntryID) bool {
	if l.periods == nil {
		return l.entries.Has(entry.Time, entry.Total)
	}
	return entry.Total > l.periods.start && entry.Total <= l.entries.Last().Total
}
