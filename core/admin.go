package core

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

// Reset deletes what was counted for key under p, so all its units are back. The key
// may be one that a decision shows, here and below.
func (l *Limiter) Reset(ctx context.Context, p *Policy, key string) error {
	a, err := l.log(p, key)
	if err != nil {
		return err
	}
	for _, key := range l.bothKeys(a.Key) {
		for _, log := range append(slices.Clone(a.Policy.log.Earlier), a.Policy.log) {
			if err := l.store.Reset(ctx, log, key); err != nil {
				return policyError(a.Policy, err)
			}
		}
	}
	return nil
}

// bothKeys returns the former key if there is one, and the key.
func (l *Limiter) bothKeys(key string) []string {
	if former := l.identity.Former(key); former != "" {
		return []string{former, key}
	}
	return []string{key}
}

// Entries returns the requests in the log of p and key that still count, newest first,
// up to most of them.
func (l *Limiter) Entries(ctx context.Context, p *Policy, key string, most int) ([]store.Entry, error) {
	a, err := l.log(p, key)
	if err != nil {
		return nil, err
	}
	if most < 1 {
		return nil, fmt.Errorf("core: Entries: %d entries: ask for at least 1", most)
	}
	key, err = l.fullerKey(ctx, a)
	if err != nil {
		return nil, policyError(a.Policy, err)
	}
	entries, err := l.store.Entries(ctx, a.Policy.log, key, most)
	for _, log := range a.Policy.log.Earlier {
		if err == nil {
			var more []store.Entry
			more, err = l.store.Entries(ctx, log, key, most)
			entries = append(entries, more...)
		}
	}
	if err != nil {
		return nil, policyError(a.Policy, err)
	}
	if len(a.Policy.log.Earlier) > 0 {
		slices.SortStableFunc(entries, func(a, b store.Entry) int { return b.Time.Compare(a.Time) })
	}
	return entries[:min(most, len(entries))], nil
}

// fullerKey returns the key or the former key of a charge: the one whose log has all that
// the other has.
func (l *Limiter) fullerKey(ctx context.Context, a Charge) (string, error) {
	former := a.onLog()
	if former.Key = l.identity.Former(a.Key); former.Key == "" {
		return a.Key, nil
	}
	looks, _, err := l.peekAll(ctx, []store.Charge{a.onLog(), former})
	if err != nil {
		return "", err
	}
	for i, limit := range looks[1].Limits {
		if limit.Used > looks[0].Limits[i].Used {
			return former.Key, nil
		}
	}
	return a.Key, nil
}

// Used is what a key has used of one limit.
type Used struct {
	Limit Limit
	Units int64     // without those given back; at most Limit.Max, unless that was lowered
	Since time.Time // when the calendar period began; the start of the window for a limit that slides
	Until time.Time // when the calendar period ends; the zero Time for a limit that slides
}

// Used returns what the key has used of each limit of p, in the policy's order, for a page
// that shows it to a user. It counts nothing, and looks at the log also where a rule
// decides without it. If the store does not answer, Used returns an error in every failure
// mode.
func (l *Limiter) Used(ctx context.Context, p *Policy, key string) ([]Used, error) {
	a, err := l.log(p, key)
	if err != nil {
		return nil, err
	}
	key, err = l.fullerKey(ctx, a)
	if err != nil {
		return nil, policyError(a.Policy, err)
	}
	u, err := l.store.Peek(ctx, a.Policy.log, key, 1)
	if err != nil {
		return nil, policyError(a.Policy, err)
	}
	now := l.store.RuleTime()
	used := make([]Used, len(a.Policy.limits))
	for i, limit := range a.Policy.limits {
		used[i] = Used{Limit: limit, Units: u.Limits[i].Used}
		used[i].Since, used[i].Until = a.Policy.log.Limits[i].Bounds(now, u.Limits[i].FreeIn)
	}
	return used, nil
}

// log names the log of p and key.
func (l *Limiter) log(p *Policy, key string) (Charge, error) {
	a := Charge{Policy: p, Key: key, Cost: 1}
	err := l.prepare(l.view.Load(), &a)
	a.Key = shownKey(key)
	return a, err
}

// Policies returns the policies that are registered with the limiter, as they are now,
// sorted by name. The first request of a policy registers it, and so does
// [Limiter.Register], which adapters call when they are made.
func (l *Limiter) Policies() []*Policy {
	v := l.view.Load()
	policies := make([]*Policy, 0, len(v.names))
	for _, known := range v.names {
		policies = append(policies, known.now)
	}
	slices.SortFunc(policies, func(a, b *Policy) int { return strings.Compare(a.name, b.name) })
	return policies
}

// Policy returns the policy called name as it is now, if it is registered with the
// limiter.
func (l *Limiter) Policy(name string) (p *Policy, ok bool) {
	known, ok := l.view.Load().names[name]
	return known.now, ok
}

// Ban denies all requests of key for a time, under every policy: see [Rule]. It
// replaces an earlier ban.
func (l *Limiter) Ban(ctx context.Context, key string, d time.Duration) error {
	if d < time.Millisecond {
		return fmt.Errorf("core: Ban: for %v: use at least 1ms", d)
	}
	now, err := l.Now(ctx)
	if err != nil {
		return err
	}
	return l.setRule(ctx, Rule{Kind: RuleBan, Key: key, Until: now.Add(d)}, now)
}

// Now returns the time by the store's clock, by which rules end. Now calls the store, so
// the time is right to a few milliseconds, whatever this process's clock says.
func (l *Limiter) Now(ctx context.Context) (time.Time, error) {
	if err := l.refreshRules(ctx); err != nil {
		return time.Time{}, ruleError(err)
	}
	return l.store.RuleTime(), nil
}

// Unban ends a ban, and reports whether there was one.
func (l *Limiter) Unban(ctx context.Context, key string) (bool, error) {
	found := false
	for _, key := range l.bothKeys(shownKey(key)) {
		one, err := l.DeleteRule(ctx, Rule{Kind: RuleBan, Key: key}.ID())
		if err != nil {
			return found, err
		}
		found = found || one
	}
	return found, nil
}

// SetRule adds a rule, or replaces the one with the same ID. It holds in this process
// when SetRule returns, and in the others within a second. A new rule beyond
// [store.MaxRules] is a [store.ErrTooManyRules]. The cost of SetRule does not depend on
// the number of rules.
func (l *Limiter) SetRule(ctx context.Context, r Rule) error {
	var now time.Time
	if !r.Until.IsZero() {
		if _, err := r.normalize(); err != nil {
			return err // without a question to the store
		}
		var err error
		if now, err = l.Now(ctx); err != nil {
			return err
		}
	}
	return l.setRule(ctx, r, now)
}

// setRule sets a rule. now is the store's time for a rule that ends.
func (l *Limiter) setRule(ctx context.Context, r Rule, now time.Time) error {
	r, err := r.normalize()
	if err != nil {
		return err
	}
	if r.ended(now) {
		return fmt.Errorf("core: rule: it ends in the past, at %v", r.Until)
	}
	v := l.view.Load()
	if known, ok := v.names[r.Policy]; ok && r.Kind == RuleOverride {
		if _, err := known.base.With(limitOptions(r.Limits)...); err != nil {
			return err
		}
	}
	kept, err := r.stored()
	if err != nil {
		return ruleError(err)
	}
	if err := l.store.SetRule(ctx, kept); err != nil {
		return ruleError(err)
	}
	return ruleError(l.refreshRules(ctx))
}

// DeleteRule removes the rule with the ID, and reports whether there was one.
func (l *Limiter) DeleteRule(ctx context.Context, id string) (bool, error) {
	found, err := l.store.DeleteRule(ctx, id)
	if err != nil {
		return false, ruleError(err)
	}
	return found, ruleError(l.refreshRules(ctx))
}

// Rules returns the rules that hold now, sorted by ID.
func (l *Limiter) Rules(ctx context.Context) ([]Rule, error) {
	if err := l.refreshRules(ctx); err != nil {
		return nil, ruleError(err)
	}
	now := l.store.RuleTime()
	rules := make(map[string]Rule)
	for _, r := range l.view.Load().all() {
		if !r.ended(now) {
			r.Limits = slices.Clone(r.Limits)
			rules[r.ID()] = r
		}
	}
	sorted := make([]Rule, 0, len(rules))
	for _, id := range slices.Sorted(maps.Keys(rules)) {
		sorted = append(sorted, rules[id])
	}
	return sorted, nil
}

func ruleError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("core: rule: %w", err)
}
