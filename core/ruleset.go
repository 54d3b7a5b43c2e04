package core

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// ruleset is the rules of a store, by what they are found by. It never changes.
type ruleset struct {
	version string // of the rules in the store
	rules   []Rule
	ends    time.Time // when the first of them does; the zero Time for never

	overrides map[string]Rule // by name of policy

	// Those on clients, by key and by network, and the lengths that the networks
	// have: a client is looked up by its prefix of each length.
	keys     map[string][]Rule
	networks map[netip.Prefix][]Rule
	lengths  []int
}

// newRuleset sorts rules in their normal form, without those that have ended.
func newRuleset(rules []Rule, version string, now time.Time) ruleset {
	s := ruleset{
		version:   version,
		overrides: make(map[string]Rule),
		keys:      make(map[string][]Rule),
		networks:  make(map[netip.Prefix][]Rule),
	}
	lengths := make(map[int]bool)
	for _, r := range rules {
		if r.ended(now) {
			continue
		}
		s.rules = append(s.rules, r)
		if !r.Until.IsZero() && (s.ends.IsZero() || r.Until.Before(s.ends)) {
			s.ends = r.Until
		}
		switch {
		case r.Kind == Override:
			s.overrides[r.Policy] = r
		case r.Network.IsValid():
			s.networks[r.Network] = append(s.networks[r.Network], r)
			lengths[r.Network.Bits()] = true
		default:
			s.keys[r.Key] = append(s.keys[r.Key], r)
		}
	}
	s.lengths = slices.Sorted(maps.Keys(lengths))
	return s
}

// judges reports whether there are rules on clients at all.
func (s *ruleset) judges() bool { return len(s.keys) > 0 || len(s.networks) > 0 }

// on is the rule that decides on a client, which is counted by key and comes
// from a network, as small as it is known; the zero Prefix for none.
func (s *ruleset) on(key string, client netip.Prefix, now time.Time) (found Rule, ok bool) {
	consider := func(rules []Rule) {
		for _, r := range rules {
			if !r.ended(now) && (!ok || r.before(found)) {
				found, ok = r, true
			}
		}
	}
	within := func(client netip.Prefix) {
		for _, bits := range s.lengths {
			if bits > client.Bits() {
				break
			}
			if network, err := client.Addr().Prefix(bits); err == nil {
				consider(s.networks[network])
			}
		}
	}
	consider(s.keys[key])
	within(client)
	if inside, is4 := behindNAT64(client.Addr()); is4 && client.IsSingleIP() {
		within(oneAddress(inside))
	}
	return found, ok
}

// before reports whether r decides on a client rather than o: by their kinds, and
// the one that lasts longer of two bans.
func (r Rule) before(o Rule) bool {
	if r.Kind != o.Kind {
		return r.rank() < o.rank()
	}
	return o.Until.Before(r.Until)
}

func (r Rule) rank() int { return slices.Index([]RuleKind{Block, Ban, Exempt}, r.Kind) }

// verdict is the decision that a rule makes on a question.
func (s *ruleset) verdict(a Ask, client netip.Prefix) (Decision, bool) {
	if !client.IsValid() && len(s.networks) > 0 {
		client = keyNetwork(a.Key)
	}
	now := time.Now()
	r, ok := s.on(a.Key, client, now)
	if !ok {
		return Decision{}, false
	}
	d := Decision{Policy: a.Policy, Key: a.Key, Cost: a.Cost, Limit: a.Policy.limits[0], Source: SourceNone}
	switch r.Kind {
	case Exempt:
		d.Allowed, d.Reason, d.Remaining = true, ReasonExempt, d.Limit.Max
	case Ban:
		d.Reason, d.RetryAfter = ReasonBanned, r.Until.Sub(now)
		d.ResetAfter = d.RetryAfter
	default:
		d.Reason = ReasonBlocked
	}
	return d, true
}

// keyNetwork is the address or prefix that a key is, as [Identity.Address] makes
// them, or the zero Prefix.
func keyNetwork(key string) netip.Prefix {
	if addr, err := netip.ParseAddr(key); err == nil {
		return oneAddress(plain(addr))
	}
	if p, err := netip.ParsePrefix(key); err == nil {
		return plainPrefix(p)
	}
	return netip.Prefix{}
}

// oneAddress is the network of an address alone; none for the zero Addr.
func oneAddress(a netip.Addr) netip.Prefix {
	return netip.PrefixFrom(a, a.BitLen())
}
