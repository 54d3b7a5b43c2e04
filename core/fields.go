package core

import (
	"slices"
	"strconv"
	"time"
)

// HeaderForm is a set of response fields that report limits to clients.
type HeaderForm byte

const (
	// HeadersIETF are RateLimit-Policy and RateLimit as in revision 11 of
	// draft-ietf-httpapi-ratelimit-headers.
	HeadersIETF HeaderForm = iota
	// HeadersX are X-RateLimit-Limit, -Remaining and -Reset. Reset counts
	// seconds from now.
	HeadersX
	// HeadersDraft06 are RateLimit-Limit, -Remaining and -Reset as in
	// revisions 00 to 06 of the same draft.
	HeadersDraft06
)

// fieldItem is one limit in the response fields.
type fieldItem struct {
	name  string // of the item, unique in its policy
	quota string // ;q=10;w=1
}

// buildFields prepares all of the fields that does not change. The first
// limit goes by the policy's field name, the others by the name and their window.
func (p *Policy) buildFields() {
	p.items = make([]fieldItem, len(p.limits))
	for i, l := range p.limits {
		name := p.fieldName
		if i > 0 {
			name += "-" + windowText(l.Window)
		}
		quota := ";q=" + strconv.FormatInt(l.Max, 10)
		if l.Window%time.Second == 0 {
			quota += ";w=" + strconv.FormatInt(int64(l.Window/time.Second), 10)
		}
		p.items[i] = fieldItem{name: name, quota: quota}
	}
	p.itemsField = string(appendPolicy(nil, p, nil))
}

// HeaderSetter is where response fields are set.
type HeaderSetter interface{ SetHeader(name, value string) }

// The names of the fields, in the form that net/http has them in.
var (
	fieldsIETF    = [2]string{"Ratelimit-Policy", "Ratelimit"}
	fieldsX       = [3]string{"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset"}
	fieldsDraft06 = [3]string{"Ratelimit-Limit", "Ratelimit-Remaining", "Ratelimit-Reset"}
)

// FieldNames returns the names of a form's fields, in the order in which [SetHeaders]
// sets them.
func FieldNames(form HeaderForm) []string {
	switch form {
	case HeadersX:
		return fieldsX[:]
	case HeadersDraft06:
		return fieldsDraft06[:]
	}
	return fieldsIETF[:]
}

// SetHeaders sets the response fields for the decisions on one request, outer first. A
// form given twice is set twice; no form sets nothing. Decisions by policies in shadow
// mode are left out. So are decisions made without a log.
//
// retryAfter is the response's Retry-After in seconds, 0 for none. It must not be
// earlier than a t in the same response, so a later t is left out.
func SetHeaders(decisions []Decision, forms []HeaderForm, retryAfter int64, to HeaderSetter) {
	for i := range decisions {
		if !decisions[i].shown() {
			decisions = slices.DeleteFunc(slices.Clone(decisions), func(d Decision) bool { return !d.shown() })
			break
		}
	}
	if len(decisions) == 0 {
		return
	}
	for _, form := range forms {
		switch form {
		case HeadersIETF:
			setIETF(decisions, retryAfter, to)
		case HeadersX:
			setLegacy(&fieldsX, decisions, to)
		case HeadersDraft06:
			setLegacy(&fieldsDraft06, decisions, to)
		}
	}
}

func setIETF(decisions []Decision, retryAfter int64, to HeaderSetter) {
	if len(decisions) == 1 {
		to.SetHeader(fieldsIETF[0], decisions[0].Policy.itemsField)
		to.SetHeader(fieldsIETF[1], string(appendStates(make([]byte, 0, 48), &decisions[0], nil, retryAfter)))
		return
	}
	var policies, states []byte
	seen := make(map[string]bool, 2*len(decisions))
	seenState := make(map[string]bool, 2*len(decisions))
	for i := range decisions {
		policies = appendPolicy(policies, decisions[i].Policy, seen)
		states = appendStates(states, &decisions[i], seenState, retryAfter)
	}
	to.SetHeader(fieldsIETF[0], string(policies))
	to.SetHeader(fieldsIETF[1], string(states))
}

// appendPolicy appends the items of p to a RateLimit-Policy field.
func appendPolicy(b []byte, p *Policy, seen map[string]bool) []byte {
	for _, item := range p.items {
		b = appendItemName(b, item.name, seen)
		b = append(b, item.quota...)
	}
	return b
}

// appendStates appends the items of d to a RateLimit field.
func appendStates(b []byte, d *Decision, seen map[string]bool, retryAfter int64) []byte {
	for i, item := range d.Policy.items {
		s := d.state(i)
		b = appendItemName(b, item.name, seen)
		b = append(b, ";r="...)
		b = strconv.AppendInt(b, s.Remaining, 10)
		if t := seconds(s.Reset); retryAfter == 0 || t <= retryAfter {
			b = append(b, ";t="...)
			b = strconv.AppendInt(b, t, 10)
		}
	}
	return b
}

// appendItemName appends the name as a string of RFC 9651. Names are tokens,
// so nothing needs escaping. A name that another policy of the request has
// already taken gets a number, for names are unique in a field.
func appendItemName(b []byte, name string, seen map[string]bool) []byte {
	if len(b) > 0 {
		b = append(b, ", "...)
	}
	if seen != nil {
		unique := name
		for n := 2; seen[unique]; n++ {
			unique = name + "-" + strconv.Itoa(n)
		}
		seen[unique] = true
		name = unique
	}
	b = append(b, '"')
	b = append(b, name...)
	return append(b, '"')
}

// setLegacy sets the three fields of the older forms. They have room for one
// limit: the one that binds.
func setLegacy(names *[3]string, decisions []Decision, to HeaderSetter) {
	binding := decisions[0].state(0)
	for i := range decisions {
		for j := range decisions[i].Policy.limits {
			if s := decisions[i].state(j); s.binds(binding) {
				binding = s
			}
		}
	}
	to.SetHeader(names[0], strconv.FormatInt(binding.Limit.Max, 10))
	to.SetHeader(names[1], strconv.FormatInt(binding.Remaining, 10))
	to.SetHeader(names[2], strconv.FormatInt(seconds(binding.Reset), 10))
}

// seconds rounds up to whole seconds, so that waiting them out is enough.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// retrySeconds is the Retry-After of a denial, at least 1.
func retrySeconds(d *Decision) int64 { return max(1, seconds(d.RetryAfter)) }

// deniedDetail says which limit denied and how long to wait:
// "5 requests per 10s; retry in 7s".
func deniedDetail(d *Decision) string {
	switch d.Reason {
	case ReasonBlocked:
		return "this client is blocked"
	case ReasonBanned:
		return "this client is banned; retry in " + strconv.FormatInt(retrySeconds(d), 10) + "s"
	}
	l := d.Limit
	unit := " request"
	if d.Policy.costs {
		unit = " unit"
	}
	b := make([]byte, 0, 64)
	b = strconv.AppendInt(b, l.Max, 10)
	b = append(b, unit...)
	if l.Max != 1 {
		b = append(b, 's')
	}
	b = append(b, " per "...)
	b = append(b, windowText(l.Window)...)
	b = append(b, "; retry in "...)
	b = strconv.AppendInt(b, retrySeconds(d), 10)
	return string(append(b, 's'))
}
