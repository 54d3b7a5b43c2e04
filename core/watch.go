package core

import (
	"context"
	"errors"
	"time"
)

const (
	// rulesInterval is how often a limiter looks for changed rules.
	rulesInterval = 400 * time.Millisecond

	// rulesTimeout is how long it waits for an answer; a store has a timeout of
	// its own, usually a shorter one.
	rulesTimeout = time.Second

	// rulesFailures is after how many failures in a row that is worth a warning.
	rulesFailures = 10
)

// watchRules takes over changed rules until ctx ends. While the store does not
// answer, those that are known stay.
func (l *Limiter) watchRules(ctx context.Context) {
	tick := time.NewTicker(rulesInterval)
	defer tick.Stop()
	for failures := 0; ; {
		asked, cancel := context.WithTimeout(ctx, rulesTimeout)
		err := l.refreshRules(asked)
		cancel()
		if ctx.Err() != nil {
			return
		}
		switch {
		case err == nil:
			failures = 0
		case errors.Is(err, ErrClosed):
		default:
			// Of a store that does not answer, its circuit tells.
			if failures++; failures >= rulesFailures && answered(err) {
				l.warnings.rulesUnread(err)
			}
		}
		l.dropEndedRules(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// refreshRules takes over changed rules from the store.
func (l *Limiter) refreshRules(ctx context.Context) error {
	for {
		known := l.view.Load().version
		rules, version, err := l.store.Rules(ctx, known)
		if err != nil || version == known {
			return err
		}
		if l.takeRules(rules, version, known) {
			return nil
		}
		// Another has taken over rules meanwhile, which may be newer than these.
	}
}

// takeRules takes over rules that were asked for when known was the version.
func (l *Limiter) takeRules(rules []Rule, version, known string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.view.Load()
	if v.version != known {
		return false
	}
	readable := make([]Rule, 0, len(rules))
	for _, r := range rules {
		normal, err := r.normalize()
		if err != nil {
			// A newer version's, perhaps. What it is about is not to be guessed.
			l.Logger().Warn("streamlimit: a rule that this version can't read is passed over", "kind", r.Kind, "error", err)
			continue
		}
		readable = append(readable, normal)
	}
	l.show(newView(v, v.replaced, newRuleset(readable, version, time.Now())))
	return true
}

// dropEndedRules forgets the rules that have ended, which also restores the
// limits of policies that they have changed.
func (l *Limiter) dropEndedRules(now time.Time) {
	if ends := l.view.Load().ends; ends.IsZero() || now.Before(ends) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.view.Load()
	l.show(newView(v, v.replaced, newRuleset(v.rules, v.version, now)))
}
