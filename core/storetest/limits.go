package storetest

import (
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

const ms = time.Millisecond

// boundary checks that an entry counts for exactly its window, to the millisecond.
func (h Harness) boundary(t *testing.T) {
	everyLayout(t, core.Per(2, 100*ms), func(t *testing.T, p *store.Log) {
		s := h.subject(t)
		s.admits(p, "k", 1) // at 0
		s.clock.Advance(40 * ms)
		s.admits(p, "k", 1) // at 40
		s.clock.Advance(59 * ms)
		if u := s.denies(p, "k", 1); u.RetryAfter != ms || u.ResetAfter != 41*ms {
			t.Errorf("at 99ms: RetryAfter %v, ResetAfter %v, want 1ms and 41ms", u.RetryAfter, u.ResetAfter)
		}
		s.clock.Advance(ms)
		s.admits(p, "k", 1) // the first entry has left
		if u := s.denies(p, "k", 1); u.RetryAfter != 40*ms {
			t.Errorf("at 100ms: RetryAfter %v, want 40ms", u.RetryAfter)
		}
		// An aligned window would start somewhere in this interval.
		for at := 101; at < 140; at++ {
			s.clock.Advance(ms)
			s.denies(p, "k", 1)
		}
		s.clock.Advance(ms)
		s.admits(p, "k", 1) // at 140
	})
}

// retryAfter checks that a request is admitted after the wait, and not a millisecond
// before, for entries of any cost.
func (h Harness) retryAfter(t *testing.T) {
	everyLayout(t, core.Per(3, time.Second), func(t *testing.T, p *store.Log) {
		s := h.subject(t)
		for range 3 {
			s.admits(p, "k", 1)
			s.clock.Advance(70 * ms)
		}
		for range 20 {
			s.waitsOut(p, 1)
		}
	})
	t.Run("costs", func(t *testing.T) {
		s := h.subject(t)
		p := newLog("p", core.Per(100, time.Second), core.VariableCost())
		for _, cost := range []int64{10, 1, 1, 30, 5, 2, 40, 11} {
			s.admits(p, "k", cost)
			s.clock.Advance(37 * ms)
		}
		for _, cost := range []int64{1, 11, 12, 100, 50, 99, 2} {
			s.waitsOut(p, cost)
		}
	})
	t.Run("many entries", func(t *testing.T) {
		s := h.subject(t)
		p := newLog("p", core.Per(500, 10*time.Second), core.VariableCost())
		for i := range 500 {
			s.admits(p, "k", 1)
			s.clock.Advance(time.Duration(i%7) * ms)
		}
		for _, cost := range []int64{1, 333, 20} {
			s.denies(p, "k", cost)
			s.waitsOut(p, cost)
		}
	})
}

// waitsOut takes until the cost is denied, and checks the wait.
func (s *subject) waitsOut(p *store.Log, cost int64) {
	s.Helper()
	u := s.take(p, "k", cost)
	for u.Allowed {
		u = s.take(p, "k", cost)
	}
	if u.RetryAfter < ms {
		s.Fatalf("denied with RetryAfter %v", u.RetryAfter)
	}
	s.clock.Advance(u.RetryAfter - ms)
	s.denies(p, "k", cost)
	s.clock.Advance(ms)
	s.admits(p, "k", cost)
}

// severalLimits checks that a charge is all or nothing, and that each limit holds.
func (h Harness) severalLimits(t *testing.T) {
	s := h.subject(t)
	p := newLog("p", core.Per(2, 100*ms), core.Per(3, time.Second))
	s.admits(p, "k", 1)
	s.admits(p, "k", 1)
	if u := s.denies(p, "k", 1); u.RetryAfter != 100*ms || u.Limits[0].Used != 2 || u.Limits[1].Used != 2 {
		t.Errorf("a denial by the first limit: %+v", u)
	}
	s.clock.Advance(100 * ms)
	s.admits(p, "k", 1)
	u := s.denies(p, "k", 1)
	if u.RetryAfter != 900*ms || u.Limits[0].Used != 1 || u.Limits[1].Used != 3 {
		t.Errorf("a denial by the second limit took from the first: %+v", u)
	}
	// Repeated denials take nothing.
	for range 50 {
		s.denies(p, "k", 1)
	}
	s.clock.Advance(900 * ms)
	s.admits(p, "k", 1)
	s.admits(p, "k", 1)
}

// changedLimit checks that a log survives a change of the limit alone. If more is used
// than a lowered limit admits, RetryAfter waits until enough has left.
func (h Harness) changedLimit(t *testing.T) {
	everyLayout(t, core.Per(5, time.Second), func(t *testing.T, p *store.Log) {
		s := h.subject(t)
		for range 5 {
			s.admits(p, "k", 1)
			s.clock.Advance(100 * ms)
		}
		lowered := withLimits(p, core.Per(2, time.Second))
		u := s.denies(lowered, "k", 1)
		if u.RetryAfter != 800*ms || u.Limits[0] != (store.LimitUsage{Used: 5, FreeIn: 500 * ms}) {
			t.Errorf("a lowered limit: %+v", u)
		}
		s.clock.Advance(u.RetryAfter - ms)
		s.denies(lowered, "k", 1)
		s.clock.Advance(ms)
		s.admits(lowered, "k", 1)
		s.denies(lowered, "k", 1)
		for range 3 {
			s.admits(p, "k", 1)
		}
		s.denies(p, "k", 1)
	})
}

// loweredFar checks that one wait is enough after a limit was lowered by thousands.
func (h Harness) loweredFar(t *testing.T) {
	everyLayout(t, core.Per(3000, 6*time.Second), func(t *testing.T, p *store.Log) {
		s := h.subject(t)
		for range 3000 {
			s.admits(p, "k", 1)
			s.clock.Advance(ms)
		}
		for _, most := range []int64{2990, 2000, 1200, 50} {
			lowered := withLimits(p, core.Per(most, 6*time.Second))
			// The first request was admitted 3000 ms ago.
			want := time.Duration(3000-most)*ms + 3*time.Second
			if u := s.denies(lowered, "k", 1); u.RetryAfter != want {
				t.Errorf("lowered to %d: RetryAfter %v, want %v", most, u.RetryAfter, want)
			}
			if u := s.look(lowered, "k", 1); u.RetryAfter != want {
				t.Errorf("lowered to %d: Peek: RetryAfter %v, want %v", most, u.RetryAfter, want)
			}
		}
		lowered := withLimits(p, core.Per(1200, 6*time.Second))
		u := s.denies(lowered, "k", 1)
		s.clock.Advance(u.RetryAfter - ms)
		s.denies(lowered, "k", 1)
		s.clock.Advance(ms)
		s.admits(lowered, "k", 1)
		s.denies(lowered, "k", 1)
	})
}

// extremes checks the smallest and largest limits and windows.
func (h Harness) extremes(t *testing.T) {
	everyLayout(t, core.Per(1, store.MinWindow), func(t *testing.T, p *store.Log) {
		s := h.subject(t)
		for range 20 {
			s.admits(p, "k", 1)
			if u := s.denies(p, "k", 1); u.RetryAfter != ms {
				t.Fatalf("RetryAfter %v, want 1ms", u.RetryAfter)
			}
			s.clock.Advance(ms)
		}
	})
	everyLayout(t, core.Per(1, store.MaxWindow), func(t *testing.T, p *store.Log) {
		s := h.subject(t)
		s.admits(p, "k", 1)
		s.clock.Advance(store.MaxWindow - ms)
		if u := s.denies(p, "k", 1); u.RetryAfter != ms {
			t.Fatalf("RetryAfter %v, want 1ms", u.RetryAfter)
		}
		s.clock.Advance(ms)
		s.admits(p, "k", 1)
	})
	t.Run("many units", func(t *testing.T) {
		s := h.subject(t)
		p := newLog("p", core.Per(store.MaxUnits, time.Second), core.VariableCost())
		for i := range 50 {
			s.admits(p, "k", store.MaxUnits-1)
			s.admits(p, "k", 1)
			if u := s.denies(p, "k", 1); u.Limits[0].Used != store.MaxUnits || u.RetryAfter != time.Second {
				t.Fatalf("round %d: %+v", i, u)
			}
			s.clock.Advance(time.Second)
		}
	})
	t.Run("as many limits as there may be", func(t *testing.T) {
		s := h.subject(t)
		var limits []core.PolicyOption
		for i := range store.MaxLimits {
			limits = append(limits, core.Per(int64(i+1), time.Duration(i+1)*time.Second))
		}
		p := newLog("p", limits...)
		s.admits(p, "k", 1)
		u := s.denies(p, "k", 1)
		for i := range store.MaxLimits {
			if want := (store.LimitUsage{Used: 1, FreeIn: p.Limits[i].Window}); u.Limits[i] != want {
				t.Errorf("limit %d: %+v, want %+v", i, u.Limits[i], want)
			}
		}
	})
}

// clockStepsBack checks that nothing fails after a step back. The log continues from its
// newest entry, and no key is blocked for longer than the step.
func (h Harness) clockStepsBack(t *testing.T) {
	everyLayout(t, core.Per(2, time.Second), func(t *testing.T, p *store.Log) {
		s := h.subject(t)
		s.admits(p, "k", 1)
		s.clock.Advance(-time.Minute)
		if u := s.admits(p, "k", 1); u.ResetAfter != time.Minute+time.Second {
			t.Errorf("ResetAfter %v, want 1m1s", u.ResetAfter)
		}
		u := s.denies(p, "k", 1)
		if u.RetryAfter != time.Minute+time.Second {
			t.Errorf("RetryAfter %v, want 1m1s", u.RetryAfter)
		}
		s.clock.Advance(u.RetryAfter - ms)
		s.denies(p, "k", 1)
		s.clock.Advance(ms)
		s.admits(p, "k", 1)
	})
}
