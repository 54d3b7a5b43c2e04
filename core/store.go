package core

import (
	"context"
	"time"
)

// Store keeps the logs and decides on them. Package core has one that keeps
// them in this process's memory, [NewMemory]; package redisstream has one that
// keeps them in Redis. A store must pass the suite of package storetest.
//
// All methods may be called concurrently. A [Limiter] validates what it hands
// to a store: the policy is not nil, the key is not empty and of bounded
// length, and the cost fits every limit of the policy.
type Store interface {
	// Take admits cost units on the log of p and key when every limit of p has
	// room for all of them, and changes nothing otherwise. The check and the
	// entry are one step: of concurrent calls no two see the same room.
	//
	// After an error the units may have been taken or not; they are never
	// taken twice. An error other than those of this package says that the store
	// did not answer.
	Take(ctx context.Context, p *Policy, key string, cost int64) (Usage, error)

	// TakeAll is Take for several logs, no two of them the same, all or nothing:
	// when one has no room, nothing is taken from any, and each Usage is what
	// the log has without the request. Logs of a policy in shadow mode don't
	// hold up the others.
	//
	// A store that can't do this in one step gives back what it took in vain,
	// and refuses policies that are not refundable with an [ErrCrossSlot].
	TakeAll(ctx context.Context, asks []Charge) ([]Usage, error)

	// Peek is what Take would find for the same cost, and takes nothing.
	Peek(ctx context.Context, p *Policy, key string, cost int64) (Usage, error)

	// Settle corrects what Take took for a policy that is refundable: units are
	// given back for a correction below 0, and charged above, whether they fit
	// or not. Giving back more than once is for the caller to prevent; it is an
	// [ErrTooLate] after the policy's grace, or when the entry is not in the log
	// any more. After an error the correction may have been made or not; it is
	// never made twice.
	Settle(ctx context.Context, p *Policy, key string, entry EntryID, correction int64) error

	// Reset forgets the log of p and key.
	Reset(ctx context.Context, p *Policy, key string) error

	// Entries are up to most of the newest entries in the log of p and key that
	// are in its longest window, newest first, in no order within a millisecond.
	Entries(ctx context.Context, p *Policy, key string, most int) ([]Entry, error)

	// Rules returns what has changed in the rules that all processes on this store
	// share since they had the version known; "" is before any. What a change costs
	// to read does not depend on the number of rules. A store that does not know
	// what has changed since, or never had that version, returns all rules.
	Rules(ctx context.Context, known string) (RuleChanges, error)

	// SetRule adds a rule, or replaces the one with the same [Rule.ID]. A new one
	// beyond [MaxRules] is an [ErrTooManyRules]. Its cost does not depend on the
	// number of rules. Rules that have ended make room with later changes.
	SetRule(ctx context.Context, r Rule) error

	// DeleteRule removes the rule with the ID, and reports whether there was one
	// that had not ended.
	DeleteRule(ctx context.Context, id string) (bool, error)

	// RuleTime returns the time by the store's clock, by which rules end. It does not
	// ask: it goes by the last answer to Rules, and by this process's clock before.
	RuleTime() time.Time

	// Ping is nil when the store can answer.
	Ping(ctx context.Context) error

	// Close frees what the store owns. The store must not be used afterwards.
	// Closing twice is not an error.
	Close() error
}

// RuleChanges are what has changed in the rules of a [Store] since a version.
type RuleChanges struct {
	// Version is the version of the rules with these changes, and never "". Every
	// change makes another, also after the rules were lost. It is the version that
	// was known when nothing has changed.
	Version string

	All     bool     // Set has all rules: others are gone
	Set     []Rule   // rules that are new or different
	Deleted []string // the IDs of rules that are gone; none of them is in Set
}

// Sharder is a [Store] that keeps logs on several servers, one of which can fail
// to answer while others do.
type Sharder interface {
	// Shard returns the server that has the log, by its address or another name; ""
	// if that is not known, or if there is only one. It is asked for each
	// decision, and waits for nothing.
	Shard(p *Policy, key string) string
}

// Reporter is a [Store] that reports what becomes of its questions to a server,
// also when the caller has left. A limiter counts failures by these reports
// then, and not by the errors that callers get: many callers can share one
// question, and one of them can give up long before the server has to answer.
type Reporter interface {
	// Report has the store call f until stop is called: with a decision that a
	// server has failed to answer, and the error; and with nil when it answers
	// again. f returns soon and does not use the store.
	Report(f func(a Charge, err error)) (stop func())
}

// Ask is one of several questions that are asked together.
type Charge struct {
	Policy *Policy
	Key    string
	Cost   int64 // units; 0 is 1
}

// Usage is what a store found in a log, with the request's own cost included
// where it was admitted.
type Usage struct {
	Allowed bool
	Source  Source

	// Cached reports whether the store knew it without asking: a denial that is still
	// true. Its numbers leave out what others have added since the store was asked. It
	// says nothing about whether the store would answer.
	Cached bool

	// RetryAfter is how long until the units asked for would fit; 0 if Allowed.
	RetryAfter time.Duration

	// ResetAfter is how long until the newest entry leaves the policy's longest
	// window; 0 when there is none.
	ResetAfter time.Duration

	// Limits has an element for each limit of the policy, in its order; the
	// rest are zero.
	Limits [MaxLimits]LimitUsage

	// Entry is what Settle needs, for what was taken under a refundable policy.
	Entry EntryID
}

// LimitUsage is the use of one limit.
type LimitUsage struct {
	// Used is the units admitted in the window that ends now.
	Used int64

	// FreeIn is how long until the oldest entry leaves the window and, unless
	// they were given back, its units come free; 0 when nothing is used. It is
	// exact, except that after an allowed request that left units over it may be
	// anything from the exact value up to the window, by when that request's own
	// entry leaves: nobody waits for it, and a store need not pay to know it.
	FreeIn time.Duration
}

// EntryID names an entry of a log in its store. The zero EntryID names none.
type EntryID struct {
	Time  int64 // by the store's clock, milliseconds
	Total int64 // the log's running total of units, up to and including the entry
}

// Entry is what a log holds of one request, or of several that the store keeps
// together: those of one slice of a coarse log, and in memory those of one
// millisecond. A refund is an entry of its own.
type Entry struct {
	Time   time.Time
	Cost   int64 // units taken
	Refund int64 // units given back
}
