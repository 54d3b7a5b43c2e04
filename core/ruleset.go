package core

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/streamlimit/streamlimit/core/internal/clientip"
	"github.com/streamlimit/streamlimit/core/internal/trie"
	"github.com/streamlimit/streamlimit/core/store"
)

// ruleset is the rules of a store, by what they are found by. It never changes: a
// change makes another, which shares nearly all with the first. So a decision needs
// no lock, and a change costs the same for any number of rules.
type ruleset struct {
	version string           // of the rules in the store; "" until they were read
	clock   func() time.Time // the store's, by which rules end
	count   int

	// formerKey returns the key of a client under the former secret, or "". It is nil
	// without such a secret: see [WithKeySecret].
	formerKey func(key string) string

	policies trie.Map[string, []Rule] // overrides and switches, by name of policy

	// Rules on clients, by key and by network, and the lengths that the networks
	// have: a client is looked up by its prefix of each length.
	keys     trie.Map[string, []Rule]
	networks trie.Map[netip.Prefix, []Rule]
	lengths  struct{ four, six []length }
}

// length is a length of networks, and how many there are of it.
type length struct{ bits, networks int }

// after returns the rules after changes. rules are the new or different rules in c that
// could be read. A rule that could not be read is deleted.
func (s ruleset) after(c store.RuleChanges, rules []Rule) ruleset {
	if c.All {
		s = ruleset{clock: s.clock, formerKey: s.formerKey}
	}
	s.version = c.Version
	for _, id := range c.Deleted {
		s = s.without(id)
	}
	for _, r := range rules {
		s = s.with(r)
	}
	return s
}

// with returns the rules with r, in the place of the one with its ID.
func (s ruleset) with(r Rule) ruleset {
	switch {
	case r.aboutPolicy():
		s.policies, s.count = withRule(s.policies, r.Policy, r, s.count)
	case r.Network.IsValid():
		known := s.networks.Len()
		s.networks, s.count = withRule(s.networks, r.Network, r, s.count)
		s.countNetworks(r.Network, s.networks.Len()-known)
	default:
		s.keys, s.count = withRule(s.keys, r.Key, r, s.count)
	}
	return s
}

// without returns the rules without the one with an ID.
func (s ruleset) without(id string) ruleset {
	kind, about, name := cutID(id)
	switch about {
	case aboutPolicy:
		s.policies, s.count = withoutRule(s.policies, name, kind, s.count)
	case aboutNetwork:
		network, err := netip.ParsePrefix(name)
		if err != nil {
			return s
		}
		known := s.networks.Len()
		s.networks, s.count = withoutRule(s.networks, network, kind, s.count)
		s.countNetworks(network, s.networks.Len()-known)
	case aboutKey:
		s.keys, s.count = withoutRule(s.keys, name, kind, s.count)
	}
	return s
}

func withRule[K comparable](m trie.Map[K, []Rule], key K, r Rule, count int) (trie.Map[K, []Rule], int) {
	rules, _ := m.Get(key)
	rest := otherKinds(rules, r.Kind)
	return m.With(key, append(rest, r)), count + 1 + len(rest) - len(rules)
}

func withoutRule[K comparable](m trie.Map[K, []Rule], key K, kind RuleKind, count int) (trie.Map[K, []Rule], int) {
	rules, _ := m.Get(key)
	rest := otherKinds(rules, kind)
	switch len(rest) {
	case len(rules):
		return m, count
	case 0:
		return m.Without(key), count - 1
	}
	return m.With(key, rest), count - 1
}

// otherKinds returns a copy of the rules without the one of a kind.
func otherKinds(rules []Rule, kind RuleKind) []Rule {
	rest := make([]Rule, 0, len(rules)+1)
	for _, r := range rules {
		if r.Kind != kind {
			rest = append(rest, r)
		}
	}
	return rest
}

// countNetworks counts networks that have come or gone, of the length of one.
func (s *ruleset) countNetworks(like netip.Prefix, more int) {
	if more == 0 {
		return
	}
	lengths := s.lengthsOf(like.Addr())
	changed := slices.Clone(*lengths)
	at, found := slices.BinarySearchFunc(changed, like.Bits(), func(l length, bits int) int { return l.bits - bits })
	if !found {
		changed = slices.Insert(changed, at, length{bits: like.Bits()})
	}
	if changed[at].networks += more; changed[at].networks == 0 {
		changed = slices.Delete(changed, at, at+1)
	}
	*lengths = changed
}

func (s *ruleset) lengthsOf(a netip.Addr) *[]length {
	if a.Is4() {
		return &s.lengths.four
	}
	return &s.lengths.six
}

// judges reports whether there are rules on clients at all.
func (s *ruleset) judges() bool { return s.keys.Len() > 0 || s.onNetworks() }

// onNetworks reports whether there are rules on networks.
func (s *ruleset) onNetworks() bool { return s.networks.Len() > 0 }

// all returns the rules, in no order.
func (s *ruleset) all() []Rule {
	all := make([]Rule, 0, s.count)
	for _, rules := range s.keys.All() {
		all = append(all, rules...)
	}
	for _, rules := range s.networks.All() {
		all = append(all, rules...)
	}
	for _, rules := range s.policies.All() {
		all = append(all, rules...)
	}
	return all
}

// search is a search for the rule that decides on a client.
type search struct {
	clock func() time.Time
	now   time.Time // zero until a rule was found that ends
	found Rule
	ok    bool
}

func (s *search) consider(rules []Rule) {
	for i := range rules {
		r := &rules[i]
		if s.now.IsZero() && !r.Until.IsZero() {
			s.now = s.clock()
		}
		if !r.ended(s.now) && (!s.ok || r.before(&s.found)) {
			s.found, s.ok = *r, true
		}
	}
}

// on returns the rule that decides on a client, which is counted by key and comes
// from a network, as small as it is known; the zero Prefix for none.
func (s *ruleset) on(key string, client netip.Prefix) (r Rule, now time.Time, ok bool) {
	found := search{clock: s.clock}
	if rules, ok := s.keys.Get(key); ok {
		found.consider(rules)
	}
	if s.formerKey != nil {
		if rules, ok := s.keys.Get(s.formerKey(key)); ok {
			found.consider(rules)
		}
	}
	if client.IsValid() && s.onNetworks() {
		s.onNetwork(client, &found)
		if inside, is4 := clientip.BehindNAT64(client.Addr()); is4 && client.IsSingleIP() {
			s.onNetwork(oneAddress(inside), &found)
		}
	}
	return found.found, found.now, found.ok
}

// onNetwork considers the rules on the networks that a client's is in.
func (s *ruleset) onNetwork(client netip.Prefix, found *search) {
	for _, l := range *s.lengthsOf(client.Addr()) {
		if l.bits > client.Bits() {
			break
		}
		if network, err := client.Addr().Prefix(l.bits); err == nil {
			if rules, ok := s.networks.Get(network); ok {
				found.consider(rules)
			}
		}
	}
}

// before reports whether r decides on a client rather than o: by their kinds, and
// the one that lasts longer of two bans.
func (r *Rule) before(o *Rule) bool {
	if r.Kind != o.Kind {
		return r.rank() < o.rank()
	}
	return o.Until.Before(r.Until)
}

func (r *Rule) rank() int { return slices.Index([]RuleKind{RuleBlock, RuleBan, RuleExempt}, r.Kind) }

// verdict returns the decision that a rule makes on a question.
func (s *ruleset) verdict(a Charge, client netip.Prefix) (Decision, bool) {
	if !client.IsValid() && s.onNetworks() {
		client = keyNetwork(a.Key)
	}
	r, now, ok := s.on(a.Key, client)
	if !ok {
		return Decision{}, false
	}
	d := Decision{Policy: a.Policy, Key: a.Key, Cost: a.Cost, Limit: a.Policy.limits[0], Source: SourceNone}
	switch r.Kind {
	case RuleExempt:
		d.Allowed, d.Reason, d.Remaining = true, ReasonExempt, d.Limit.Max
	case RuleBan:
		d.Reason, d.RetryAfter = ReasonBanned, r.Until.Sub(now)
		d.ResetAfter = d.RetryAfter
	default:
		d.Reason = ReasonBlocked
	}
	return d, true
}

// onPolicy returns the rule of a kind on the policy of that name, if it holds at a
// time. A switch of all policies is on those that have none of their own.
func (s *ruleset) onPolicy(kind RuleKind, name string, now time.Time) (Rule, bool) {
	rules, _ := s.policies.Get(name)
	for _, r := range rules {
		if r.Kind == kind && !r.ended(now) {
			return r, true
		}
	}
	if kind == RuleSwitch && name != AllPolicies {
		return s.onPolicy(kind, AllPolicies, now)
	}
	return Rule{}, false
}

// lastEnded returns the end of the rule on a policy that has ended last, or the zero Time.
func (s *ruleset) lastEnded() (last time.Time) {
	if s.policies.Len() == 0 {
		return last
	}
	now := s.clock()
	for _, rules := range s.policies.All() {
		for i := range rules {
			if r := &rules[i]; r.ended(now) && r.Until.After(last) {
				last = r.Until
			}
		}
	}
	return last
}

// What the ID of a rule says that it is about.
const (
	aboutKey     = "key"
	aboutNetwork = "network"
	aboutPolicy  = "policy"
)

// cutID returns the parts of an ID.
func cutID(id string) (kind RuleKind, about, name string) {
	first, rest, _ := strings.Cut(id, " ")
	about, name, _ = strings.Cut(rest, " ")
	return RuleKind(first), about, name
}

// keyNetwork returns the network of a key that is an address or a prefix, in the form of
// adapters. It returns the zero Prefix for other keys.
func keyNetwork(key string) netip.Prefix {
	if addr, err := netip.ParseAddr(key); err == nil {
		return oneAddress(clientip.Plain(addr))
	}
	if p, err := netip.ParsePrefix(key); err == nil {
		return clientip.PlainPrefix(p)
	}
	return netip.Prefix{}
}

// oneAddress is the network of an address alone; none for the zero Addr.
func oneAddress(a netip.Addr) netip.Prefix {
	return netip.PrefixFrom(a, a.BitLen())
}
