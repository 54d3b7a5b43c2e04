package adapter

import (
	"slices"

	"github.com/streamlimit/streamlimit/core"
)

// Record is what is kept of one request, in its context.
type Record struct {
	decisions []core.Decision
	hidden    []*core.Policy    // by middleware that sets no response fields
	forms     []core.HeaderForm // of the response fields, of all middleware so far
}

// add keeps d after the decisions before it, to be shown in the given forms. A
// policy that was asked again for the same key stands only once, with its newest
// decision.
func (r *Record) add(d core.Decision, forms []core.HeaderForm) {
	asked := func(old core.Decision) bool { return old.Policy == d.Policy && old.Key == d.Key }
	r.decisions = append(slices.DeleteFunc(r.decisions, asked), d)
	r.hidden = slices.DeleteFunc(r.hidden, func(p *core.Policy) bool { return p == d.Policy })
	if len(forms) == 0 {
		r.hidden = append(r.hidden, d.Policy)
	}
	for _, form := range forms {
		if !slices.Contains(r.forms, form) {
			r.forms = append(r.forms, form)
		}
	}
}

// setFields sets the response fields anew for all decisions so far. retryAfter
// is the response's Retry-After in seconds, 0 for none.
func (r *Record) setFields(x Exchange, retryAfter int64) {
	if r == nil {
		return
	}
	shown := r.decisions
	if len(r.hidden) > 0 {
		hidden := func(d core.Decision) bool { return slices.Contains(r.hidden, d.Policy) }
		shown = slices.DeleteFunc(r.Decisions(), hidden)
	}
	core.SetHeaders(shown, r.forms, retryAfter, x.SetHeader)
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
