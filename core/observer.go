package core

import (
	"context"
	"errors"
	"time"
)

// Observer receives every decision on a request, to show or to count it. It does
// not receive peeks. See [WithObserver].
type Observer interface {
	// Observe is called before the request continues, by many goroutines at once, so it
	// must be quick.
	Observe(o Observation)
}

// Observation is one decision, as an [Observer] receives it.
type Observation struct {
	Context context.Context // of the decision: for the request's trace, and not to be kept

	Policy *Policy
	Key    string // who was counted; a digest where the key was secret or long
	Route  string // the template of the request's route, such as "/stocks/:symbol"; "" if it is not known
	Cost   int64  // units asked for; of [Limiter.AllowUpTo] those that it took

	Result     Result
	Reason     Reason        // "" without a decision
	Source     Source        // SourceNone without a decision
	Limit      Limit         // the limit that binds
	Remaining  int64         // units left of that limit
	RetryAfter time.Duration // of a denial
	Took       time.Duration // to decide
	Err        error         // why there is no decision; else nil

	// Before and Request are for counting requests rather than decisions, since a
	// request under several policies has several decisions. Before is the result of the
	// request by its earlier decisions, 0 for the first. Request is its result with
	// this decision included. BeforeRoute is the Route of the earlier decisions:
	// outside of a router it may not be known yet.
	Before, Request Result
	BeforeRoute     string
}

// Result is the outcome of a request under one policy. The zero Result is none.
type Result byte

// The results, the gravest last. A request with several results counts as the gravest.
const (
	ResultAllowed      Result = iota + 1
	ResultShadowDenied        // allowed; without shadow mode the policy would have denied it
	ResultDenied              // by the limits, or a rule
	ResultOverloaded          // no decision, since this process is too slow: see [ErrOverloaded]
	ResultError               // no decision
)

// String returns "allowed", "shadow_denied", "denied", "overloaded", "error", or
// "none" for the zero Result.
func (r Result) String() string {
	switch r {
	case 0:
		return "none"
	case ResultAllowed:
		return "allowed"
	case ResultShadowDenied:
		return "shadow_denied"
	case ResultDenied:
		return "denied"
	case ResultOverloaded:
		return "overloaded"
	}
	return "error"
}

// WithObserver adds an observer of every decision. There can be several.
func WithObserver(o Observer) Option {
	if o == nil {
		panic("core: WithObserver: nil observer: leave the option out")
	}
	return func(l *Limiter) { l.observers = append(l.observers, o) }
}

// observeAll calls the observers for the decisions on one request.
func (l *Limiter) observeAll(ctx context.Context, r *Request, charges []Charge, decisions []Decision, err error, took time.Duration) {
	if len(l.observers) == 0 {
		return
	}
	o := observation(ctx, r, err, took)
	o.Request = o.Before
	for i := range decisions {
		o.Request = max(o.Request, resultOf(&decisions[i], err))
	}
	for i := range charges {
		l.observe(&o, charges[i], &decisions[i])
		o.Before, o.BeforeRoute = o.Request, o.Route // the first has counted the request
	}
}

// observation returns what decisions on one request have in common.
func observation(ctx context.Context, r *Request, err error, took time.Duration) Observation {
	return Observation{Context: ctx, Took: took, Err: err, Route: r.Route, Before: r.Before, BeforeRoute: r.BeforeRoute}
}

// observe calls the observers for one decision.
func (l *Limiter) observe(o *Observation, a Charge, d *Decision) {
	o.Policy, o.Key, o.Cost = a.Policy, a.Key, a.Cost
	o.Result, o.Source = resultOf(d, o.Err), SourceNone
	if o.Err == nil {
		o.Cost, o.Reason, o.Source = d.Cost, d.Reason, d.Source
		o.Limit, o.Remaining, o.RetryAfter = d.Limit, d.Remaining, d.RetryAfter
	}
	for _, observer := range l.observers {
		observer.Observe(*o)
	}
}

func resultOf(d *Decision, err error) Result {
	switch {
	case errors.Is(err, ErrOverloaded):
		return ResultOverloaded
	case err != nil:
		return ResultError
	case !d.Allowed:
		return ResultDenied
	case d.WouldDeny:
		return ResultShadowDenied
	}
	return ResultAllowed
}
