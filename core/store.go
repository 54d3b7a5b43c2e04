package core

import (
	"fmt"
	"time"

	"github.com/streamlimit/streamlimit/core/internal/memory"
	"github.com/streamlimit/streamlimit/core/store"
)

// Store keeps the logs and decides on them. [NewMemory] returns a store in this process's
// memory. Package redisstream has a store in Redis. Package store is for authors of
// stores.
type Store = store.Store

// Source is where a decision came from. Its String returns "memory", "redis",
// "fallback", "none" or "lease", and so does its text in JSON.
type Source = store.Source

// The sources of decisions.
const (
	SourceMemory   = store.SourceMemory   // this process's memory
	SourceRedis    = store.SourceRedis    // Redis
	SourceFallback = store.SourceFallback // this process's memory, since the store did not answer
	SourceNone     = store.SourceNone     // no log was used: see [Reason]
	SourceLease    = store.SourceLease    // units that this process took ahead: see [Lease]
)

// defaultMaxKeys is the maximum number of keys unless [WithMaxKeys] sets another.
const defaultMaxKeys = 250_000

// MemoryOption is a setting for [NewMemory].
type MemoryOption func(*memoryConfig)

type memoryConfig struct {
	maxKeys int
	now     func() time.Time // nil for a clock that never steps
}

// WithMaxKeys sets the maximum number of keys in the store, over all policies. The default
// is 250,000. A key of 42 bytes with one request takes about 250 bytes. A policy
// whose clients can invent keys, and keep them live for a day, can fill the store for
// the others. WithMaxKeys panics if n is below 1.
func WithMaxKeys(n int) MemoryOption {
	if n < 1 {
		panic(fmt.Sprintf("core: WithMaxKeys: %d keys: use at least 1, or leave the option out for %d", n, defaultMaxKeys))
	}
	return func(c *memoryConfig) { c.maxKeys = n }
}

// WithClock sets the clock, for tests. Without WithClock, the store's clock never steps,
// even if the machine's clock does.
func WithClock(now func() time.Time) MemoryOption {
	if now == nil {
		panic("core: WithClock: nil clock: leave the option out for the real one")
	}
	return func(c *memoryConfig) { c.now = now }
}

// NewMemory makes a store in this process's memory. It makes the same decisions as the
// Redis store, for this process alone. Close the store to end its one goroutine.
//
// The store is bounded. When it reaches the maximum number of keys, it deletes the keys
// whose entries have all left their windows. It keeps keys with live entries, since a
// client whose key is deleted gets a new budget. While all keys are live, a request with
// a new key gets [store.ErrFull], and known keys work as before. A log has no more
// entries than its longest window has milliseconds, or its limit has units.
func NewMemory(options ...MemoryOption) Store {
	c := memoryConfig{maxKeys: defaultMaxKeys}
	for _, o := range options {
		if o == nil {
			panic("core: NewMemory: a nil option: leave it out")
		}
		o(&c)
	}
	return memory.New(c.maxKeys, c.now)
}
