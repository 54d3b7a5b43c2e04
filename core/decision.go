package core

import (
	"iter"
	"sync/atomic"
	"time"

	"github.com/streamlimit/streamlimit/core/internal/field"
	"github.com/streamlimit/streamlimit/core/store"
)

// Reason is the cause of a decision. It is "" without a decision.
type Reason string

// The reasons of decisions.
const (
	ReasonLimits   Reason = "limits"    // the policy's limits
	ReasonExempt   Reason = "exempt"    // a rule exempts the client
	ReasonBlocked  Reason = "blocked"   // a rule blocks the client
	ReasonBanned   Reason = "banned"    // the client is banned for a time
	ReasonFailOpen Reason = "fail-open" // the store did not answer, and the policy is open then
	ReasonOff      Reason = "off"       // a rule has switched the policy off
)

// Decision is the answer to one request, or to a [Limiter.Peek].
type Decision struct {
	Policy  *Policy // nil only in the zero Decision
	Key     string  // who was counted; a digest where the key was secret or long
	Cost    int64   // units asked for
	Allowed bool    // whether the policy lets the request pass; for a peek, whether it would
	Reason  Reason
	Source  Source

	// Counted reports whether the units were taken. They are taken if the limits of all
	// policies that were checked together allow the request.
	Counted bool

	// WouldDeny reports whether a policy in shadow mode would have denied the
	// request, which is Allowed nevertheless.
	WouldDeny bool

	// Limit is the limit of the policy that binds, and Remaining is the units left of
	// it. For a denied request it is the limit whose denial lasts longest. Otherwise it
	// is the limit with the least left. States returns all limits.
	Limit     Limit
	Remaining int64

	// RetryAfter is the time until this request would fit if nobody else took the
	// place. It is 0 when Allowed, and when the client is blocked, since waiting does
	// not help. It is exact to the millisecond, except for a limit that was lowered a
	// lot: see package redisstream. With refunds the request may fit earlier.
	RetryAfter time.Duration

	// ResetAfter is the time until the log is empty and all units are back, if nothing
	// more is admitted. It is 0 for an empty log.
	ResetAfter time.Duration

	first   store.LimitUsage                       // of the policy's limits
	others  *[store.MaxLimits - 1]store.LimitUsage // nil if there is one limit
	receipt *receipt                               // of what was taken; nil when it can't be given back
}

// receipt is what Settle needs to know of what was taken, shared by the copies
// of a decision.
type receipt struct {
	entry   store.EntryID
	store   Store
	former  *formerEntry // nil if only one log has the entry: see WithKeySecret
	slot    *Slot        // of a concurrency policy, which has no entry
	settled atomic.Bool
}

// LimitState is one limit's share of a [Decision].
type LimitState struct {
	Limit     Limit
	Remaining int64         // units left after this request
	Reset     time.Duration // until more units come free; 0 when nothing is used
	Violated  bool          // this limit had no room for the request
}

// state returns the state of the i-th limit of the policy, counted from 0.
func (d *Decision) state(i int) LimitState {
	l, u := d.Policy.limits[i], d.first
	if i > 0 && d.others != nil {
		u = d.others[i-1]
	} else if i > 0 {
		u = store.LimitUsage{}
	}
	return LimitState{
		Limit:     l,
		Remaining: max(0, l.Max-u.Used),
		Reset:     u.FreeIn,
		Violated:  (!d.Allowed || d.WouldDeny) && u.Used+d.Cost > l.Max,
	}
}

// States returns the state of each limit, in the policy's order. The zero Decision has
// none.
func (d *Decision) States() iter.Seq2[int, LimitState] {
	return func(yield func(int, LimitState) bool) {
		if d.Policy == nil {
			return
		}
		for i := range d.Policy.limits {
			if !yield(i, d.state(i)) {
				return
			}
		}
	}
}

// binds reports whether s says more about what the client may do next than o.
func (s LimitState) binds(o LimitState) bool { return s.field().Binds(o.field()) }

func (s LimitState) field() field.State {
	return field.State{Remaining: s.Remaining, Reset: s.Reset, Violated: s.Violated}
}

// decide makes the decision on a question from what a store found in the log.
// Counted is left to the caller.
func (d *Decision) decide(a Charge, u *store.Usage) {
	p := a.Policy
	d.Policy, d.Key, d.Cost = p, a.Key, a.Cost
	d.Allowed, d.WouldDeny = u.Allowed || p.shadow, !u.Allowed && p.shadow
	d.Reason, d.RetryAfter, d.ResetAfter, d.Source = ReasonLimits, u.RetryAfter, u.ResetAfter, u.Source
	if d.WouldDeny {
		d.RetryAfter = 0
	}
	d.first = u.Limits[0]
	if len(p.limits) > 1 {
		others := [store.MaxLimits - 1]store.LimitUsage(u.Limits[1:])
		d.others = &others
	}
	binding := d.state(0)
	for i := 1; i < len(p.limits); i++ {
		if s := d.state(i); s.binds(binding) {
			binding = s
		}
	}
	d.Limit, d.Remaining = binding.Limit, binding.Remaining
}

// decisionOf is the decision on a question.
func decisionOf(a Charge, u store.Usage) (d Decision) {
	d.decide(a, &u)
	return d
}

// Err returns nil for an allowed decision and a [*LimitedError] for a denied one.
func (d Decision) Err() error {
	if d.Allowed || d.Policy == nil {
		return nil
	}
	return &LimitedError{Decision: d}
}
