package core

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

// maxKnown bounds the policies that a limiter keeps. A program has a few policies. A
// program that makes policies for each request must not fill the memory with them.
const maxKnown = 1024

// view is what policies and rules are at some time. It never changes: a change
// makes a new one, so that a decision needs no lock.
type view struct {
	policies map[*Policy]*Policy // those met, and what they are now
	names    map[string]met      // the first met of each name
	replaced map[string]*Policy  // what others stand in for, by name

	// origins are the policies that overrides have made others of. Who was handed
	// one of those, such as by Limiter.Policy, asks by the origin's from then on.
	origins map[*Policy]*Policy

	former  map[string]former     // logs before a change, by their names
	written map[string]*store.Log // what the policies write, without earlier logs, by name

	ruleset
	ends  time.Time // when the first rule on a policy that was met does; the zero Time for never
	ended time.Time // when the last rule on a policy that has ended did; the zero Time for none
	unfit error     // of an override that can't be applied to its policy; nil for none

	fresh   bool             // nothing was decided before
	refused map[string]error // changes that can't be made, by the policy's name
}

// met is a policy that the limiter knows.
type met struct {
	first *Policy // that the limiter met
	base  *Policy // what it is without overrides
	now   *Policy // what it is
}

// newView works out what the policies met so far are, by replacements and rules.
func (l *Limiter) newView(before *view, replaced map[string]*Policy, rules ruleset) *view {
	v := &view{
		fresh:    !l.decided.Ever(),
		refused:  make(map[string]error),
		policies: make(map[*Policy]*Policy, len(before.policies)+1),
		names:    make(map[string]met, len(before.names)+1),
		replaced: replaced,
		origins:  make(map[*Policy]*Policy, len(before.origins)+1),
		ruleset:  rules,
	}
	if len(before.origins) < maxKnown {
		maps.Copy(v.origins, before.origins)
	}
	v.recordChanges(before, time.Now())
	v.ended = rules.lastEnded()
	for _, known := range before.names {
		v.meet(known.first, known.now)
	}
	for p, now := range before.policies {
		v.meet(p, now)
	}
	return v
}

// changed is a copy of the view that may be changed until it is stored.
func (v *view) changed() *view {
	next := *v
	next.policies, next.names, next.origins = maps.Clone(v.policies), maps.Clone(v.names), maps.Clone(v.origins)
	next.former, next.written = maps.Clone(v.former), maps.Clone(v.written)
	return &next
}

// base is what p is without overrides.
func (v *view) base(p *Policy) *Policy {
	if origin, ok := v.origins[p]; ok {
		p = origin
	}
	if r, ok := v.replaced[p.name]; ok {
		return r
	}
	return p
}

// like is what p is now, if it is no other than the first met of its name.
func (v *view) like(p *Policy) (now *Policy, ok bool) {
	known, ok := v.names[p.name]
	if !ok || known.base != p && !known.base.same(v.base(p)) {
		return nil, false
	}
	return known.now, true
}

// ruled returns what a policy is by the rules on it, and when that ends: the zero
// Time for never. An override that does not fit changes nothing.
func (v *view) ruled(base *Policy) (p *Policy, ends time.Time, err error) {
	p = base
	if v.ruleset.policies.Len() == 0 {
		return p, ends, nil
	}
	now := v.clock()
	if r, ok := v.onPolicy(RuleOverride, base.name, now); ok {
		ends = r.Until
		if p, err = base.With(limitOptions(r.Limits)...); err != nil {
			p = base
		}
	}
	if r, ok := v.onPolicy(RuleSwitch, base.name, now); ok {
		ends = sooner(ends, r.Until)
		p, _ = p.With(switched(r.Mode)) // fits every policy
	}
	return p, ends, err
}

// sooner returns the first of two ends; the zero Time is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// meet makes p known. What it was before stays if nothing has changed.
func (v *view) meet(p, was *Policy) *Policy {
	if now, ok := v.like(p); ok {
		v.policies[p] = now
		return now
	}
	base := v.base(p)
	now, ends, err := v.ruled(base)
	v.ends = sooner(v.ends, ends)
	if err != nil {
		v.unfit = err
	}
	v.written[now.log.Name] = now.log
	now = v.withFormer(now, was)
	if was != nil && now != base && now.same(was) {
		now = was
	}
	first := p
	if origin, ok := v.origins[p]; ok {
		first = origin
	}
	if now != base {
		v.origins[now] = first
	}
	v.policies[p] = now
	if _, ok := v.names[p.name]; !ok {
		v.names[p.name] = met{first: first, base: base, now: now}
	}
	return now
}

// effective is what p is now.
func (l *Limiter) effective(v *view, p *Policy) *Policy {
	if now, ok := v.policies[p]; ok {
		return now
	}
	if now, ok := v.like(p); ok {
		return now
	}
	if known, ok := v.names[p.name]; ok {
		l.warnings.policyTwice(known.base, v.base(p))
	}
	if len(v.policies) >= maxKnown {
		now, _, _ := v.ruled(v.base(p))
		return now
	}
	return l.meet(p)
}

// meet makes p known to the limiter.
func (l *Limiter) meet(p *Policy) *Policy {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.view.Load()
	if now, ok := v.policies[p]; ok {
		return now
	}
	next := v.changed()
	now := next.meet(p, nil)
	l.show(next)
	l.expect(now)
	return now
}

// show makes v the view. The caller holds l.mu.
func (l *Limiter) show(v *view) {
	before := l.view.Swap(v)
	for log := range v.written {
		if before.written[log] == nil {
			l.wakeRegistry()
		}
	}
	l.warnUnfit(v.unfit)
	l.awaitEnd(v.ends)
}

// Register registers policies before their first request, for [Limiter.Policies]. Of
// several policies with one name, the first is registered.
func (l *Limiter) Register(policies ...*Policy) {
	for _, p := range policies {
		if p != nil && len(p.limits) > 0 {
			l.effective(l.view.Load(), p)
		}
	}
}

// Replace installs policies in place of those with the same names, in this
// process, from the next decision on. Use it after a settings file has
// changed, for example. A policy that an earlier call replaced, and this call does not,
// is restored. A [RuleOverride] of a policy's limits also applies to its replacement.
//
// What was counted before a change of limits continues to count, here as after a
// [RuleOverride] or a new deployment. So no window as long as the shortest in force,
// before and after, has more than the largest Max in force. A longer window is exact
// from one window after the change on. There are three exceptions:
//
//   - A process that does not know of a change counts only the log of the earlier limits.
//     It reads a rule within a second, see [WithRulesInterval]. In a store that several
//     processes share, it reads the logs of other processes within 20 seconds. After an
//     idle time it reads them with its first decision, which does not wait for them. The
//     first decisions of a process do wait, for a second at most, the first connection
//     included. The first decisions on a later policy wait for the store's timeout at
//     most. Neither wait takes more than half of the time that the caller has.
//   - A policy has at most 8 earlier logs. A further change in one process waits until one
//     of them is empty, and a log line says so.
//   - The periods of calendar limits, and the windows beside them, can't be changed after
//     the limiter's first decision. Replace then returns an error and replaces nothing.
//     Before it, and in a new process, such a policy begins with an empty log.
func (l *Limiter) Replace(policies ...*Policy) error {
	replaced := make(map[string]*Policy, len(policies))
	for _, p := range policies {
		if p == nil || len(p.limits) == 0 {
			panic("core: Replace: nil policy: leave it out")
		}
		replaced[p.name] = p
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.view.Load()
	next := l.newView(v, replaced, v.ruleset)
	for _, name := range slices.Sorted(maps.Keys(next.refused)) {
		if v.refused[name] == nil { // and not by a rule before
			return fmt.Errorf("core: Replace: %w", next.refused[name])
		}
	}
	l.show(next)
	return nil
}
