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
	// Take admits cost units on the log of p and key if every limit of p has room for
	// all of them. Otherwise it changes nothing. The check and the entry are one step:
	// no two concurrent calls see the same room.
	//
	// After an error the units may have been taken or not. They are never taken twice.
	// An error other than those of this package means that the store did not respond.
	Take(ctx context.Context, p *Policy, key string, cost int64) (Usage, error)

	// TakeAll is Take for several different logs, all or nothing. If one log has no
	// room, nothing is taken from any of them, and each Usage is the state of its log
	// without the request. Logs of a policy in shadow mode do not keep the others from
	// counting.
	//
	// A store that can't do this in one step gives back what it took if a later log has
	// no room. It refuses policies that are not refundable with an [ErrCrossSlot].
	TakeAll(ctx context.Context, asks []Charge) ([]Usage, error)

	// Peek returns what Take would find for the same cost, and takes nothing.
	Peek(ctx context.Context, p *Policy, key string, cost int64) (Usage, error)

	// Settle corrects what Take took under a refundable policy. A correction below 0
	// gives units back. A correction above 0 charges units, whether they fit or not.
	// The caller must not give units back twice. The error is [ErrTooLate] after the
	// policy's grace, or if the entry is no longer in the log. After an error the
	// correction may have been made or not. It is never made twice.
	Settle(ctx context.Context, p *Policy, key string, entry EntryID, correction int64) error

	// Reset deletes the log of p and key.
	Reset(ctx context.Context, p *Policy, key string) error

	// Entries returns up to most of the newest entries in the log of p and key that are
	// in its longest window. They are sorted newest first, and in no order within a
	// millisecond.
	Entries(ctx context.Context, p *Policy, key string, most int) ([]Entry, error)

	// Rules returns the changes since the version known, in the rules that all
	// processes on this store share. The version "" is before any rule. The cost of
	// reading a change does not depend on the number of rules. A store that does not
	// know what has changed since, or never had that version, returns all rules.
	Rules(ctx context.Context, known string) (RuleChanges, error)

	// SetRule adds a rule, or replaces the one with the same [Rule.ID]. A new one
	// beyond [MaxRules] is an [ErrTooManyRules]. Its cost does not depend on the
	// number of rules. Rules that have ended make room with later changes.
	SetRule(ctx context.Context, r Rule) error

	// DeleteRule removes the rule with the ID, and reports whether there was one
	// that had not ended.
	DeleteRule(ctx context.Context, id string) (bool, error)

	// RuleTime returns the time of the store's clock, by which rules end. It does not
	// call the store. It computes the time from the last response to Rules, and before
	// the first from this process's clock.
	RuleTime() time.Time

	// Ping returns nil if the store can respond.
	Ping(ctx context.Context) error

	// Close frees what the store owns. The store must not be used afterwards.
	// Closing twice is not an error.
	Close() error
}

// RuleChanges are what has changed in the rules of a [Store] since a version.
type RuleChanges struct {
	// Version is the version of the rules with these changes. It is not "". Every
	// change makes another version, also after the rules were lost. If nothing has
	// changed, it is the version that the caller knew.
	Version string

	All     bool     // Set has all rules: all others were deleted
	Set     []Rule   // rules that are new or different
	Deleted []string // the IDs of rules that were deleted; none of them is in Set
}

// Sharder is a [Store] that keeps logs on several servers, one of which can fail
// to answer while others do.
type Sharder interface {
	// Shard returns the server that has the log, by its address or another name; ""
	// if that is not known, or if there is only one. It is asked for each
	// decision, and waits for nothing.
	Shard(p *Policy, key string) string
}

// Reporter is a [Store] that reports the outcome of each call to a server, even if the
// caller has left. A limiter then counts failures by these reports, and not by the
// errors that callers get. Many callers can share one call, and one of them can give up
// long before the server has to respond.
type Reporter interface {
	// Report registers f until stop is called. The store calls f with a decision that a
	// server has failed to make, and the error. It calls f with a nil error when the
	// server responds again. f must return soon and must not use the store.
	Report(f func(a Charge, err error)) (stop func())
}

// Ask is one of several checks that are made together.
type Charge struct {
	Policy *Policy
	Key    string
	Cost   int64 // units; 0 is 1
}

// Usage is the state of a log as a store found it. It includes the request's own cost
// if the request was admitted.
type Usage struct {
	Allowed bool
	Source  Source

	// Cached reports whether the store knew it without asking: a denial that is still
	// true. Its numbers leave out what others have added since the store was asked. It
	// says nothing about whether the store would answer.
	Cached bool

	// RetryAfter is the time until the units asked for would fit; 0 if Allowed.
	RetryAfter time.Duration

	// ResetAfter is the time until the newest entry leaves the policy's longest window;
	// 0 if there is no entry.
	ResetAfter time.Duration

	// Limits has an element for each limit of the policy, in its order; the
	// rest are zero.
	Limits [MaxLimits]LimitUsage

	// Entry identifies, for Settle, what was taken under a refundable policy.
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
