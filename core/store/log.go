package store

import (
	"slices"
	"time"
)

// The bounds of a [Limit]. Windows are whole milliseconds because that is the
// resolution of Redis stream IDs. MaxUnits keeps every sum in the Redis scripts far
// below 2^53, up to which Lua's numbers are exact.
const (
	MinWindow = time.Millisecond
	MaxWindow = 30 * 24 * time.Hour
	MaxUnits  = int64(1_000_000_000_000)
)

const (
	// MaxLimits is the maximum number of limits of a log.
	MaxLimits = 8

	// MaxEarlier is the maximum number of earlier logs. A decision reads each of them.
	MaxEarlier = 8
)

// Layout is the way in which a log is written. See the documentation of package core.
type Layout byte

const (
	// Counted logs hold one entry a request: one limit, every request costs 1.
	Counted Layout = 'c'
	// Summed logs carry a running total of cost: several limits, or costs.
	Summed Layout = 's'
	// Refunded logs are summed logs that also carry what was given back.
	Refunded Layout = 'r'
	// Calendar logs carry a running total of cost, what was given back, and the units
	// used in each calendar period.
	Calendar Layout = 'p'
	// Slots are no log but the requests in flight: see [Slotter].
	Slots Layout = 'i'
)

// Limit admits at most Max units in any interval of length Window, or in each calendar
// period.
type Limit struct {
	Max    int64         // from 1 to MaxUnits
	Window time.Duration // whole milliseconds, from MinWindow to MaxWindow; 0 for a calendar limit
	Period Period        // of a calendar limit; else nil
}

// Period is a kind of calendar period, such as the months of a time zone. The values are
// comparable.
type Period interface {
	// Around returns the period around a time: from start until before end. Both are
	// whole milliseconds.
	Around(t time.Time) (start, end time.Time)
}

// Bounds returns the period that a store has counted, from the time by the store's clock
// and [LimitUsage.FreeIn]. The time may be known roughly, since half of the way to the end
// of the period surely lies in it. For a limit that slides it returns the start of the
// window, and the zero Time.
func (l Limit) Bounds(now time.Time, freeIn time.Duration) (since, until time.Time) {
	if l.Period == nil {
		return now.Add(-l.Window), time.Time{}
	}
	return l.Period.Around(now.Add(freeIn / 2))
}

// Log is a policy as a store sees it: how its logs are written, and the limits that
// they are checked against. Each key has its own log. A Log never changes, and each
// policy has exactly one: calls with the same *Log use the same limits. Several Logs
// with different limits can share a Name, and so the logs.
//
// Package core makes a Log from a policy.
type Log struct {
	// Name names the logs in a store: the policy's name with the layout and the longest
	// window ("api:c1m"), so that logs of different shape never mix. The letter of the
	// layout is the version of the log's format: see CONTRIBUTING.md.
	Name string

	Policy  string // the policy's name
	Layout  Layout
	Limits  []Limit       // from 1 to MaxLimits, each with a window of its own
	Longest time.Duration // the longest window; no limit counts an entry older than that

	// Sliding is the longest window of the limits that slide, or 0 if there is none. It
	// is Longest if there is no calendar limit. A calendar period is shorter than Longest.
	Sliding time.Duration

	// Periods are those of the calendar limits. Logs of one name have the same periods in
	// the same order. The layout is Calendar then, and there are no earlier logs.
	Periods []Period

	// VariableCost reports whether requests may cost more than 1 unit.
	VariableCost bool

	// Grace is the time after a request in which its units can be given back; 0 for none.
	// The layout is Refunded then.
	Grace time.Duration

	// Lease is how long a process may hand out units that it took ahead of requests. It
	// is 0 if the log has no leases. The windows of Limits, and Longest, are longer than
	// the policy's by that time: a unit can be used that much later than it was taken.
	// The layout is Refunded, but Grace is 0.
	Lease time.Duration

	// Unleased is the policy's log for stores without leases, with the policy's own
	// windows. It is nil if Lease is 0.
	Unleased *Log

	// Slice is the time within which requests share an entry, whole milliseconds. It is
	// 0 if each request has its own.
	Slice time.Duration

	// Shadow reports whether a denial does not count: see Store.TakeAll.
	Shadow bool

	// Earlier are the logs that a decision counts besides this one, up to MaxEarlier.
	// It is empty unless limits were changed recently. Earlier logs have other names.
	// Their own Earlier does not matter. A decision reads them and writes its own log
	// only. An entry of an earlier log counts for no longer than that log's longest
	// window.
	Earlier []*Log
}

// After returns the log as it is after a change of limits: decisions on it also count
// what the earlier logs still hold. The given logs replace the earlier ones of l. Logs
// of one name count once, and those with the log's own name not at all.
//
// So no window as long as the shortest in force, before and after the change, has more
// than the largest Max in force. A longer window is exact from one window after the
// change on.
func (l *Log) After(earlier ...*Log) *Log {
	if l.Layout == Slots {
		return l // requests in flight and units in a window do not add up
	}
	var logs []*Log
	for _, e := range earlier {
		if e.Layout != Slots && e.Name != l.Name && !slices.ContainsFunc(logs, e.SameName) {
			logs = append(logs, e)
		}
	}
	if len(logs) == 0 && len(l.Earlier) == 0 {
		return l
	}
	changed := *l
	changed.Earlier = logs
	if l.Unleased != nil {
		own := make([]*Log, len(logs))
		for i, e := range logs {
			own[i] = e.WithoutLease()
		}
		changed.Unleased = l.Unleased.After(own...)
	}
	return &changed
}

// WithoutLease returns the log that a store without leases uses.
func (l *Log) WithoutLease() *Log {
	if l.Unleased != nil {
		return l.Unleased
	}
	return l
}

// SameName reports whether l and o have the same logs.
func (l *Log) SameName(o *Log) bool { return l.Name == o.Name }

// Refundable reports whether units can be given back.
func (l *Log) Refundable() bool { return l.Grace > 0 }

// String returns the log's name.
func (l *Log) String() string { return l.Name }
