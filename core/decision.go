package core

import (
	"fmt"
	"time"
)

// Source says where a decision came from.
type Source byte

const (
	SourceMemory Source = iota + 1 // this process's memory, by choice
	SourceRedis                    // Redis
)

// String is "memory" or "redis".
func (s Source) String() string {
	switch s {
	case SourceMemory:
		return "memory"
	case SourceRedis:
		return "redis"
	}
	return fmt.Sprintf("Source(%d)", byte(s))
}

// Decision is the answer to one request, or to a [Limiter.Peek].
type Decision struct {
	Policy  *Policy
	Key     string // who was counted; a digest where the key was secret or long
	Cost    int64  // units asked for
	Allowed bool   // whether they were admitted; for a peek, whether they would be

	// Limit and Remaining are the limit of the policy with the least left, and
	// the units left of it. The other limits are in State.
	Limit     Limit
	Remaining int64

	// RetryAfter is how long until this request would fit if nobody else took
	// the place; 0 when Allowed. It is exact to the millisecond.
	RetryAfter time.Duration

	// ResetAfter is how long until the log is empty and all units are back, if
	// nothing more is admitted; 0 when it is empty.
	ResetAfter time.Duration

	Source Source

	usage Usage
}

// LimitState is one limit's share of a [Decision].
type LimitState struct {
	Limit     Limit
	Remaining int64         // units left after this request
	Reset     time.Duration // until more units come free; see [Usage]
	Violated  bool          // this limit had no room for the request
}

// State is what the decision says of the i-th limit of its policy, counted
// from 0 to Policy.Len()-1.
func (d *Decision) State(i int) LimitState {
	l := d.Policy.limits[i]
	u := d.usage.Limits[i]
	return LimitState{
		Limit:     l,
		Remaining: max(0, l.Max-u.Used),
		Reset:     u.FreeIn,
		Violated:  !d.Allowed && u.Used+d.Cost > l.Max,
	}
}

// States is what the decision says of each limit, in the policy's order.
func (d *Decision) States() []LimitState {
	states := make([]LimitState, d.Policy.Len())
	for i := range states {
		states[i] = d.State(i)
	}
	return states
}

// decide makes the decision from what a store found in the log.
func decide(p *Policy, key string, cost int64, u Usage) Decision {
	d := Decision{
		Policy: p, Key: key, Cost: cost, Allowed: u.Allowed,
		RetryAfter: u.RetryAfter, ResetAfter: u.ResetAfter,
		Source: u.Source, usage: u,
	}
	for i, l := range p.limits {
		if left := max(0, l.Max-u.Limits[i].Used); i == 0 || left < d.Remaining {
			d.Limit, d.Remaining = l, left
		}
	}
	return d
}

// violated is the limit that keeps a denied request waiting longest, or the
// first one when none was violated.
func (d *Decision) violated() Limit {
	var longest LimitState
	for i := range d.Policy.Len() {
		if s := d.State(i); s.Violated && (!longest.Violated || s.Reset > longest.Reset) {
			longest = s
		}
	}
	if !longest.Violated {
		return d.Limit
	}
	return longest.Limit
}

// Err is nil for an allowed decision and a [*LimitedError] for a denied one.
func (d Decision) Err() error {
	if d.Allowed {
		return nil
	}
	return &LimitedError{Decision: d}
}
