package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

// follower is a process that follows the rules in a store.
type follower struct {
	*subject
	version string
	rules   map[string]store.Rule // by ID
	read    int                   // number of rules and IDs in the last response
}

func (s *subject) follower() *follower {
	return &follower{subject: s, rules: make(map[string]store.Rule)}
}

// follow reads the changes.
func (f *follower) follow() {
	f.Helper()
	c, err := f.Rules(f.Context(), f.version)
	if err != nil {
		f.Fatalf("Rules: %v", err)
	}
	if c.Version == "" {
		f.Error("the version is empty")
	}
	if f.version == "" && !c.All {
		f.Error("a process that starts does not get all rules")
	}
	if c.Version == f.version && (c.All || len(c.Set) > 0 || len(c.Deleted) > 0) {
		f.Errorf("changes without another version: %+v", c)
	}
	if c.All {
		f.rules = make(map[string]store.Rule)
	}
	changed := make(map[string]bool)
	once := func(id string) {
		if changed[id] {
			f.Errorf("%q is twice in the changes", id)
		}
		changed[id] = true
	}
	for _, r := range c.Set {
		once(r.ID)
		f.rules[r.ID] = r
	}
	for _, id := range c.Deleted {
		once(id)
		delete(f.rules, id)
	}
	f.version, f.read = c.Version, len(changed)
}

func (s *subject) set(r store.Rule) {
	s.Helper()
	if err := s.SetRule(s.Context(), r); err != nil {
		s.Fatalf("SetRule: %v", err)
	}
}

func (s *subject) remove(id string, want bool) {
	s.Helper()
	if found, err := s.DeleteRule(s.Context(), id); found != want || err != nil {
		s.Errorf("DeleteRule(%q): %v, %v, want %v", id, found, err, want)
	}
}

// pass lets time pass on the clock of the rules.
func (s *subject) pass(d time.Duration) {
	s.clock.Advance(d)
	time.Sleep(d)
}

// rules checks that rules are kept by ID without change. Each change changes the version,
// and rules end by the store's clock.
func (h Harness) rules(t *testing.T) {
	s := h.subject(t)
	f := s.follower()
	seen := map[string]bool{}
	changed := func(read int, want ...store.Rule) {
		t.Helper()
		f.follow()
		if seen[f.version] {
			t.Errorf("the version %q again", f.version)
		}
		seen[f.version] = true
		if f.read != read || len(f.rules) != len(want) {
			t.Errorf("%d changes and %d rules, want %d and %d", f.read, len(f.rules), read, len(want))
		}
		for _, w := range want {
			got := f.rules[w.ID]
			if !got.Until.Equal(w.Until) {
				t.Errorf("%s ends at %v, want %v", w.ID, got.Until, w.Until)
			}
			got.Until = w.Until
			if !reflect.DeepEqual(got, w) {
				t.Errorf("%s: %+v, want %+v", w.ID, got, w)
			}
		}
		version := f.version
		if f.follow(); f.version != version {
			t.Errorf("without a change: %q after %q", f.version, version)
		}
	}
	changed(0)
	until := s.RuleTime().Add(time.Hour).Round(time.Millisecond)
	ban := store.Rule{ID: "ban key user=\"<é>\\ \x00", Text: `{"key":"user=\"<é>\\"} `, Until: until}
	block := store.Rule{ID: "block network 2001:db8::/32", Text: "{}"}
	override := store.Rule{ID: "override policy api", Text: "0 text \"<é>\r\n"}
	all := store.Rule{ID: "switch policy *", Text: "1", Until: until}
	s.set(ban)
	s.set(block)
	s.set(override)
	s.set(all)
	changed(4, ban, block, override, all)
	ban.Until = until.Add(time.Hour)
	s.set(ban)
	changed(1, ban, block, override, all)
	s.remove(block.ID, true)
	s.remove(block.ID, false)
	changed(1, ban, override, all)
	// Several changes of one rule count as one.
	for range 3 {
		s.set(block)
		s.remove(block.ID, true)
	}
	changed(1, ban, override, all)
	// A rule that has ended has no effect, and the next change removes it.
	ended := store.Rule{ID: "ban key k", Text: "{}", Until: s.RuleTime().Add(20 * ms)}
	s.set(ended)
	f.follow()
	s.pass(40 * ms)
	s.remove(ended.ID, false)
	s.set(block)
	changed(2, ban, block, override, all)
	// A reader with another version, or with a version of another store, gets all rules.
	for _, version := range []string{"", "1", "12345678-9", "0-0", "a version", "99999999999999999999999999"} {
		other := s.follower()
		other.version = version
		if other.follow(); other.version != f.version || !reflect.DeepEqual(other.rules, f.rules) {
			t.Errorf("who knows %q has %v, want %v", version, other.rules, f.rules)
		}
	}
}

// rulesFollowed checks that processes that read at different times have the same rules. A
// plain map with all changes is the reference.
func (h Harness) rulesFollowed(t *testing.T) {
	s := h.subject(t)
	random := rand.New(rand.NewPCG(1, 2))
	want := make(map[string]store.Rule)
	followers := []*follower{s.follower(), s.follower(), s.follower()}
	check := func(f *follower) {
		t.Helper()
		f.follow()
		if len(f.rules) != len(want) {
			t.Fatalf("%d rules, want %d", len(f.rules), len(want))
		}
		for id, r := range want {
			if got, ok := f.rules[id]; !ok || !got.Until.Equal(r.Until) || got.Text != r.Text {
				t.Fatalf("%s: %+v, want %+v", id, got, r)
			}
		}
	}
	start := s.RuleTime().Truncate(time.Millisecond)
	for step := range 2000 {
		r := store.Rule{ID: "ban key " + strconv.Itoa(random.IntN(60)), Text: strconv.Itoa(step), Until: start.Add(time.Hour + time.Duration(step)*ms)}
		switch random.IntN(4) {
		case 0:
			r = store.Rule{ID: fmt.Sprintf("block network 10.%d.0.0/16", random.IntN(9)), Text: strconv.Itoa(step)}
		case 1:
			r = store.Rule{ID: "switch policy p" + strconv.Itoa(random.IntN(9)), Text: strconv.Itoa(step)}
		}
		if random.IntN(3) == 0 {
			_, there := want[r.ID]
			s.remove(r.ID, there)
			delete(want, r.ID)
		} else {
			s.set(r)
			want[r.ID] = r
		}
		for i, every := range []int{1, 37, 1500} {
			if step%every == every-1 {
				check(followers[i])
			}
		}
	}
	for _, f := range append(followers, s.follower()) {
		check(f)
	}
}

// rulesAtAnyNumber checks that there is room for store.MaxRules and no more, and that a
// reader of changes gets only the changes.
func (h Harness) rulesAtAnyNumber(t *testing.T) {
	s := h.subject(t)
	one, late := s.follower(), s.follower()
	one.follow()
	late.follow()
	rule := func(i int) store.Rule { return store.Rule{ID: "block key client " + strconv.Itoa(i), Text: "{}"} }
	const writers = 64
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := w; i < store.MaxRules; i += writers {
				if err := s.SetRule(t.Context(), rule(i)); err != nil {
					t.Errorf("rule %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if one.follow(); len(one.rules) != store.MaxRules {
		t.Fatalf("%d rules, want %d", len(one.rules), store.MaxRules)
	}
	if err := s.SetRule(t.Context(), rule(store.MaxRules)); !errors.Is(err, store.ErrTooManyRules) {
		t.Errorf("one more: %v, want ErrTooManyRules", err)
	}
	s.set(rule(5)) // replaces an existing rule
	s.remove(rule(7).ID, true)
	s.set(rule(store.MaxRules))
	if one.follow(); one.read != 3 || len(one.rules) != store.MaxRules {
		t.Errorf("%d changes and %d rules, want 3 and %d", one.read, len(one.rules), store.MaxRules)
	}
	if late.follow(); !reflect.DeepEqual(late.rules, one.rules) {
		t.Errorf("a late follower has %d rules, want %d", len(late.rules), len(one.rules))
	}
}
