package core

import (
	"encoding/json"
	"sync/atomic"
	"time"
)

// Health is the state of a limiter's store, for health checks and dashboards, also as
// JSON.
type Health struct {
	// Down lists the servers that do not respond. The limiter probes them a few times a
	// second, and sends them no requests until they respond. Down is empty when every
	// server responds.
	Down []Down `json:"down,omitempty"`

	// Failures counts the checks that the store has failed to make since the limiter
	// was made. Closed, Open and Local count the decisions made without the store, by
	// [FailureMode]. Those of FailClosed are errors.
	Failures int64 `json:"failures"`
	Closed   int64 `json:"closed"`
	Open     int64 `json:"open"`
	Local    int64 `json:"local"`

	// Overloaded counts requests that this process was too slow to decide: see
	// [ErrOverloaded].
	Overloaded int64 `json:"overloaded"`
}

// Health returns the state of the limiter's store. It sends nothing to the store.
func (l *Limiter) Health() Health {
	var down []Down
	for _, d := range l.circuits.Down() {
		down = append(down, Down(d))
	}
	return Health{
		Down:     down,
		Failures: l.outcomes.failures.Load(),
		Closed:   l.outcomes.closed.Load(),
		Open:     l.outcomes.open.Load(),
		Local:    l.outcomes.local.Load(),

		Overloaded: l.outcomes.overloaded.Load(),
	}
}

// Down is a server that does not respond and to which no request is sent.
type Down struct {
	Server string // its address, where the store has several, or ""
	Since  time.Time
	Err    error // how it last failed before that
}

// MarshalJSON returns JSON such as
//
//	{"server":"10.0.0.7:6379","since":"2026-01-02T15:04:05.678Z","error":"i/o timeout"}
//
// The error is given by its text, which may name the server, and the time as in RFC
// 3339.
func (d Down) MarshalJSON() ([]byte, error) {
	shown := struct {
		Server string    `json:"server,omitempty"`
		Since  time.Time `json:"since"`
		Error  string    `json:"error"`
	}{Server: d.Server, Since: d.Since}
	if d.Err != nil {
		shown.Error = d.Err.Error()
	}
	return json.Marshal(shown)
}

// outcomes count what became of questions that the store did not answer.
type outcomes struct{ failures, closed, open, local, overloaded atomic.Int64 }

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
