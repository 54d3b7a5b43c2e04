package core

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
func (l *Limiter) SetLocal(m *Memory) { l.local.once.Do(func() { l.local.store = m }) }
