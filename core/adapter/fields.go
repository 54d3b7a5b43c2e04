package adapter

import (
	"iter"
	"slices"
	"strconv"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/internal/field"
)

// HeaderSetter sets response fields.
type HeaderSetter interface{ SetHeader(name, value string) }

// The names of the fields, in the canonical form of net/http.
var (
	fieldsIETF    = [2]string{"Ratelimit-Policy", "Ratelimit"}
	fieldsX       = [3]string{"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset"}
	fieldsDraft06 = [3]string{"Ratelimit-Limit", "Ratelimit-Remaining", "Ratelimit-Reset"}
)

// fieldNames returns the names of a form's fields for decisions, in the order in which
// [SetHeaders] sets them.
func fieldNames(form core.HeaderForm, decisions []core.Decision) (names []string) {
	switch form {
	case core.HeadersX:
		return fieldsX[:]
	case core.HeadersDraft06:
		return fieldsDraft06[:]
	case core.HeadersByUnit:
		for d := range byUnit(visible(decisions)) {
			names = append(names, d.Policy.Fields().ByUnit[:]...)
		}
		return names
	}
	return fieldsIETF[:]
}

// SetHeaders sets the response fields for the decisions on one request, outer first. A
// form that is given twice is set twice. Without a form nothing is set. SetHeaders leaves
// out decisions by policies in shadow mode, and decisions made without a log.
//
// retryAfter is the response's Retry-After in seconds, 0 for none. It must not be
// earlier than a t in the same response, so a later t is left out.
func SetHeaders(decisions []core.Decision, forms []core.HeaderForm, retryAfter int64, to HeaderSetter) {
	decisions = visible(decisions)
	if len(decisions) == 0 {
		return
	}
	for _, form := range forms {
		switch form {
		case core.HeadersIETF:
			setIETF(decisions, retryAfter, to)
		case core.HeadersX:
			setLegacy(&fieldsX, decisions, to)
		case core.HeadersDraft06:
			setLegacy(&fieldsDraft06, decisions, to)
		case core.HeadersByUnit:
			for d, binding := range byUnit(decisions) {
				names := &d.Policy.Fields().ByUnit
				to.SetHeader(names[0], strconv.FormatInt(binding.Limit.Max, 10))
				to.SetHeader(names[1], strconv.FormatInt(binding.Remaining, 10))
				to.SetHeader(names[2], binding.Reset.String())
			}
		}
	}
}

// visible returns the decisions that the response fields show.
func visible(decisions []core.Decision) []core.Decision {
	for i := range decisions {
		if !shown(&decisions[i]) {
			return slices.DeleteFunc(slices.Clone(decisions), func(d core.Decision) bool { return !shown(&d) })
		}
	}
	return decisions
}

// byUnit returns the first decision on each unit, and the state of the limit that binds
// among all on that unit. It leaves out concurrency policies, since nobody knows when a
// request in flight ends.
func byUnit(decisions []core.Decision) iter.Seq2[*core.Decision, core.LimitState] {
	unit := func(d *core.Decision) string { return d.Policy.Fields().ByUnit[0] }
	return func(yield func(*core.Decision, core.LimitState) bool) {
		for i := range decisions {
			first := &decisions[i]
			same := func(d core.Decision) bool { return !d.Policy.Concurrency() && unit(&d) == unit(first) }
			if first.Policy.Concurrency() || slices.ContainsFunc(decisions[:i], same) {
				continue
			}
			if !yield(first, bindingOf(decisions[i:], same)) {
				return
			}
		}
	}
}

func setIETF(decisions []core.Decision, retryAfter int64, to HeaderSetter) {
	if len(decisions) == 1 {
		to.SetHeader(fieldsIETF[0], decisions[0].Policy.Fields().Text)
		to.SetHeader(fieldsIETF[1], string(appendStates(make([]byte, 0, 48), &decisions[0], nil, retryAfter)))
		return
	}
	var policies, states []byte
	seen := make(map[string]bool, 2*len(decisions))
	seenState := make(map[string]bool, 2*len(decisions))
	for i := range decisions {
		policies = decisions[i].Policy.Fields().Append(policies, seen)
		states = appendStates(states, &decisions[i], seenState, retryAfter)
	}
	to.SetHeader(fieldsIETF[0], string(policies))
	to.SetHeader(fieldsIETF[1], string(states))
}

// appendStates appends the items of d to a RateLimit field.
func appendStates(b []byte, d *core.Decision, seen map[string]bool, retryAfter int64) []byte {
	items := d.Policy.Fields().Items
	for i, s := range d.States() {
		b = field.AppendName(b, items[i].Name, seen)
		b = append(b, ";r="...)
		b = strconv.AppendInt(b, s.Remaining, 10)
		if t := field.Seconds(s.Reset); !d.Policy.Concurrency() && (retryAfter == 0 || t <= retryAfter) {
			b = append(b, ";t="...)
			b = strconv.AppendInt(b, t, 10)
		}
	}
	return b
}

// setLegacy sets the three fields of the older forms. They have room for one limit, so
// they show the limit that binds.
func setLegacy(names *[3]string, decisions []core.Decision, to HeaderSetter) {
	binding := bindingOf(decisions, func(core.Decision) bool { return true })
	to.SetHeader(names[0], strconv.FormatInt(binding.Limit.Max, 10))
	to.SetHeader(names[1], strconv.FormatInt(binding.Remaining, 10))
	to.SetHeader(names[2], strconv.FormatInt(field.Seconds(binding.Reset), 10))
}

// bindingOf returns the state of the limit that binds, of the decisions for which of returns
// true. The first decision must be one of them.
func bindingOf(decisions []core.Decision, of func(core.Decision) bool) (binding core.LimitState) {
	for i := range decisions {
		if !of(decisions[i]) {
			continue
		}
		for j, s := range decisions[i].States() {
			if i == 0 && j == 0 || ofFields(s).Binds(ofFields(binding)) {
				binding = s
			}
		}
	}
	return binding
}

func ofFields(s core.LimitState) field.State {
	return field.State{Remaining: s.Remaining, Reset: s.Reset, Violated: s.Violated}
}

// shown reports whether the response fields show the decision. They leave out the zero
// Decision, shadow mode, and decisions made without a log.
func shown(d *core.Decision) bool {
	return d.Policy != nil && !d.Policy.Log().Shadow && d.Source != core.SourceNone
}
