package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/streamlimit/streamlimit/core/internal/breaker"
	"github.com/streamlimit/streamlimit/core/store"
)

// FailureMode says what happens to requests when the store does not answer.
//
// The mode also applies when this process is overloaded (see [ErrOverloaded]).
// [FailLocal] then refuses requests as [FailClosed] does, since the store still has the
// budget. Adapters respond with 503 and a random Retry-After of 1 to 3 seconds, so that
// clients do not all return at once. For other failures Retry-After is 1.
type FailureMode string

// The failure modes.
const (
	FailClosed FailureMode = "closed" // an error, which adapters answer with 503
	FailOpen   FailureMode = "open"   // the request passes, uncounted
	FailLocal  FailureMode = "local"  // this process's memory decides by the same limits; see [WithLocalShare]
)

// valid reports whether m is a mode.
func (m FailureMode) valid() bool { return m == FailClosed || m == FailOpen || m == FailLocal }

// FailureMode returns what happens to the policy's requests when the store does not
// respond: the mode of [OnStoreFailure], or else of [WithFailureMode]. For a policy in
// shadow mode it returns [FailOpen] in place of [FailClosed], since shadow mode denies no
// request.
func (l *Limiter) FailureMode(p *Policy) FailureMode {
	v := l.view.Load()
	if now, ok := v.policies[p]; ok {
		p = now
	} else if now, ok := v.like(p); ok {
		p = now
	} else {
		p, _, _ = v.ruled(v.base(p)) // as Replace and rules say
	}
	return unlessShadow(p, cmp.Or(p.failure, l.failure))
}

func unlessShadow(p *Policy, mode FailureMode) FailureMode {
	if mode == FailClosed && p.shadow {
		return FailOpen
	}
	return mode
}

// modeOf returns what a question's failure means for it. That the caller's own
// deadline ended the wait makes no difference, unlike a caller that has gone. A
// store that is closed has no other. One that is full, or that finds something
// else in a log's place, has answered. An overloaded process leaves the store's
// budget as it is.
func (l *Limiter) modeOf(ctx context.Context, p *Policy, err error) FailureMode {
	switch {
	case gone(ctx), errors.Is(err, store.ErrClosed):
		return FailClosed
	case errors.Is(err, store.ErrFull), errors.Is(err, store.ErrWrongType):
		return unlessShadow(p, FailClosed)
	}
	mode := l.FailureMode(p)
	if mode == FailLocal && errors.Is(err, ErrOverloaded) {
		return unlessShadow(p, FailClosed)
	}
	return mode
}

// gone reports whether the caller has gone away, and nobody waits for the answer.
func gone(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }

// note counts what becomes of questions that are decided without the store.
func (l *Limiter) note(ctx context.Context, p *Policy, err error, modes ...FailureMode) {
	if gone(ctx) || errors.Is(err, store.ErrClosed) {
		return
	}
	if errors.Is(err, ErrOverloaded) {
		l.outcomes.overloaded.Add(int64(len(modes)))
		return
	}
	for _, mode := range modes {
		l.outcomes.count(mode)
	}
	if !errors.Is(err, store.ErrDown) {
		l.outcomes.failures.Add(int64(len(modes)))
	}
	if breaker.Answered(err) {
		l.circuits.Failed(p.name, err, " a request")
	}
}

// takeWithoutStore decides on questions that the store has failed to answer
// with failed. instead is the store that has taken units, if one has; what it
// was asked is then in asks.
func (l *Limiter) takeWithoutStore(ctx context.Context, asks []Charge, failed error) (usages []store.Usage, instead Store, err error) {
	modes := make([]FailureMode, len(asks))
	about := 0 // the question that the error is about
	var one *store.ChargeError
	if errors.As(failed, &one) && one.Index < len(asks) {
		about = one.Index
	}
	foreign := errors.Is(failed, store.ErrWrongType)
	for i, a := range asks {
		err := failed
		if foreign && i != about {
			err = errBeside
		}
		modes[i] = l.modeOf(ctx, a.Policy, err)
	}
	if closed := slices.Index(modes, FailClosed); closed >= 0 {
		if !foreign {
			about = closed
		}
		l.note(ctx, asks[about].Policy, failed, slices.Repeat([]FailureMode{FailClosed}, len(asks))...)
		return nil, nil, policyError(asks[about].Policy, failed)
	}
	l.note(ctx, asks[about].Policy, failed, modes...)
	usages = make([]store.Usage, len(asks))
	var local []int
	for i, mode := range modes {
		if mode == FailLocal {
			local = append(local, i)
		} else {
			usages[i] = unknown()
		}
	}
	if len(local) == 0 {
		return usages, nil, nil
	}
	if instead, err = l.local.take(asks, local, usages); err != nil {
		return nil, nil, err
	}
	return usages, instead, nil
}

// errBeside is for questions that were asked together with one whose log is none,
// which does not concern them.
var errBeside = errors.New("core: asked together with a policy whose log is none")

// unknown is the usage of a log that nobody has asked.
func unknown() store.Usage { return store.Usage{Allowed: true, Source: SourceNone} }

func (l *Limiter) peekWithoutStore(ctx context.Context, a Charge, failed error) (Decision, error) {
	mode := l.modeOf(ctx, a.Policy, failed)
	l.note(ctx, a.Policy, failed, mode)
	switch mode {
	case FailLocal:
		u, err := l.local.peek(&a)
		if err != nil {
			return Decision{}, policyError(a.Policy, err)
		}
		return decisionOf(a, u), nil
	case FailOpen:
		d := decisionOf(a, unknown())
		d.Reason = ReasonFailOpen
		return d, nil
	}
	return Decision{}, policyError(a.Policy, failed)
}

// policyError is what went wrong for a policy.
func policyError(p *Policy, err error) error {
	return fmt.Errorf("streamlimit: policy %s: %w", p.name, err)
}

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

	// LostSlots counts slots that ended before they were released: see [Slot.Lost].
	LostSlots int64 `json:"lostSlots,omitempty"`
}

// Health returns the state of the limiter's store. It sends nothing to the store.
func (l *Limiter) Health() Health {
	var down []Down
	for _, d := range l.circuits.Down() {
		down = append(down, Down{Server: d.Server, Since: d.Since, Error: d.Err.Error()})
	}
	return Health{
		Down:     down,
		Failures: l.outcomes.failures.Load(),
		Closed:   l.outcomes.closed.Load(),
		Open:     l.outcomes.open.Load(),
		Local:    l.outcomes.local.Load(),

		Overloaded: l.outcomes.overloaded.Load(),
		LostSlots:  l.keeper.LostCount(),
	}
}

// Down is a server that does not respond and to which no request is sent.
type Down struct {
	Server string    `json:"server,omitempty"` // its address, where the store has several, or ""
	Since  time.Time `json:"since"`
	Error  string    `json:"error"` // the last failure before Since; it may name the server
}

// outcomes counts how charges were decided when the store did not respond.
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
