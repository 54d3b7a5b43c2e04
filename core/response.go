package core

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/streamlimit/streamlimit/core/internal/field"
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
	// HeadersByUnit are X-RateLimit-Limit-Requests, -Remaining-Requests and
	// -Reset-Requests, and the same for each other [Unit] of the policies, such as
	// X-RateLimit-Limit-Tokens. Clients of language models read them. Reset is the time
	// until more units come free, as a duration of Go such as 6m0s or 250ms.
	HeadersByUnit
)

// Fields returns the constant part of the response fields of the policy. It is for
// package adapter.
func (p *Policy) Fields() *field.Policy { return &p.fields }

// buildFields prepares the constant part of the fields. The first limit has the policy's
// field name. The others have that name and their window.
func (p *Policy) buildFields() {
	items := make([]field.Item, len(p.limits))
	for i, l := range p.limits {
		name := p.fieldName
		if i > 0 {
			name += "-" + l.word()
		}
		if slices.ContainsFunc(items[:i], func(o field.Item) bool { return o.Name == name }) {
			name += "-" + strconv.Itoa(i+1) // the same period in two time zones
		}
		items[i] = field.NewItem(name, l.Max, l.Window, p.qu())
		if p.slots {
			items[i] = field.NewSlots(name, l.Max)
		}
	}
	p.fields = field.NewPolicy(items, p.Unit())
}

// qu returns the unit as response fields name it; "" for requests, which they leave out.
func (p *Policy) qu() string {
	if p.unit == unitRequests {
		return ""
	}
	return p.unit
}

// The problem types that standards register for what a limiter answers.
const (
	typeQuotaExceeded   = "https://iana.org/assignments/http-problem-types#quota-exceeded"
	typeReducedCapacity = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
)

// overloadedRetry is the longest Retry-After of an overloaded process, in
// seconds; the shortest is 1.
const overloadedRetry = 3

// Problem is the response to a request that is not passed on, as a problem document of
// RFC 9457. A *Problem is an error too: see [Refuse].
type Problem struct {
	Type     string   `json:"type,omitempty"`
	Title    string   `json:"title"`
	Status   int      `json:"status"`
	Detail   string   `json:"detail,omitempty"`
	Violated []string `json:"violated-policies,omitempty"`

	// RetryAfter is the value of the Retry-After field in seconds; 0 for none.
	RetryAfter int64 `json:"-"`
}

// Refuse returns a [*Problem] with an HTTP status from 400 to 599 and a detail that is
// shown to the client. Functions that find the key or the cost of a request return it for
// a request that they can't accept:
//
//	return 0, core.Refuse(http.StatusBadRequest, "tokens must be a number")
func Refuse(status int, detail string) error { return &Problem{Status: status, Detail: detail} }

func (p *Problem) Error() string {
	return fmt.Sprintf("streamlimit: request refused with %d: %s", p.Status, p.Detail)
}

// ProblemFor returns the response to a request that was not passed on because of err:
// 429 for a [*LimitedError], or 403 when the client is blocked, the given status for a
// *Problem, 401 for [ErrNoKey], 400 for [ErrCost], and 503 for anything else,
// which means that there was no decision. The response does not show an inner error.
func ProblemFor(err error) Problem {
	var (
		limited *LimitedError
		refused *Problem
	)
	switch {
	case errors.As(err, &limited) && limited.Decision.Policy != nil:
		return deniedProblem(limited)
	case errors.As(err, &refused) && refused.Status >= 400 && refused.Status <= 599:
		p := *refused
		p.Title = cmp.Or(p.Title, http.StatusText(p.Status))
		return p
	case errors.Is(err, ErrNoKey):
		return Problem{Title: "Unauthorized", Status: http.StatusUnauthorized, Detail: "the request lacks what it is counted by, such as a credential"}
	case errors.Is(err, ErrCost):
		return Problem{Title: "Bad Request", Status: http.StatusBadRequest, Detail: "the request's cost can never be admitted"}
	}
	if errors.Is(err, ErrOverloaded) {
		// Those who were refused at one moment must not come back at one moment.
		after := 1 + rand.Int64N(overloadedRetry)
		return Problem{
			Type: typeReducedCapacity, Title: "Service Unavailable", Status: http.StatusServiceUnavailable,
			Detail: fmt.Sprintf("the server is overloaded; retry in %ds", after), RetryAfter: after,
		}
	}
	detail := "the rate limiter could not decide; retry in 1s"
	if errors.Is(err, context.Canceled) {
		detail = "the request was cancelled"
	}
	return Problem{
		Type: typeReducedCapacity, Title: "Service Unavailable", Status: http.StatusServiceUnavailable,
		Detail: detail, RetryAfter: 1,
	}
}

func deniedProblem(e *LimitedError) Problem {
	d := &e.Decision
	if d.Reason == ReasonBlocked {
		return Problem{Title: "Forbidden", Status: http.StatusForbidden, Detail: deniedDetail(d)}
	}
	p := Problem{
		Type: typeQuotaExceeded, Title: "Too Many Requests", Status: http.StatusTooManyRequests,
		Detail:     deniedDetail(d),
		RetryAfter: retrySeconds(d),
	}
	if d.waits() {
		p.RetryAfter = 0
	}
	p.violated(d)
	for i := range e.Others {
		p.violated(&e.Others[i])
	}
	return p
}

// violated adds the limits that d says had no room.
func (p *Problem) violated(d *Decision) {
	for i, item := range d.Policy.fields.Items {
		if d.state(i).Violated && !slices.Contains(p.Violated, item.Name) {
			p.Violated = append(p.Violated, item.Name)
		}
	}
}

// Body returns the problem as JSON, whose media type is application/problem+json.
func (p Problem) Body() []byte {
	body, err := json.Marshal(p)
	if err != nil {
		// Strings and numbers always marshal.
		return []byte(`{"title":"` + http.StatusText(p.Status) + `"}`)
	}
	return body
}

// waits reports whether a denial ends when another request does, so that nobody knows
// when.
func (d *Decision) waits() bool { return d.Policy.slots && d.Reason == ReasonLimits }

// retrySeconds returns the Retry-After of a denial, at least 1.
func retrySeconds(d *Decision) int64 { return max(1, field.Seconds(d.RetryAfter)) }

// deniedDetail returns a text with the limit that denied and the time to wait:
// "5 requests per 10s; retry in 7s".
func deniedDetail(d *Decision) string {
	switch d.Reason {
	case ReasonBlocked:
		return "this client is blocked"
	case ReasonBanned:
		return "this client is banned; retry in " + strconv.FormatInt(retrySeconds(d), 10) + "s"
	}
	l := d.Limit
	if d.waits() {
		return strconv.FormatInt(l.Max, 10) + " in flight; retry when one has ended"
	}
	unit := d.Policy.Unit()
	if l.Max == 1 {
		unit = strings.TrimSuffix(unit, "s")
	}
	b := make([]byte, 0, 64)
	b = strconv.AppendInt(b, l.Max, 10)
	b = append(b, ' ')
	b = append(b, unit...)
	b = append(b, " per "...)
	b = append(b, l.word()...)
	b = append(b, "; retry in "...)
	b = strconv.AppendInt(b, retrySeconds(d), 10)
	return string(append(b, 's'))
}
