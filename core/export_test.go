package core

import (
	"github.com/streamlimit/streamlimit/core/internal/memory"
	"github.com/streamlimit/streamlimit/core/store"
)

// Errors that a wrong program gets. No program tests for them.
var (
	ErrNoPolicy        = errNoPolicy
	ErrDuplicatePolicy = errDuplicatePolicy
)

// MaxKnown and RulesFailures are bounds that tests reach.
const (
	MaxKnown      = maxKnown
	RulesFailures = rulesFailures
)

// Met is how many policies the limiter remembers.
func (l *Limiter) Met() int {
	v := l.view.Load()
	return max(len(v.policies), len(v.names), len(v.origins))
}

// SetLocal makes m the memory that decides when the store does not answer.
func (l *Limiter) SetLocal(s Store) { l.local.once.Do(func() { l.local.store = s.(*memory.Store) }) }

// Stored returns the rule as a store keeps it.
func (r Rule) Stored() store.Rule {
	kept, err := r.stored()
	if err != nil {
		panic(err)
	}
	return kept
}

// Lines returns the number of keys with calls that wait.
func (l *Limiter) Lines() int {
	l.lines.mu.Lock()
	defer l.lines.mu.Unlock()
	return len(l.lines.open)
}
