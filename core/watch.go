package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/streamlimit/streamlimit/core/internal/background"
	"github.com/streamlimit/streamlimit/core/internal/breaker"
	"github.com/streamlimit/streamlimit/core/store"
)

const (
	// defaultRulesInterval is the interval at which a limiter that makes decisions
	// checks for changed rules, unless [WithRulesInterval] sets another.
	defaultRulesInterval = 400 * time.Millisecond

	// rulesTimeout is how long it waits for all answers of one look; a store has a
	// timeout of its own for each, usually a shorter one.
	rulesTimeout = 10 * time.Second

	// rulesFailures is after how many failures in a row that is worth a warning.
	rulesFailures = 10
)

// WithRulesInterval sets how often the limiter checks for changed rules while it
// decides on requests. The default is 400 ms. This process sees a ban
// by another process within that time.
//
// A check is one command to Redis. At 400 ms a process that is always busy sends 216,000
// a day; at 10 s, 8,640. No command is sent while nothing is decided. The first decision
// after a second without decisions waits for a check, for the store's timeout at most.
// It does not wait while a server does not answer. WithRulesInterval panics if d is
// below 1 ms.
func WithRulesInterval(d time.Duration) Option {
	if d < time.Millisecond {
		panic(fmt.Sprintf("core: WithRulesInterval: %v: use at least 1ms, usually %v", d, defaultRulesInterval))
	}
	return func(l *Limiter) { l.rulesInterval = d }
}

// quiet is a time without decisions, after which the rules that are known may be old. The
// first decision after it waits for a look.
type quiet struct{ over chan struct{} } // is closed when the rules were looked for

const (
	// freshFor is how old the last look for rules may be for a decision, unless
	// WithRulesInterval sets more.
	freshFor = time.Second

	// usualAnswer is how long a decision waits for changed rules if the store is not
	// [store.Bounded].
	usualAnswer = 100 * time.Millisecond
)

// current returns the view for a decision. After a time without decisions it waits for a
// look for changed rules, unless a server does not answer.
func (l *Limiter) current(ctx context.Context) *view {
	l.decided.Note()
	l.registration.due.Note()
	if q := l.quiet.Load(); q != nil && len(l.circuits.Down()) == 0 {
		wait := l.answerTime()
		if at, ok := ctx.Deadline(); ok {
			wait = min(wait, time.Until(at)/2)
		}
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-q.over:
		case <-ctx.Done():
		case <-timer.C:
		}
	}
	return l.view.Load()
}

// answerTime returns how long the store may take to respond.
func (l *Limiter) answerTime() time.Duration {
	if s, ok := l.store.(store.Bounded); ok && s.Timeout() > 0 {
		return s.Timeout()
	}
	return usualAnswer
}

// watchRules takes over changed rules until ctx ends: at once, and then when
// something was decided, once in an interval. While the store does not answer,
// those that are known stay.
func (l *Limiter) watchRules(ctx context.Context) {
	for failures := 0; ; {
		asked, cancel := context.WithTimeout(ctx, rulesTimeout)
		err := l.refreshRules(asked)
		cancel()
		if q := l.quiet.Swap(nil); q != nil {
			close(q.over)
		}
		if ctx.Err() != nil {
			return
		}
		switch {
		case err == nil:
			failures = 0
		case errors.Is(err, store.ErrClosed):
		default:
			// The circuit of a store that does not answer logs that.
			if failures++; failures >= rulesFailures && breaker.Answered(err) {
				l.warnings.rulesUnread(err)
			}
		}
		l.dropEndedRules()
		if !background.Sleep(ctx, l.rulesInterval) || !l.awaitDecision(ctx) {
			return
		}
	}
}

// awaitDecision waits for a decision, and reports whether ctx has not ended meanwhile. If
// there is none for a while, the next one will wait for a look.
func (l *Limiter) awaitDecision(ctx context.Context) bool {
	timer := time.NewTimer(max(0, freshFor-l.rulesInterval))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-l.decided.Awake():
			l.decided.Forget()
			return true
		case <-timer.C:
			l.quiet.Store(&quiet{over: make(chan struct{})})
		}
	}
}

// refreshRules takes over changed rules from the store.
func (l *Limiter) refreshRules(ctx context.Context) error {
	for {
		known := l.view.Load().version
		changes, err := l.store.Rules(ctx, known)
		if err != nil || changes.Version == known {
			return err
		}
		if l.takeRules(changes, known) {
			return nil
		}
		// Another has taken over changes meanwhile, which may be newer than these.
	}
}

// takeRules takes over changes that were asked for when known was the version. It sorts
// them without the lock, for which requests by new policies wait.
func (l *Limiter) takeRules(changes store.RuleChanges, known string) bool {
	before := l.view.Load()
	if before.version != known {
		return false
	}
	var unread unreadRules
	onPolicies := changes.All
	readable := make([]Rule, 0, len(changes.Set))
	for _, kept := range changes.Set {
		r, err := parseRule(kept)
		if err != nil {
			// A newer version's, perhaps. What it is about is not to be guessed.
			unread.add(kept.ID, err)
			changes.Deleted = append(changes.Deleted, kept.ID)
			continue
		}
		readable = append(readable, r)
		onPolicies = onPolicies || r.aboutPolicy()
	}
	for _, id := range changes.Deleted {
		_, about, _ := cutID(id)
		onPolicies = onPolicies || about == aboutPolicy
	}
	rules := before.after(changes, readable)
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.view.Load()
	if v.version != known {
		return false
	}
	unread.log(l.warnings.Logger)
	if onPolicies {
		l.show(l.newView(v, v.replaced, rules))
		return true
	}
	next := *v
	next.ruleset = rules
	l.view.Store(&next)
	return true
}

// unreadRules are the rules in one change that this version can't read.
type unreadRules struct {
	count int
	kind  RuleKind // of the first
	err   error
}

func (u *unreadRules) add(id string, err error) {
	if u.count++; u.count == 1 {
		u.kind, _, _ = cutID(id) // the rest can be a client's key
		u.err = err
	}
}

func (u *unreadRules) log(logger *slog.Logger) {
	if u.count > 0 {
		logger.Warn("streamlimit: a rule that this version can't read is passed over", "rules", u.count, "kind", u.kind, "error", u.err)
	}
}

// awaitEnd has the rules on policies looked through when the first ends. The caller
// holds l.mu.
func (l *Limiter) awaitEnd(ends time.Time) {
	if l.ending != nil {
		l.ending.Stop()
		l.ending = nil
	}
	if !ends.IsZero() && !l.closed {
		// A timer of a millisecond at least, in case the store's clock is behind.
		l.ending = time.AfterFunc(max(ends.Sub(l.store.RuleTime()), time.Millisecond), l.dropEndedRules)
	}
}

// dropEndedRules makes policies what they are without the rules that have ended, and with
// those that have not: the store's clock may have stepped back.
func (l *Limiter) dropEndedRules() {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.view.Load()
	if v.ends.IsZero() && v.ended.IsZero() {
		return
	}
	switch now := l.store.RuleTime(); {
	case now.Before(v.ended):
		l.show(l.newView(v, v.replaced, v.ruleset))
	case v.ends.IsZero():
	case now.Before(v.ends):
		l.awaitEnd(v.ends)
	default:
		l.show(l.newView(v, v.replaced, v.ruleset))
	}
}
