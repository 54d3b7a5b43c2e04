package core

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Reset forgets what was counted for key under p: all its units are back.
func (l *Limiter) Reset(ctx context.Context, p *Policy, key string) error {
	a := Ask{Policy: p, Key: key, Cost: 1}
	if err := l.prepare(&a); err != nil {
		return err
	}
	if err := l.store.Reset(ctx, a.Policy, a.Key); err != nil {
		return fmt.Errorf("streamlimit: policy %s: %w", a.Policy.name, err)
	}
	return nil
}

// Entries are the requests in the log of p and key that still count, newest
// first, and no more than most of them.
func (l *Limiter) Entries(ctx context.Context, p *Policy, key string, most int) ([]Entry, error) {
	a := Ask{Policy: p, Key: key, Cost: 1}
	if err := l.prepare(&a); err != nil {
		return nil, err
	}
	if most < 1 {
		return nil, fmt.Errorf("core: Entries: %d entries: ask for at least 1", most)
	}
	entries, err := l.store.Entries(ctx, a.Policy, a.Key, most)
	if err != nil {
		return nil, fmt.Errorf("streamlimit: policy %s: %w", a.Policy.name, err)
	}
	return entries, nil
}

// Policies are the policies that the limiter has met, as they are now, by name.
// Adapters make them known when they are made.
func (l *Limiter) Policies() []*Policy {
	v := l.view.Load()
	policies := make([]*Policy, 0, len(v.names))
	for _, p := range v.names {
		policies = append(policies, p)
	}
	slices.SortFunc(policies, func(a, b *Policy) int { return strings.Compare(a.name, b.name) })
	return policies
}

// Policy is the policy called name as it is now, if the limiter has met it.
func (l *Limiter) Policy(name string) (p *Policy, ok bool) {
	p, ok = l.view.Load().names[name]
	return p, ok
}

// Ban denies key everything for a time, whatever policy it is counted by: see
// [Rule]. A ban that is there already is replaced.
func (l *Limiter) Ban(ctx context.Context, key string, d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf("core: Ban: for %v: use a duration above 0", d)
	}
	return l.SetRule(ctx, Rule{Kind: Ban, Key: key, Until: time.Now().Add(d)})
}

// Unban ends a ban, and reports whether there was one.
func (l *Limiter) Unban(ctx context.Context, key string) (bool, error) {
	return l.DeleteRule(ctx, Rule{Kind: Ban, Key: key}.ID())
}

// Override gives the policy called name other limits, for all processes on the
// same store, until [Limiter.DeleteRule] removes the rule: see [Rule].
func (l *Limiter) Override(ctx context.Context, name string, limits ...Limit) error {
	return l.SetRule(ctx, Rule{Kind: Override, Policy: name, Limits: limits})
}

// SetRule adds a rule, or replaces the one with the same ID. It holds in this
// process when SetRule returns, and in the others within a second.
func (l *Limiter) SetRule(ctx context.Context, r Rule) error {
	r, err := r.normalize()
	if err != nil {
		return err
	}
	if r.ended(time.Now()) {
		return fmt.Errorf("core: rule: it ends in the past, at %v", r.Until)
	}
	if r.Kind == Override {
		if p, ok := l.Policy(r.Policy); ok {
			if _, err := p.With(limitOptions(r.Limits)...); err != nil {
				return err
			}
		}
	}
	if err := l.store.SetRule(ctx, r); err != nil {
		return fmt.Errorf("streamlimit: rule: %w", err)
	}
	return l.refreshRules(ctx)
}

// DeleteRule removes the rule with an ID, and reports whether there was one.
func (l *Limiter) DeleteRule(ctx context.Context, id string) (bool, error) {
	found, err := l.store.DeleteRule(ctx, id)
	if err != nil {
		return false, fmt.Errorf("streamlimit: rule: %w", err)
	}
	return found, l.refreshRules(ctx)
}

// Rules are the rules that hold now, by ID.
func (l *Limiter) Rules(ctx context.Context) ([]Rule, error) {
	if err := l.refreshRules(ctx); err != nil {
		return nil, err
	}
	now := time.Now()
	rules := slices.Clone(l.view.Load().rules)
	rules = slices.DeleteFunc(rules, func(r Rule) bool { return r.ended(now) })
	slices.SortFunc(rules, func(a, b Rule) int { return strings.Compare(a.ID(), b.ID()) })
	return rules, nil
}
