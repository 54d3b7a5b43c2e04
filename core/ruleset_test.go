package core

import (
	"context"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

// plainRules are rules as a plain map has them, which is looked through.
type plainRules map[string]Rule

func (m plainRules) on(key string, client netip.Prefix, now time.Time) (found Rule, ok bool) {
	for _, r := range m {
		about := r.Key == key
		if r.Network.IsValid() {
			about = client.IsValid() && r.Network.Bits() <= client.Bits() && r.Network.Contains(client.Addr())
		}
		if !r.aboutPolicy() && about && !r.ended(now) && (!ok || r.before(&found)) {
			found, ok = r, true
		}
	}
	return found, ok
}

func (m plainRules) onPolicy(kind RuleKind, name string, now time.Time) (Rule, bool) {
	for _, about := range []string{name, AllPolicies} {
		r, ok := m[Rule{Kind: kind, Policy: about}.ID()]
		if ok && !r.ended(now) {
			return r, true
		}
	}
	return Rule{}, false
}

func randomRule(random *rand.Rand, now time.Time) Rule {
	kind := []RuleKind{RuleBlock, RuleBan, RuleExempt, RuleOverride, RuleSwitch}[random.IntN(5)]
	r := Rule{Kind: kind}
	if kind == RuleBan || random.IntN(3) == 0 {
		r.Until = now.Add(time.Duration(random.IntN(2000)-500) * time.Millisecond)
	}
	switch {
	case kind == RuleOverride:
		r.Policy, r.Limits = "p"+strconv.Itoa(random.IntN(5)), []Limit{PerMinute(1 + random.Int64N(9))}
	case kind == RuleSwitch:
		r.Policy, r.Mode = []string{"p0", "p1", AllPolicies}[random.IntN(3)], []Mode{ModeShadow, ModeOff}[random.IntN(2)]
	case random.IntN(2) == 0:
		r.Key = "k" + strconv.Itoa(random.IntN(20))
	case random.IntN(2) == 0: //nolint:gocritic // drawn anew
		r.Network = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(random.IntN(3)), byte(random.IntN(3)), byte(random.IntN(3))}), random.IntN(33)).Masked()
	default:
		r.Network = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, byte(random.IntN(3)), 15: byte(random.IntN(3))}), random.IntN(129)).Masked()
	}
	return r
}

// Rules that change find the same as a plain map that all of them are looked through in.
func TestRulesetIsAMap(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	now := time.UnixMilli(1_900_000_000_000).UTC()
	s := ruleset{clock: func() time.Time { return now }}
	plain := make(plainRules)
	for step := range 6000 {
		c := store.RuleChanges{Version: strconv.Itoa(step)}
		var set []Rule
		changed := make(plainRules)
		for range random.IntN(4) {
			r := randomRule(random, now)
			changed[r.ID()] = r
		}
		for id, r := range changed {
			if random.IntN(3) == 0 {
				c.Deleted = append(c.Deleted, id)
				delete(plain, id)
			} else {
				set = append(set, r)
				plain[id] = r
			}
		}
		before, had := s, s.count
		if step%500 == 499 {
			c, set = store.RuleChanges{Version: c.Version, All: true}, slices.Collect(maps.Values(plain))
		}
		s = s.after(c, set)
		if before.count != had || len(before.all()) != had {
			t.Fatalf("step %d: the rules of before have changed", step)
		}
		all := make(plainRules)
		for _, r := range s.all() {
			all[r.ID()] = r
		}
		if !maps.EqualFunc(all, plain, func(a, b Rule) bool { return a.Until.Equal(b.Until) && a.Mode == b.Mode }) || s.count != len(plain) || s.version != c.Version {
			t.Fatalf("step %d: %d rules, counted %d, want %d", step, len(all), s.count, len(plain))
		}
		now = now.Add(time.Duration(random.IntN(5)) * time.Millisecond)
		key := "k" + strconv.Itoa(random.IntN(25))
		for _, client := range []netip.Prefix{{}, oneAddress(netip.AddrFrom4([4]byte{10, byte(random.IntN(3)), byte(random.IntN(3)), byte(random.IntN(3))})),
			netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, byte(random.IntN(3))}), 64)} {
			got, _, ok := s.on(key, client)
			want, there := plain.on(key, client, now)
			if ok != there || got.Kind != want.Kind || !got.Until.Equal(want.Until) {
				t.Fatalf("step %d: on %s from %v: %+v, want %+v", step, key, client, got, want)
			}
		}
		name := "p" + strconv.Itoa(random.IntN(6))
		for _, kind := range []RuleKind{RuleOverride, RuleSwitch} {
			got, ok := s.onPolicy(kind, name, now)
			if want, there := plain.onPolicy(kind, name, now); ok != there || got.Mode != want.Mode || got.Policy != want.Policy {
				t.Fatalf("step %d: %s on %s: %+v, want %+v", step, kind, name, got, want)
			}
		}
	}
	for id := range plain {
		s = s.without(id)
	}
	if s.count != 0 || s.judges() || s.policies.Len() != 0 || len(s.lengths.four)+len(s.lengths.six) != 0 {
		t.Errorf("left: %+v", s)
	}
	for _, id := range []string{"", "ban", "ban key", "ban network nonsense", "ban galaxy m31"} {
		if s.without(id).count != 0 {
			t.Errorf("%q deletes a rule that is not there", id)
		}
	}
}

// Decisions and changes at once, by several limiters: for the race detector.
func TestRulesAtOnce(t *testing.T) {
	store := NewMemory()
	var limiters []*Limiter
	for range 3 {
		l := New(store, WithRulesInterval(time.Millisecond))
		defer l.Close()
		limiters = append(limiters, l)
	}
	p := NewPolicy("p0", PerHour(1_000_000))
	ctx := context.Background()
	var changing, deciding sync.WaitGroup
	stop := make(chan struct{})
	for i, l := range limiters {
		changing.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 5))
			for n := range 1000 {
				r := randomRule(random, store.RuleTime().Add(time.Minute))
				if random.IntN(3) == 0 {
					if _, err := l.DeleteRule(ctx, r.ID()); err != nil {
						t.Error(err)
					}
				} else if err := l.SetRule(ctx, r); err != nil {
					t.Error(err)
				}
				if n%100 == 0 {
					if _, err := l.Rules(ctx); err != nil {
						t.Error(err)
					}
				}
			}
		})
		deciding.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if d, err := l.Allow(ctx, p, "10.0.0."+strconv.Itoa(n%5)); err != nil || d.Policy == nil {
					t.Errorf("%+v, %v", d, err)
					return
				}
			}
		})
	}
	changing.Wait()
	close(stop)
	deciding.Wait()
	want, err := limiters[0].Rules(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range limiters[1:] {
		if rules, err := l.Rules(ctx); err != nil || !slices.EqualFunc(rules, want, func(a, b Rule) bool { return a.ID() == b.ID() }) {
			t.Errorf("%d rules, %v, want %d", len(rules), err, len(want))
		}
	}
}
