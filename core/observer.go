package core

import (
	"context"
	"net/netip"
	"reflect"
	"slices"
	"time"
)

// Observer is told of every decision on a request, but not of peeks: to show or
// to count them. See [WithObserver].
type Observer interface {
	// Observe is called before the request goes on, by many goroutines at once, so
	// it must be quick.
	Observe(o Observation)
}

// Observation is what an [Observer] is told of a decision.
type Observation struct {
	Context context.Context // of the question: for the request's trace, and not to be kept

	Policy *Policy
	Key    string // who was counted; a digest where the key was secret or long
	Route  string // the template of the request's route, such as "/stocks/:symbol"; "" if it is not known
	Cost   int64

	Result     Result
	Reason     Reason
	Source     Source        // 0 with an error
	Limit      Limit         // that binds
	Remaining  int64         // of it
	RetryAfter time.Duration // of a denial
	Took       time.Duration // to decide
	Err        error         // why there is no decision; else nil
}

// Result is what became of a request by one policy.
type Result byte

// The results, in an order that stays: processes send each other counts by it.
const (
	ResultAllowed      Result = iota
	ResultDenied              // by the limits, or a rule
	ResultShadowDenied        // would have been denied, by a policy in shadow mode
	ResultFallback            // decided without the store: see [Observation.CountedAs], which alone gives it
	ResultError               // no decision
)

// CountedAs is the one result that the decision counts as where each counts once:
// a decision that was made without the store is ResultFallback, whatever it was.
func (o *Observation) CountedAs() Result {
	if o.Result != ResultError && (o.Source == SourceFallback || o.Reason == ReasonFailOpen) {
		return ResultFallback
	}
	return o.Result
}

// String is "allowed", "denied", "shadow_denied", "fallback" or "error".
func (r Result) String() string {
	switch r {
	case ResultAllowed:
		return "allowed"
	case ResultDenied:
		return "denied"
	case ResultShadowDenied:
		return "shadow_denied"
	case ResultFallback:
		return "fallback"
	}
	return "error"
}

// Router is a [Request] that knows its route.
type Router interface {
	// Route is the template that the route was set up with, or "".
	Route() string
}

// WithObserver has o told of every decision. There can be several.
func WithObserver(o Observer) Option {
	if o == nil {
		panic("core: WithObserver: nil observer: leave the option out")
	}
	return func(l *Limiter) { l.observers = append(l.observers, o) }
}

// Tells is whether the limiter tells o of its decisions. Observers of a type that
// can't be compared are not found.
func (l *Limiter) Tells(o Observer) bool {
	return o != nil && reflect.TypeOf(o).Comparable() && slices.Contains(l.observers, o)
}

// allowOne decides on one question, in d, which is zero, and tells the observers.
// With an error d means nothing.
func (l *Limiter) allowOne(ctx context.Context, v *view, client netip.Prefix, r Request, a Ask, d *Decision) error {
	if len(l.observers) == 0 {
		return l.decideOne(ctx, v, client, a, d)
	}
	begun := time.Now()
	err := l.decideOne(ctx, v, client, a, d)
	l.observe(ctx, r, a, d, err, time.Since(begun))
	return err
}

func (l *Limiter) observe(ctx context.Context, r Request, a Ask, d *Decision, err error, took time.Duration) {
	o := Observation{Context: ctx, Policy: a.Policy, Key: a.Key, Cost: a.Cost, Result: ResultError, Took: took, Err: err}
	if route, ok := r.(Router); ok {
		o.Route = route.Route()
	}
	if err == nil {
		o.Result, o.Reason, o.Source = d.result(), d.Reason, d.Source
		o.Limit, o.Remaining, o.RetryAfter = d.Limit, d.Remaining, d.RetryAfter
	}
	for _, observer := range l.observers {
		observer.Observe(o)
	}
}

func (d *Decision) result() Result {
	switch {
	case !d.Allowed:
		return ResultDenied
	case d.WouldDeny:
		return ResultShadowDenied
	}
	return ResultAllowed
}
