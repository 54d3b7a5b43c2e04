package adapter

import (
	"errors"
	"slices"

	"github.com/streamlimit/streamlimit/core"
)

// Record has the decisions on one request, in its context. It does not change once the
// handler runs, so code that outlives the request, or runs concurrently, can read it.
type Record struct {
	one       [1]core.Decision // memory of decisions, for a limit of one policy
	oneAsk    [1]core.Charge   // memory of asks, for a limit of one policy
	decisions []core.Decision
	asks      []core.Charge     // the charge of each decision
	forms     []core.HeaderForm // of the response fields, by all middleware so far
	own       fields            // that the limit of this record sets
	limiter   *core.Limiter     // of the innermost limit
	route     string            // as known to its limits
	newest    int32             // index of the innermost limit's decision
	result    core.Result       // of the request, by the limits of this limiter
	special   *special          // nil for most requests
}

// special is the part of a record that few requests need.
type special struct {
	standing []core.Decision // decisions of earlier limits in place of this one's
	settling []any           // the middlewares so far that settle after the handler
	endings  []*ending       // of the limits so far
	hidden   []*core.Policy  // of middleware that sets no response fields
}

var nothingSpecial special

// specials returns the special part for reading.
func (r *Record) specials() *special {
	if r == nil || r.special == nil {
		return &nothingSpecial
	}
	return r.special
}

// makeSpecial returns the special part for writing.
func (r *Record) makeSpecial() *special {
	if r.special == nil {
		r.special = new(special)
	}
	return r.special
}

// request returns the facts about a request for core. r is the new record of a limit, and
// outer is the record of the limits outside, or nil. The result in outer counts if both
// have the same limiter and the same request.
func (r *Record) request(x Exchange, outer *Record, limiter *core.Limiter) core.Request {
	q := core.Request{Route: x.Route()}
	if outer != nil && outer.limiter == limiter {
		q.Before, q.BeforeRoute = outer.result, outer.route
	}
	r.limiter, r.result, r.route = limiter, max(q.Before, core.ResultAllowed), q.Route
	return q
}

// noteResult stores the result of the request for later limits: those inside, or those on
// the route to which a denied request is passed.
func (r *Record) noteResult() {
	for i := range r.decisions {
		switch d := &r.decisions[i]; {
		case !d.Allowed:
			r.result = max(r.result, core.ResultDenied)
		case d.WouldDeny:
			r.result = max(r.result, core.ResultShadowDenied)
		}
	}
}

// newest returns the index of the decision that represents a limit: the denial, or else
// the decision by the middleware's own policy.
func newest(decisions []core.Decision, denied error) int {
	if denied == nil {
		return 0 // avoids the allocation below
	}
	var limited *core.LimitedError
	if !errors.As(denied, &limited) {
		return 0
	}
	return slices.IndexFunc(decisions, func(d core.Decision) bool { return sameDecision(&d, &limited.Decision) })
}

// sameDecision reports whether a and b are on the same log.
func sameDecision(a, b *core.Decision) bool { return a.Policy == b.Policy && a.Key == b.Key }

// without returns the charges that no limit outside has made, and keeps the decisions on
// the others. Each policy and key counts a request once, even if a handler passes it to
// the router again.
func (r *Record) without(outer *Record, charges []core.Charge) []core.Charge {
	return slices.DeleteFunc(charges, func(a core.Charge) bool {
		i := slices.Index(outer.asks, a)
		if i < 0 || !outer.decisions[i].Counted {
			return false
		}
		special := r.makeSpecial()
		special.standing = append(special.standing, outer.decisions[i])
		return true
	})
}

// settles reports whether a limit of m is outside, and corrects the charge.
func (r *Record) settles(m any) bool { return slices.Contains(r.specials().settling, m) }

// with returns the record with the record of one more limit. A policy that decided again
// for the same key occurs only once, with its newest decision.
func (r *Record) with(limiter *core.Limiter, next *Record) *Record {
	decisions, asks, forms := next.decisions, next.asks, next.forms
	if len(forms) == 0 {
		own := next.makeSpecial()
		for i := range decisions {
			own.hidden = append(own.hidden, decisions[i].Policy)
		}
	}
	if r == nil {
		return next
	}
	if outer := r.special; outer != nil {
		own := next.makeSpecial()
		own.settling = append(slices.Clip(outer.settling), own.settling...)
		own.endings = append(slices.Clip(outer.endings), own.endings...)
		for _, p := range outer.hidden {
			if !slices.ContainsFunc(decisions, func(d core.Decision) bool { return d.Policy == p }) {
				own.hidden = append(own.hidden, p)
			}
		}
	}
	next.decisions = make([]core.Decision, 0, len(r.decisions)+len(decisions))
	next.asks = make([]core.Charge, 0, len(r.decisions)+len(decisions))
	for i := range r.decisions {
		outer := &r.decisions[i]
		again := slices.ContainsFunc(decisions, func(d core.Decision) bool { return sameDecision(&d, outer) })
		switch {
		case !again:
			next.decisions = append(next.decisions, *outer)
			next.asks = append(next.asks, r.asks[i])
		case outer.Counted:
			warnAskedTwice(limiter, outer.Policy)
		}
	}
	next.newest += int32(len(next.decisions)) //nolint:gosec // as many as a request has limits
	next.decisions = append(next.decisions, decisions...)
	next.asks = append(next.asks, asks...)
	next.forms = slices.Clone(r.forms)
	for _, form := range forms {
		if !slices.Contains(next.forms, form) {
			next.forms = append(next.forms, form)
		}
	}
	return next
}

// codeAskedTwice is the code of a warning.
const codeAskedTwice = "STREAMLIMIT_W003"

// warnAskedTwice warns that one request was counted twice on one log.
func warnAskedTwice(limiter *core.Limiter, policy *core.Policy) {
	limiter.Seam().Warnings.SayOf(codeAskedTwice, policy.Name(), "a request was counted twice by one policy: its middleware is on the route at two costs, or a handler has passed on a copy of the request")
}

// corrected returns the record with one more limit, m, that only corrects the decisions of
// the limits outside. e is nil for nothing to do at its end.
func (r *Record) corrected(m any, e *ending) *Record {
	next, special := *r, *r.specials()
	special.settling = append(slices.Clip(special.settling), m)
	if e != nil {
		special.endings = append(slices.Clip(special.endings), e)
	}
	next.special = &special
	return &next
}

// setFields sets the response fields for all decisions so far, with f. retryAfter is the
// response's Retry-After in seconds, 0 for none.
func (r *Record) setFields(f *fields, x Exchange, retryAfter int64) {
	f.to = x
	SetHeaders(r.shown(), r.forms, retryAfter, f)
	f.to = nil
}

// shown returns the decisions but for those of middleware that sets no response fields.
func (r *Record) shown() []core.Decision {
	special := r.specials()
	if len(special.hidden) == 0 {
		return r.decisions
	}
	hidden := func(d core.Decision) bool { return slices.Contains(special.hidden, d.Policy) }
	return slices.DeleteFunc(r.Decisions(), hidden)
}

// Restore sets again the response fields of an admitted request that were set before
// its handler and are now missing. It is for frameworks in which a handler can replace
// the whole response. has reports whether a field has a value, and add adds a value to
// a field.
func (r *Record) Restore(has func(name, value string) bool, add func(name, value string)) {
	if r == nil {
		return
	}
	values := r.own.values
	for _, form := range r.forms {
		for _, name := range fieldNames(form, r.shown()) {
			if len(values) == 0 {
				return
			}
			if !has(name, values[0]) {
				add(name, values[0])
			}
			values = values[1:]
		}
	}
}

// refused returns the record without fields to restore. The response to a denied or
// rejected request has its own.
func (r *Record) refused() *Record {
	if r.own.values == nil {
		return r
	}
	without := *r
	without.own = fields{}
	return &without
}

// fields are the fields of a response. net/http needs the values in slices. The handler
// may change these slices.
type fields struct {
	to     Exchange
	values []string
	room   [2]string
}

// SetHeader implements [HeaderSetter].
func (f *fields) SetHeader(name, value string) {
	if f.values == nil {
		f.values = f.room[:0]
	}
	f.values = append(f.values, value)
	n := len(f.values)
	f.to.SetField(name, f.values[n-1:n:n])
}

// Decisions returns the decisions on the request so far, outer first. The caller owns
// the slice.
func (r *Record) Decisions() []core.Decision {
	if r == nil {
		return nil
	}
	return slices.Clone(r.decisions)
}

// Last returns the newest decision on the request, and reports whether there is one.
func (r *Record) Last() (core.Decision, bool) {
	if r == nil || len(r.decisions) == 0 {
		return core.Decision{}, false
	}
	return r.decisions[r.newest], true
}
