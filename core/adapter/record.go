package adapter

import (
	"slices"

	"github.com/streamlimit/streamlimit/core"
)

// Record is what is kept of one request, in its context.
type Record struct {
	decisions []core.Decision
	hidden    []*core.Policy // by middleware that sets no response fields
}

// add keeps d after the decisions before it. A policy that was asked again
// stands only once, with its newest decision.
func (r *Record) add(d core.Decision, hide bool) {
	asked := func(old core.Decision) bool { return old.Policy == d.Policy }
	r.decisions = append(slices.DeleteFunc(r.decisions, asked), d)
	r.hidden = slices.DeleteFunc(r.hidden, func(p *core.Policy) bool { return p == d.Policy })
	if hide {
		r.hidden = append(r.hidden, d.Policy)
	}
}

// shown are the decisions for the response fields.
func (r *Record) shown() []core.Decision {
	if len(r.hidden) == 0 {
		return r.decisions
	}
	hidden := func(d core.Decision) bool { return slices.Contains(r.hidden, d.Policy) }
	return slices.DeleteFunc(r.Decisions(), hidden)
}

// Decisions are the decisions on the request so far, outer first. The slice is
// the caller's own.
func (r *Record) Decisions() []core.Decision {
	if r == nil {
		return nil
	}
	return slices.Clone(r.decisions)
}

// Last is the newest decision on the request, and whether there is one.
func (r *Record) Last() (core.Decision, bool) {
	if r == nil || len(r.decisions) == 0 {
		return core.Decision{}, false
	}
	return r.decisions[len(r.decisions)-1], true
}
