package core

import (
	"context"
	"maps"
	"net/netip"
	"time"
)

// rulesInterval is how often a limiter looks for changed rules.
const rulesInterval = 400 * time.Millisecond

// maxKnown bounds the policies that a limiter remembers. A program has a few;
// one that makes policies for each request must not pile them up.
const maxKnown = 4096

// view is what policies and rules are at some time. It never changes: a change
// makes a new one, so that a decision needs no lock.
type view struct {
	rules   []Rule
	version string // of the rules in the store

	policies map[*Policy]*Policy // those met, and what they are now
	names    map[string]*Policy  // what they are now, by name

	overrides map[string]Rule   // by name of policy
	keys      map[string][]Rule // on clients, by key
	networks  []Rule
}

// newView works out what the policies met so far are, by replacements and rules.
func newView(met map[*Policy]*Policy, replaced map[string]*Policy, rules []Rule, version string) *view {
	v := &view{
		rules: rules, version: version,
		policies:  make(map[*Policy]*Policy, len(met)+1),
		names:     make(map[string]*Policy, len(met)+1),
		overrides: make(map[string]Rule),
		keys:      make(map[string][]Rule),
	}
	for _, r := range rules {
		switch {
		case r.Kind == Override:
			v.overrides[r.Policy] = r
		case r.Network.IsValid():
			v.networks = append(v.networks, r)
		default:
			v.keys[r.Key] = append(v.keys[r.Key], r)
		}
	}
	for p := range met {
		v.meet(p, replaced)
	}
	return v
}

// meet works out what p is.
func (v *view) meet(p *Policy, replaced map[string]*Policy) *Policy {
	now := p
	if r, ok := replaced[p.name]; ok {
		now = r
	}
	if r, ok := v.overrides[p.name]; ok {
		if changed, err := now.With(limitOptions(r.Limits)...); err == nil {
			now = changed
		}
	}
	// Policies of one name that are the same now are one.
	if known, ok := v.names[p.name]; ok && known.same(now) {
		now = known
	}
	v.policies[p] = now
	v.names[p.name] = now
	return now
}

// effective is what p is now. It is how a limiter meets a policy.
func (l *Limiter) effective(p *Policy) *Policy {
	v := l.view.Load()
	if now, ok := v.policies[p]; ok {
		return now
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v = l.view.Load()
	if now, ok := v.policies[p]; ok {
		return now
	}
	if known, ok := v.names[p.name]; ok && !known.same(v.meetAlone(p, l.replaced)) {
		l.warnings.policyTwice(p.name)
	}
	if len(v.policies) >= maxKnown {
		return v.meetAlone(p, l.replaced)
	}
	next := *v
	next.policies, next.names = maps.Clone(v.policies), maps.Clone(v.names)
	now := next.meet(p, l.replaced)
	l.view.Store(&next)
	return now
}

// meetAlone works out what p is without keeping it.
func (v *view) meetAlone(p *Policy, replaced map[string]*Policy) *Policy {
	alone := view{overrides: v.overrides, policies: make(map[*Policy]*Policy), names: make(map[string]*Policy)}
	return alone.meet(p, replaced)
}

// Meet makes policies known before their first request, for [Limiter.Policies].
func (l *Limiter) Meet(policies ...*Policy) {
	for _, p := range policies {
		if p != nil && len(p.limits) > 0 {
			l.effective(p)
		}
	}
}

// Replace puts policies in the place of those of the same names, for this
// process, from the next decision on: after a settings file has changed, for
// one. Those replaced before and not named any more are themselves again. What was counted
// stays where [Policy.LogName] does.
func (l *Limiter) Replace(policies ...*Policy) {
	replaced := make(map[string]*Policy, len(policies))
	for _, p := range policies {
		if p == nil || len(p.limits) == 0 {
			panic("core: Replace: nil policy: leave it out")
		}
		replaced[p.name] = p
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.replaced = replaced
	v := l.view.Load()
	l.view.Store(newView(v.policies, replaced, v.rules, v.version))
}

// refreshRules takes over changed rules from the store.
func (l *Limiter) refreshRules(ctx context.Context) error {
	rules, version, err := l.store.Rules(ctx, l.view.Load().version)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.view.Load()
	if version != v.version {
		l.view.Store(newView(v.policies, l.replaced, rules, version))
	}
	return nil
}

// watchRules takes over changed rules until the limiter is closed. While the
// store does not answer, those that are known stay.
func (l *Limiter) watchRules() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-l.stop
		cancel()
	}()
	tick := time.NewTicker(rulesInterval)
	defer tick.Stop()
	for {
		_ = l.refreshRules(ctx)
		select {
		case <-l.stop:
			return
		case <-tick.C:
		}
	}
}

// judges is whether there are rules on clients at all.
func (v *view) judges() bool { return len(v.keys) > 0 || len(v.networks) > 0 }

// verdict is the decision that a rule on the client makes, if one does. address
// finds the client's; it may be nil, or find none: then the key may be one.
func (v *view) verdict(a Ask, address func() netip.Addr) (Decision, bool) {
	if !v.judges() {
		return Decision{}, false
	}
	now := time.Now()
	var found Rule
	consider := func(r Rule) {
		if !r.ended(now) && (found.Kind == "" || r.rank() < found.rank() || r.Kind == found.Kind && found.Until.Before(r.Until)) {
			found = r
		}
	}
	for _, r := range v.keys[a.Key] {
		consider(r)
	}
	if len(v.networks) > 0 {
		var addr netip.Addr
		if address != nil {
			addr = address()
		}
		if !addr.IsValid() {
			addr = keyAddress(a.Key)
		}
		for _, r := range v.networks {
			if r.Network.Contains(addr) {
				consider(r)
			}
		}
	}
	if found.Kind == "" {
		return Decision{}, false
	}
	d := Decision{Policy: a.Policy, Key: a.Key, Cost: a.Cost, Limit: a.Policy.limits[0], Source: SourceNone}
	switch found.Kind {
	case Exempt:
		d.Allowed, d.Reason, d.Remaining = true, ReasonExempt, d.Limit.Max
	case Ban:
		d.Reason = ReasonBanned
		d.RetryAfter = max(time.Millisecond, found.Until.Sub(now))
		d.ResetAfter = d.RetryAfter
	default:
		d.Reason = ReasonBlocked
	}
	return d, true
}

// rank is the order in which rules on one client come.
func (r Rule) rank() int {
	switch r.Kind {
	case Block:
		return 0
	case Ban:
		return 1
	}
	return 2
}

// keyAddress is the address in a key that [Identity.Address] has made, else the
// zero Addr.
func keyAddress(key string) netip.Addr {
	if addr, err := netip.ParseAddr(key); err == nil {
		return plain(addr)
	}
	if p, err := netip.ParsePrefix(key); err == nil {
		return plain(p.Addr())
	}
	return netip.Addr{}
}
