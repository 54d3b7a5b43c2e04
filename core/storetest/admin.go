package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

// entries checks the entries in a window, newest first, with costs and refunds.
func (h Harness) entries(t *testing.T) {
	list := func(s *subject, p *store.Log, most int) []store.Entry {
		entries, err := s.Entries(t.Context(), p, "k", most)
		if err != nil {
			t.Fatal(err)
		}
		return entries
	}
	everyLayout(t, core.Per(4, time.Second), func(t *testing.T, p *store.Log) {
		s := h.subject(t)
		if got := list(s, p, 10); len(got) != 0 {
			t.Errorf("an empty log: %v", got)
		}
		start := s.clock.Now()
		for range 4 {
			s.admits(p, "k", 1)
			s.clock.Advance(100 * ms)
		}
		s.denies(p, "k", 1)
		want := []store.Entry{
			{Time: start.Add(300 * ms), Cost: 1}, {Time: start.Add(200 * ms), Cost: 1},
			{Time: start.Add(100 * ms), Cost: 1}, {Time: start, Cost: 1},
		}
		if got := list(s, p, 10); !same(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if got := list(s, p, 2); !same(got, want[:2]) {
			t.Errorf("the newest two: got %v, want %v", got, want[:2])
		}
		s.clock.Advance(600 * ms)
		if got := list(s, p, 10); !same(got, want[:3]) {
			t.Errorf("after the first has left: got %v, want %v", got, want[:3])
		}
		s.clock.Advance(time.Minute)
		if got := list(s, p, 10); len(got) != 0 {
			t.Errorf("after all have left: %v", got)
		}
	})
	t.Run("costs and refunds", func(t *testing.T) {
		s := h.subject(t)
		p := newLog("p", core.Per(100, time.Second), core.VariableCost(), core.Refundable(0))
		start := s.clock.Now()
		u := s.admits(p, "k", 30)
		s.clock.Advance(5 * ms)
		s.refund(p, u, 20)
		s.clock.Advance(5 * ms)
		s.admits(p, "k", 3)
		want := []store.Entry{
			{Time: start.Add(10 * ms), Cost: 3}, {Time: start.Add(5 * ms), Refund: 20}, {Time: start, Cost: 30},
		}
		if got := list(s, p, 10); !same(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func same(a, b []store.Entry) bool {
	return slices.EqualFunc(a, b, func(a, b store.Entry) bool {
		return a.Time.Equal(b.Time) && a.Cost == b.Cost && a.Refund == b.Refund
	})
}
