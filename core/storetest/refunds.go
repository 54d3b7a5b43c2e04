package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

// refund gives back units of a request, and checks that this succeeds.
func (s *subject) refund(p *store.Log, u store.Usage, units int64) {
	s.Helper()
	if err := s.Settle(s.Context(), p, "k", u.Entry, -units); err != nil {
		s.Fatalf("Settle by -%d: %v", units, err)
	}
}

// used checks the use of the first limit.
func (s *subject) used(p *store.Log, want int64) {
	s.Helper()
	if u := s.look(p, "k", 1); u.Limits[0].Used != want {
		s.Errorf("%d units are used, want %d", u.Limits[0].Used, want)
	}
}

// refunds checks that refunded units are available at once, once, and for as long as they
// would have been used.
func (h Harness) refunds(t *testing.T) {
	p := newLog("p", core.Per(3, time.Second), core.Refundable(200*ms))
	t.Run("is back at once", func(t *testing.T) {
		s := h.subject(t)
		for range 20 {
			s.refund(p, s.admits(p, "k", 1), 1)
			s.used(p, 0)
		}
		for range 3 {
			s.admits(p, "k", 1)
		}
		s.denies(p, "k", 1)
	})
	t.Run("counts again only while its request is about to leave", func(t *testing.T) {
		s := h.subject(t)
		u := s.admits(p, "k", 1) // at 0
		s.clock.Advance(30 * ms)
		s.refund(p, u, 1)
		for at := 30; at < 1000; at++ {
			// Refunds have taken up to 30 ms. The refund of the request at 1000 ms is
			// left out until it can't be the refund of an earlier request.
			s.used(p, 0)
			s.clock.Advance(ms)
		}
		s.used(p, 0)

		// After a slower refund this takes longer, but not longer than that refund took.
		first := s.admits(p, "k", 1) // at 1000
		s.clock.Advance(10 * ms)
		s.refund(p, first, 1)
		second := s.admits(p, "k", 1) // at 1010
		s.clock.Advance(150 * ms)
		s.refund(p, second, 1)
		for at := 1160; at < 2100; at++ {
			want := int64(0)
			if at >= 1010+1000-150 && at < 2000 {
				want = 1 // the first request again
			}
			s.used(p, want)
			s.clock.Advance(ms)
		}
	})
	t.Run("too late", func(t *testing.T) {
		s := h.subject(t)
		u := s.admits(p, "k", 1)
		s.clock.Advance(201 * ms)
		if err := s.Settle(t.Context(), p, "k", u.Entry, -1); !errors.Is(err, store.ErrTooLate) {
			t.Errorf("a refund after 201ms: %v, want ErrTooLate", err)
		}
		s.used(p, 1)
		u = s.admits(p, "k", 1)
		s.clock.Advance(200 * ms)
		s.refund(p, u, 1)
		s.used(p, 1)
	})
	t.Run("of a log that is gone", func(t *testing.T) {
		s := h.subject(t)
		old := s.admits(p, "k", 1)
		if err := s.Reset(t.Context(), p, "k"); err != nil {
			t.Fatal(err)
		}
		for _, entry := range []store.EntryID{old.Entry, {}, {Time: old.Entry.Time, Total: 1}} {
			if err := s.Settle(t.Context(), p, "k", entry, -1); !errors.Is(err, store.ErrTooLate) {
				t.Errorf("a refund of %+v after a reset: %v, want ErrTooLate", entry, err)
			}
		}
		// A new entry that looks the same, at the same time.
		s.admits(p, "k", 1)
		if err := s.Settle(t.Context(), p, "k", old.Entry, -1); !errors.Is(err, store.ErrTooLate) {
			t.Errorf("a refund of another log's entry: %v, want ErrTooLate", err)
		}
		s.used(p, 1)
	})
	t.Run("within one millisecond", func(t *testing.T) {
		s := h.subject(t)
		several := newLog("p", core.Per(300, time.Second), core.Refundable(0))
		var taken []store.Usage
		for range 100 {
			taken = append(taken, s.admits(several, "k", 1), s.admits(several, "k", 1))
			s.refund(several, taken[len(taken)-1], 1)
		}
		s.used(several, 100)
	})
}

// settlements checks that charges are corrected to the use, up and down.
func (h Harness) settlements(t *testing.T) {
	p := newLog("p", core.Per(100, time.Second), core.VariableCost(), core.Refundable(0))
	s := h.subject(t)
	u := s.admits(p, "k", 60)
	s.denies(p, "k", 41)
	s.refund(p, u, 50)
	s.used(p, 10)
	s.clock.Advance(100 * ms)
	u = s.admits(p, "k", 90)
	if err := s.Settle(t.Context(), p, "k", u.Entry, 25); err != nil {
		t.Fatal(err)
	}
	s.used(p, 125) // above the limit, since it was used
	s.clock.Advance(900 * ms)
	s.used(p, 115)
	if u := s.denies(p, "k", 1); u.RetryAfter != 100*ms {
		t.Errorf("RetryAfter %v, want 100ms", u.RetryAfter)
	}
	s.clock.Advance(100 * ms)
	s.admits(p, "k", 100)
	s.used(p, 100)
	// A charge counts even if its request has left the log.
	s.clock.Advance(time.Minute)
	if err := s.Settle(t.Context(), p, "k", u.Entry, 7); err != nil {
		t.Fatal(err)
	}
	s.used(p, 7)
	if h.TimeToLive != nil && h.TimeToLive(t, s.Store, p, "k") < time.Second {
		t.Errorf("the log lives for %v after a charge, want at least 1s", h.TimeToLive(t, s.Store, p, "k"))
	}
}

// coarse checks that a log has at most one entry a slice, and that units come back at
// most a slice late.
func (h Harness) coarse(t *testing.T) {
	p := newLog("p", core.Per(10_000, time.Second), core.VariableCost(), core.Coarse(10))
	s := h.subject(t)
	for range 3000 {
		s.admits(p, "k", 2)
		s.clock.Advance(ms)
	}
	entries, err := s.Entries(t.Context(), p, "k", 1000)
	if err != nil || len(entries) > 11 {
		t.Errorf("%d entries, %v; want at most 11", len(entries), err)
	}
	for _, e := range entries[1:] {
		if e.Cost > 200 {
			t.Errorf("an entry of %d units, want at most those of 100ms", e.Cost)
		}
	}
	if u := s.look(p, "k", 1); u.Limits[0].Used < 2000 || u.Limits[0].Used > 2200 {
		t.Errorf("%d units are used, want 2000 and up to a slice more", u.Limits[0].Used)
	}
	// The last entry belongs to a slice that has not ended.
	s.clock.Advance(time.Second)
	s.used(p, 0)
}
