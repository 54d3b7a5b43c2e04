package storetest

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// entries: what is in a window, newest first, with costs and refunds.
func (h Harness) entries(t *testing.T) {
	list := func(s *subject, p *core.Policy, most int) []core.Entry {
		entries, err := s.Entries(t.Context(), p, "k", most)
		if err != nil {
			t.Fatal(err)
		}
		return entries
	}
	everyLayout(t, core.Per(4, time.Second), func(t *testing.T, p *core.Policy) {
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
		want := []core.Entry{
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
		p := core.NewPolicy("p", core.Per(100, time.Second), core.VariableCost(), core.Refundable(0))
		start := s.clock.Now()
		u := s.admits(p, "k", 30)
		s.clock.Advance(5 * ms)
		s.refund(p, u, 20)
		s.clock.Advance(5 * ms)
		s.admits(p, "k", 3)
		want := []core.Entry{
			{Time: start.Add(10 * ms), Cost: 3}, {Time: start.Add(5 * ms), Refund: 20}, {Time: start, Cost: 30},
		}
		if got := list(s, p, 10); !same(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func same(a, b []core.Entry) bool {
	return slices.EqualFunc(a, b, func(a, b core.Entry) bool {
		return a.Time.Equal(b.Time) && a.Cost == b.Cost && a.Refund == b.Refund
	})
}

// rules: they are kept as they are, by ID, with a version that every change
// changes.
func (h Harness) rules(t *testing.T) {
	s := h.subject(t)
	seen := map[string]bool{}
	version := ""
	changed := func(want ...core.Rule) {
		t.Helper()
		rules, now, err := s.Rules(t.Context(), version)
		if err != nil {
			t.Fatal(err)
		}
		if seen[now] || now == "" {
			t.Errorf("the version %q after %q", now, version)
		}
		seen[now], version = true, now
		slices.SortFunc(rules, func(a, b core.Rule) int { return strings.Compare(a.ID(), b.ID()) })
		if len(rules) != len(want) {
			t.Fatalf("%d rules, want %d", len(rules), len(want))
		}
		for i := range rules {
			if until := rules[i].Until; !until.Equal(want[i].Until) {
				t.Errorf("rule %d ends at %v, want %v", i, until, want[i].Until)
			}
			rules[i].Until = want[i].Until
			if !reflect.DeepEqual(rules[i], want[i]) {
				t.Errorf("rule %d: %+v, want %+v", i, rules[i], want[i])
			}
		}
		if rules, same, err := s.Rules(t.Context(), version); rules != nil || same != version || err != nil {
			t.Errorf("without a change: %v, %q, %v", rules, same, err)
		}
	}
	set := func(r core.Rule) {
		t.Helper()
		if err := s.SetRule(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(id string, want bool) {
		t.Helper()
		if found, err := s.DeleteRule(t.Context(), id); found != want || err != nil {
			t.Errorf("DeleteRule(%q): %v, %v, want %v", id, found, err, want)
		}
	}
	changed()
	until := time.Now().Add(time.Hour).Round(time.Millisecond)
	ban := core.Rule{Kind: core.Ban, Key: "user=\"<é>\\ \x00", Until: until}
	block := core.Rule{Kind: core.Block, Network: netip.MustParsePrefix("2001:db8::/32")}
	override := core.Rule{Kind: core.Override, Policy: "api", Limits: []core.Limit{core.PerSecond(3), core.Per(7, 90*time.Second)}}
	set(ban)
	set(block)
	set(override)
	changed(ban, block, override)
	ban.Until = until.Add(time.Hour)
	set(ban)
	changed(ban, block, override)
	remove(block.ID(), true)
	remove(block.ID(), false)
	changed(ban, override)
	// One that has ended is as good as none.
	ended := core.Rule{Kind: core.Ban, Key: "k", Until: time.Now().Add(20 * ms)}
	set(ended)
	time.Sleep(40 * ms)
	remove(ended.ID(), false)
	changed(ban, override)
}
