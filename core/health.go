package core

import "sync/atomic"

// Health is how the store of a limiter does: for health checks and dashboards.
type Health struct {
	// Down are the servers that don't answer. They are asked again a few times a
	// second, and by no request until they do. None is how it should be.
	Down []Down

	// Failures is how many questions the store has failed to answer since the
	// limiter was made; the other three are how many decisions were made without
	// it, by [FailureMode]: those of FailClosed are errors.
	Failures, Closed, Open, Local int64
}

// Health is how the limiter's store does. It asks nobody.
func (l *Limiter) Health() Health {
	return Health{
		Down:     l.circuits.down(),
		Failures: l.outcomes.failures.Load(),
		Closed:   l.outcomes.closed.Load(),
		Open:     l.outcomes.open.Load(),
		Local:    l.outcomes.local.Load(),
	}
}

// outcomes count what became of questions that the store did not answer.
type outcomes struct{ failures, closed, open, local atomic.Int64 }

func (o *outcomes) count(mode FailureMode) {
	switch mode {
	case FailClosed:
		o.closed.Add(1)
	case FailOpen:
		o.open.Add(1)
	case FailLocal:
		o.local.Add(1)
	}
}
