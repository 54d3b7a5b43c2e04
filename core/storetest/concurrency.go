package storetest

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

// callers is the number of concurrent callers.
const callers = 1000

// concurrency checks that concurrent callers are admitted exactly up to the limits.
func (h Harness) concurrency(t *testing.T) {
	policies := map[string]*store.Log{
		"counted": newLog("counted", core.PerMinute(137)),
		"summed":  newLog("summed", core.PerMinute(137), core.VariableCost()),
		"several": newLog("several", core.PerMinute(300), core.PerHour(137)),
	}
	for name, p := range policies {
		t.Run(name, func(t *testing.T) {
			s := h.subject(t)
			var admitted, highest atomic.Int64
			together(t, func(int) {
				u := s.take(p, "k", 1)
				if u.Allowed {
					admitted.Add(1)
				}
				for used := u.Limits[0].Used; ; {
					seen := highest.Load()
					if used <= seen || highest.CompareAndSwap(seen, used) {
						break
					}
				}
			})
			if admitted.Load() != 137 || highest.Load() != 137 {
				t.Errorf("of %d callers %d were admitted, with up to %d units used, want 137", callers, admitted.Load(), highest.Load())
			}
		})
	}
	t.Run("refunds", func(t *testing.T) {
		// Each admitted caller gives its unit back at once. At no time are more callers
		// admitted than the limit.
		s := h.subject(t)
		p := newLog("p", core.PerMinute(7), core.Refundable(0))
		var inside, admitted atomic.Int64
		together(t, func(int) {
			u := s.take(p, "k", 1)
			if !u.Allowed {
				return
			}
			admitted.Add(1)
			if n := inside.Add(1); n > 7 {
				t.Errorf("%d have taken a place and not given it back, the limit is 7", n)
			}
			inside.Add(-1)
			if err := s.Settle(t.Context(), p, "k", u.Entry, -1); err != nil {
				t.Error(err)
			}
		})
		if n := admitted.Load(); n < 7 {
			t.Errorf("%d admitted, want at least 7", n)
		}
		if u := s.look(p, "k", 1); u.Limits[0].Used != 0 {
			t.Errorf("all is given back, but %d units are used", u.Limits[0].Used)
		}
	})
	t.Run("together", func(t *testing.T) {
		s := h.subject(t)
		var asks []store.Charge
		for i, most := range []int64{300, 137, 999} {
			p := newLog([]string{"a", "b", "c"}[i], core.PerMinute(most))
			asks = append(asks, store.Charge{Log: p, Key: "k", Cost: 1})
		}
		var admitted atomic.Int64
		together(t, func(i int) {
			// A store that locks several logs must not lock them in the order of the
			// call.
			mine := []store.Charge{asks[i%3], asks[(i+1)%3], asks[(i+2)%3]}
			usages := s.takeAll(mine...)
			if usages[0].Allowed && usages[1].Allowed && usages[2].Allowed {
				admitted.Add(1)
			}
		})
		if n := admitted.Load(); n != 137 {
			t.Errorf("%d admitted, want 137", n)
		}
		for _, a := range asks {
			if u := s.look(a.Log, a.Key, 1); u.Limits[0].Used != 137 {
				t.Errorf("policy %v has counted %d, want 137", a.Log, u.Limits[0].Used)
			}
		}
	})
	t.Run("costs", func(t *testing.T) {
		s := h.subject(t)
		p := newLog("p", core.PerMinute(1000), core.VariableCost())
		var units atomic.Int64
		together(t, func(i int) {
			cost := int64(i%7 + 1)
			if s.take(p, "k", cost).Allowed {
				units.Add(cost)
			}
		})
		// Charges of cost 1 are frequent enough to fill the last unit.
		if got := units.Load(); got != 1000 {
			t.Errorf("%d units were admitted, want 1000", got)
		}
	})
}

// together runs call in many goroutines at once and waits for them.
func together(t *testing.T, call func(i int)) {
	t.Helper()
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			<-start
			call(i)
		})
	}
	close(start)
	all.Wait()
}

// realTime checks the same on the store's own clock. No interval has more units than the
// limit, and a denied request is admitted after its wait. The caller's clock differs from
// the store's, so times are compared with the possible duration of a call.
func (h Harness) realTime(t *testing.T) {
	everyLayout(t, core.Per(20, 50*ms), func(t *testing.T, p *store.Log) {
		s := h.NewReal(t)
		t.Cleanup(func() { s.Close() })
		type span struct{ sent, answered time.Time }
		var admitted []span
		for start := time.Now(); time.Since(start) < 500*ms; {
			sent := time.Now()
			u, err := s.Take(t.Context(), p, "k", 1)
			if err != nil {
				t.Fatal(err)
			}
			if u.Allowed {
				admitted = append(admitted, span{sent, time.Now()})
				continue
			}
			if u.RetryAfter <= 0 || u.RetryAfter > 50*ms {
				t.Fatalf("RetryAfter %v", u.RetryAfter)
			}
			time.Sleep(u.RetryAfter)
			sent = time.Now()
			if u, err = s.Take(t.Context(), p, "k", 1); err != nil || !u.Allowed {
				t.Fatalf("denied after waiting: %+v, %v", u, err)
			}
			admitted = append(admitted, span{sent, time.Now()})
		}
		if len(admitted) <= 20 {
			t.Errorf("%d admitted in half a second at 20 per 50ms", len(admitted))
		}
		for i := 20; i < len(admitted); i++ {
			// The longest possible time between these two decisions.
			if passed := admitted[i].answered.Sub(admitted[i-20].sent); passed < 50*ms-ms {
				t.Errorf("21 admitted within %v", passed)
			}
		}
	})
}
