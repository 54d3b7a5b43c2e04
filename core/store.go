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
	// taken twice.
	Take(ctx context.Context, p *Policy, key string, cost int64) (Usage, error)

	// Peek is what Take would find for the same cost, and takes nothing.
	Peek(ctx context.Context, p *Policy, key string, cost int64) (Usage, error)

	// Reset forgets the log of p and key.
	Reset(ctx context.Context, p *Policy, key string) error

	// Ping is nil when the store can answer.
	Ping(ctx context.Context) error

	// Close frees what the store owns. The store must not be used afterwards.
	// Closing twice is not an error.
	Close() error
}

// Usage is what a store found in a log, with the request's own cost included
// where it was admitted.
type Usage struct {
	Allowed bool
	Source  Source

	// RetryAfter is how long until the units asked for would fit; 0 if Allowed.
	RetryAfter time.Duration

	// ResetAfter is how long until the newest entry leaves the policy's longest
	// window; 0 when there is none.
	ResetAfter time.Duration

	// Limits has an element for each limit of the policy, in its order; the
	// rest are zero.
	Limits [MaxLimits]LimitUsage
}

// LimitUsage is the use of one limit.
type LimitUsage struct {
	// Used is the units admitted in the window that ends now.
	Used int64

	// FreeIn is how long until the oldest entry leaves the window and more
	// units come free; 0 when there is none. It is exact, except that after an
	// allowed request that left units over it may be anything from the exact
	// value up to the window, by when that request's own entry leaves: nobody
	// waits for it, and a store need not pay to know it.
	FreeIn time.Duration
}
