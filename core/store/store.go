package store

import (
	"context"
	"time"
)

// Store keeps the logs and decides on them. A store must pass the suite of package
// storetest.
//
// All methods may be called concurrently. A limiter validates what it hands to a store:
// the log is not nil, the key is not empty and of bounded length, and the cost fits
// every limit of the log.
type Store interface {
	// Take admits cost units on the log of a key if every limit of the log has room for
	// all of them. Otherwise it changes nothing. The check and the entry are one step:
	// no two concurrent calls see the same room.
	//
	// After an error the units may have been taken or not. They are never taken twice.
	// An error other than those of this package means that the store did not respond.
	Take(ctx context.Context, log *Log, key string, cost int64) (Usage, error)

	// TakeAll takes from several different logs as Take does, all or nothing. If one
	// log has no room, nothing is taken from any of them, and each Usage is the state
	// of its log without the request. Logs in shadow mode do not keep the others from
	// counting.
	//
	// A store that can't do this in one step gives back what it took if a later log has
	// no room. It refuses logs that are not refundable with an [ErrCrossSlot].
	TakeAll(ctx context.Context, charges []Charge) ([]Usage, error)

	// Peek returns what Take would find for the same cost, and takes nothing.
	Peek(ctx context.Context, log *Log, key string, cost int64) (Usage, error)

	// Settle corrects what Take took on a refundable log. A correction below 0 gives
	// units back. A correction above 0 charges units, whether they fit or not. The
	// caller must not give units back twice. Units that are given back count for the
	// calendar periods that have the entry's time. The error is [ErrTooLate] after the log's
	// grace, or if the entry is no longer in the log. After an error the correction may
	// have been made or not. It is never made twice.
	Settle(ctx context.Context, log *Log, key string, entry EntryID, correction int64) error

	// Reset deletes the log of a key.
	Reset(ctx context.Context, log *Log, key string) error

	// Entries returns up to most of the newest entries in the log of a key that are in
	// its longest window. They are sorted newest first, and in no order within a
	// millisecond.
	Entries(ctx context.Context, log *Log, key string, most int) ([]Entry, error)

	// Rules returns the changes since the version known, in the rules that all
	// processes on this store share. The version "" is before any rule. The cost of
	// reading a change does not depend on the number of rules. A store that does not
	// know what has changed since, or never had that version, returns all rules.
	Rules(ctx context.Context, known string) (RuleChanges, error)

	// SetRule adds a rule, or replaces the one with the same ID. A new rule beyond
	// [MaxRules] is an [ErrTooManyRules]. The cost of SetRule does not depend on
	// the number of rules. Rules that have ended make room with later changes.
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

// Sharder is a [Store] that keeps logs on several servers, one of which can fail to
// answer while others do.
type Sharder interface {
	// Shard returns the server that has the log of a key, by its address or another
	// name. It returns "" if that is not known, or if there is only one server. A
	// limiter calls it for each decision, so it must not wait.
	Shard(log *Log, key string) string
}

// Reporter is a [Store] that reports the outcome of each call to a server, even if the
// caller has left. A limiter then counts failures by these reports, and not by the
// errors that callers get. Many callers can share one call, and one of them can give up
// long before the server has to respond.
type Reporter interface {
	// Report registers f until stop is called. The store calls f with a decision that a
	// server has failed to make, and the error. It calls f with a nil error when the
	// server responds again. f must return soon and must not use the store.
	Report(f func(c Charge, err error)) (stop func())
}

// Leaser is a [Store] that takes units of leased logs ahead of requests, and hands them
// out itself: see [Log.Lease].
type Leaser interface {
	// TakeLeased takes from least to most units of those that were taken ahead, and
	// returns how many. It calls no server and does not wait. It takes 0 if there are
	// not enough, or if the log has no leases.
	TakeLeased(log *Log, key string, least, most int64) (u Usage, taken int64)

	// TakeAllLeased takes from several logs as TakeLeased does, all or nothing.
	TakeAllLeased(charges []Charge) ([]Usage, bool)
}

// Partial is a [Store] that can admit a part of a cost, in one step. For other stores use
// [TakePart].
type Partial interface {
	// TakeUpTo takes as many units as there are, from 1 to most. It returns the cost
	// that it has decided on, which is 1 for a denial.
	TakeUpTo(ctx context.Context, log *Log, key string, most int64) (u Usage, cost int64, err error)
}

// TakePart takes as many units as there are, from 1 to most, by several calls of Take. It
// tries as many units as the log has room for, and in the end 1. It returns the cost that
// was decided on, which is 1 for a denial.
func TakePart(ctx context.Context, s Store, log *Log, key string, most int64) (u Usage, cost int64, err error) {
	for cost = most; ; {
		u, err = s.Take(ctx, log, key, cost)
		if err != nil || u.Allowed || cost == 1 {
			return u, cost, err
		}
		room := cost - 1
		for i, l := range log.Limits {
			room = min(room, l.Max-u.Limits[i].Used)
		}
		cost = max(1, room)
	}
}

// Bounded is a [Store] that bounds how long its server may take to answer.
type Bounded interface {
	// Timeout returns the time that the server has for one response; 0 means no bound.
	// It does not include the time that a call waits in this process.
	Timeout() time.Duration
}

// Registrar is a [Store] that several processes share, and that knows which logs each
// of them writes. A process that starts with other limits than those before it, or
// beside others in a rolling deployment, then counts what their logs hold: see
// [Log.Earlier].
type Registrar interface {
	// RegisterLogs records that this process writes the logs, each for its longest
	// window and a minute from now on. It returns the logs recorded by any process. It
	// is called before the first decision on a log, and every 20 seconds while there
	// are decisions. Logs of the layouts Calendar and Slots are not registered.
	RegisterLogs(ctx context.Context, written []*Log) ([]RegisteredLog, error)
}

// RegisteredLog is a log that some process writes, or wrote.
type RegisteredLog struct {
	Name string        // see Log.Name
	Left time.Duration // how long it may still hold entries that count
}
