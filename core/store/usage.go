package store

import (
	"fmt"
	"time"
)

// Charge is one log, one key and a cost: what a [Store] decides on.
type Charge struct {
	Log  *Log
	Key  string
	Cost int64 // units, at least 1

	Token string // of the slot, for a log of [Slots]: see [Slotter]
}

// Usage is the state of a log as a store found it. It includes the request's own cost
// if the request was admitted.
type Usage struct {
	Allowed bool
	Source  Source

	// Cached reports whether this is a cached denial that still applies. Its numbers
	// leave out what others have added since the server decided. It does not mean that
	// the server would answer.
	Cached bool

	// RetryAfter is the time until the cost would fit; 0 if Allowed.
	RetryAfter time.Duration

	// ResetAfter is the time until the newest entry leaves the log's longest window;
	// 0 if there is no entry.
	ResetAfter time.Duration

	// Limits has an element for each limit of the log, in its order; the rest are zero.
	Limits [MaxLimits]LimitUsage

	// Entry identifies, for Settle, what was taken on a refundable log.
	Entry EntryID
}

// LimitUsage is the use of one limit.
type LimitUsage struct {
	// Used is the number of units admitted in the window that ends now.
	Used int64

	// FreeIn is the time until the oldest entry leaves the window. Its units come free
	// then, unless they were given back. FreeIn is 0 when nothing is used. It is exact,
	// except after an allowed request that left units over. Then it may be any value
	// from the exact one up to the window, when that request's own entry leaves. Nobody
	// waits for it then, so a store need not compute it.
	FreeIn time.Duration
}

// Source is where a decision came from.
type Source byte

// The sources of decisions.
const (
	SourceMemory   Source = iota + 1 // this process's memory
	SourceRedis                      // Redis
	SourceFallback                   // this process's memory, since the store did not answer
	SourceNone                       // no log was used
	SourceLease                      // units that this process took ahead: see [Log.Lease]
)

// String returns "memory", "redis", "fallback", "none" or "lease".
func (s Source) String() string {
	switch s {
	case SourceMemory:
		return "memory"
	case SourceRedis:
		return "redis"
	case SourceFallback:
		return "fallback"
	case SourceNone:
		return "none"
	case SourceLease:
		return "lease"
	}
	return fmt.Sprintf("Source(%d)", byte(s))
}

// MarshalText returns what String returns, as for JSON.
func (s Source) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// EntryID names an entry of a log in its store. The zero EntryID names none.
type EntryID struct {
	Time  int64 // by the store's clock, milliseconds
	Total int64 // the log's running total of units, up to and including the entry
}

// Entry is the entry of one request in a log, or of several requests that the store
// keeps together. Those are the requests of one slice of a coarse log, or in memory of
// one millisecond. A refund is an entry of its own.
type Entry struct {
	Time   time.Time
	Cost   int64 // units taken
	Refund int64 // units given back
}
