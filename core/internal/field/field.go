// Package field has what the response fields and the problem documents of a policy share.
package field

import (
	"net/textproto"
	"strconv"
	"time"
)

// ProblemType is the media type of a problem document.
const ProblemType = "application/problem+json"

// Policy has the part of the fields that is constant for a policy.
type Policy struct {
	Items []Item // one for each limit
	Text  string // the RateLimit-Policy field of this policy alone

	// ByUnit are the names of the fields for the limit, the rest and the reset of the
	// policy's unit, in the canonical form of net/http.
	ByUnit [3]string
}

// Item is one limit in the fields.
type Item struct {
	Name  string // unique in its policy
	Quota string // ;q=10;w=1;qu="tokens"
}

// NewItem returns the item of a limit on units, whose name is "" for requests. A calendar
// limit has no window: 0.
func NewItem(name string, most int64, window time.Duration, units string) Item {
	quota := ";q=" + strconv.FormatInt(most, 10)
	if window > 0 && window%time.Second == 0 {
		quota += ";w=" + strconv.FormatInt(int64(window/time.Second), 10)
	}
	if units != "" {
		quota += `;qu="` + units + `"` // a name, in which nothing needs escaping
	}
	return Item{Name: name, Quota: quota}
}

// NewSlots returns the item of a limit on requests in flight, which has no window.
func NewSlots(name string, most int64) Item {
	return Item{Name: name, Quota: ";q=" + strconv.FormatInt(most, 10) + `;qu="concurrent-requests"`}
}

// NewPolicy returns the constant part of the fields for a policy with the items and the
// unit.
func NewPolicy(items []Item, unit string) Policy {
	p := Policy{Items: items}
	for i, name := range [...]string{"X-Ratelimit-Limit-", "X-Ratelimit-Remaining-", "X-Ratelimit-Reset-"} {
		p.ByUnit[i] = textproto.CanonicalMIMEHeaderKey(name + unit)
	}
	p.Text = string(p.Append(nil, nil))
	return p
}

// Append appends the items of p to a RateLimit-Policy field. seen has the names in the
// field so far. It is nil if no name can occur twice.
func (p *Policy) Append(b []byte, seen map[string]bool) []byte {
	for _, item := range p.Items {
		b = AppendName(b, item.Name, seen)
		b = append(b, item.Quota...)
	}
	return b
}

// AppendName appends the name as a string of RFC 9651. Names are tokens, so nothing
// needs escaping. A name that another policy of the request has already taken gets a
// number, since names are unique in a field.
func AppendName(b []byte, name string, seen map[string]bool) []byte {
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

// Seconds rounds d up to whole seconds, so that a wait of the result is long enough.
func Seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// State is the state of one limit after a decision.
type State struct {
	Remaining int64
	Reset     time.Duration
	Violated  bool
}

// Binds reports whether s restricts the client's next request more than o.
func (s State) Binds(o State) bool {
	switch {
	case s.Violated != o.Violated:
		return s.Violated
	case !s.Violated && s.Remaining != o.Remaining:
		return s.Remaining < o.Remaining
	}
	return s.Reset > o.Reset
}
