// Package storetest is the suite that every [store.Store] must pass. A store's own test
// gives it a [Harness]:
//
//	func TestConformance(t *testing.T) {
//		storetest.Run(t, storetest.Harness{New: ...})
//	}
//
// The suite defines what a store does. Every interval of a window's length admits at
// most the limit's units, to the millisecond and for any number of callers. The store
// reports what a brute-force model reports. Retry-After is neither late nor early. The package may change in any release.
package storetest

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

// Harness gives the suite access to a kind of store.
type Harness struct {
	// New makes an empty store that uses clock. The suite closes it.
	New func(t testing.TB, clock *Clock) store.Store

	// NewReal makes an empty store with its own clock. The suite closes it.
	NewReal func(t testing.TB) store.Store

	// Apart reports whether TakeAll checks logs of different keys one by one, and
	// therefore only for refundable policies.
	Apart bool

	// TimeToLive returns how long from now a store made by New keeps the log of p and
	// key, or 0 if there is no log. It is nil for a store that needs no time to live,
	// since it deletes logs by itself.
	TimeToLive func(t testing.TB, s store.Store, p *store.Log, key string) time.Duration
}

// Run runs the whole suite.
func Run(t *testing.T, h Harness) {
	t.Run("Property", h.property)
	t.Run("Changes", h.changes)
	t.Run("Boundary", h.boundary)
	t.Run("RetryAfter", h.retryAfter)
	t.Run("SeveralLimits", h.severalLimits)
	t.Run("ChangedLimit", h.changedLimit)
	t.Run("LoweredFar", h.loweredFar)
	t.Run("Extremes", h.extremes)
	t.Run("Peek", h.peek)
	t.Run("Reset", h.reset)
	t.Run("Apart", h.apart)
	t.Run("HostileKeys", h.hostileKeys)
	t.Run("TimeToLive", h.timeToLive)
	t.Run("ClockStepsBack", h.clockStepsBack)
	t.Run("Concurrency", h.concurrency)
	t.Run("RealTime", h.realTime)
	t.Run("Context", h.context)
	t.Run("Refunds", h.refunds)
	t.Run("Settle", h.settlements)
	t.Run("Coarse", h.coarse)
	t.Run("Together", h.together)
	t.Run("Leases", h.leases)
	t.Run("UpTo", h.upTo)
	t.Run("Slots", h.slots)
	t.Run("Entries", h.entries)
	t.Run("Rules", h.rules)
	t.Run("RulesFollowed", h.rulesFollowed)
	t.Run("RulesAtAnyNumber", h.rulesAtAnyNumber)
	t.Run("Periods", h.periods)
	t.Run("Close", h.close)
}

// Clock is the clock of a store under test. It moves only by Advance.
type Clock struct{ ms atomic.Int64 }

// newClock starts at a fixed time with a 13-digit count of milliseconds.
func newClock() *Clock {
	c := &Clock{}
	c.ms.Store(time.Date(2030, 1, 2, 3, 4, 5, 678e6, time.UTC).UnixMilli())
	return c
}

// Now returns the time.
func (c *Clock) Now() time.Time { return time.UnixMilli(c.ms.Load()) }

// Advance moves the time by d, or back if d is negative.
func (c *Clock) Advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

// subject is a store under test with a clock of its own.
type subject struct {
	store.Store
	testing.TB
	clock *Clock
}

func (h Harness) subject(t testing.TB) *subject {
	clock := newClock()
	s := &subject{Store: h.New(t, clock), TB: t, clock: clock}
	t.Cleanup(func() { s.Store.Close() })
	return s
}

func (s *subject) take(p *store.Log, key string, cost int64) store.Usage {
	s.Helper()
	u, err := s.Take(s.Context(), p, key, cost)
	if err != nil {
		s.Fatalf("Take: %v", err)
	}
	return u
}

func (s *subject) look(p *store.Log, key string, cost int64) store.Usage {
	s.Helper()
	u, err := s.Peek(s.Context(), p, key, cost)
	if err != nil {
		s.Fatalf("Peek: %v", err)
	}
	return u
}

func (s *subject) admits(p *store.Log, key string, cost int64) store.Usage {
	s.Helper()
	u := s.take(p, key, cost)
	if !u.Allowed {
		s.Fatalf("%v: cost %d denied, want admitted: %+v", p.Limits, cost, u)
	}
	return u
}

func (s *subject) denies(p *store.Log, key string, cost int64) store.Usage {
	s.Helper()
	u := s.take(p, key, cost)
	if u.Allowed {
		s.Fatalf("%v: cost %d admitted, want denied: %+v", p.Limits, cost, u)
	}
	return u
}

func (s *subject) takeAll(asks ...store.Charge) []store.Usage {
	s.Helper()
	for i := range asks {
		if asks[i].Cost == 0 {
			asks[i].Cost = 1
		}
	}
	usages, err := s.TakeAll(s.Context(), asks)
	if err != nil || len(usages) != len(asks) {
		s.Fatalf("TakeAll: %v, %v", usages, err)
	}
	return usages
}

// everyLayout runs a test for one limit of each layout.
func everyLayout(t *testing.T, limit core.Limit, test func(t *testing.T, p *store.Log)) {
	t.Run("counted", func(t *testing.T) { test(t, newLog("p", limit)) })
	t.Run("summed", func(t *testing.T) { test(t, newLog("p", limit, core.VariableCost())) })
	t.Run("refunded", func(t *testing.T) { test(t, newLog("p", limit, core.Refundable(0))) })
}

// newLog returns the log of a policy.
func newLog(name string, options ...core.PolicyOption) *store.Log {
	return core.NewPolicy(name, options...).Log()
}

// withLimits returns the log with other limits for the same windows.
func withLimits(p *store.Log, limits ...core.Limit) *store.Log {
	changed := *p
	changed.Limits = nil
	for _, l := range limits {
		changed.Limits = append(changed.Limits, store.Limit{Max: l.Max, Window: l.Window})
	}
	return &changed
}
