package core

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/streamlimit/streamlimit/core/internal/field"

	"github.com/streamlimit/streamlimit/core/store"
)

// maxNameLength bounds a policy's name, which is part of every key in Redis
// and of the response fields.
const maxNameLength = 64

// Policy is a named set of limits that are checked together, all or nothing,
// on one log per key. It never changes after [NewPolicy] and may be shared by
// any number of routes, goroutines and limiters: routes that share a policy
// share its budget.
type Policy struct {
	name   string
	limits []Limit
	traits
	log *store.Log // the policy in the form for a store; no other policy has the same Log

	fields field.Policy
}

// NewPolicy makes the policy called name from its limits:
//
//	core.NewPolicy("api", core.PerMinute(100))
//	core.NewPolicy("search", core.PerSecond(10), core.PerHour(1000))
//	core.NewPolicy("tokens", core.PerMinute(10_000), core.VariableCost())
//
// The name separates the logs of different policies, and is shown to clients and in
// metrics. It is made of letters, digits, '.', '_' and '-'. Policies with the same
// name, layout and longest window share their logs, in all processes.
//
// NewPolicy panics on a wrong name or limit with a message that says what to
// write instead; [ParsePolicy] returns the same as an error.
func NewPolicy(name string, options ...PolicyOption) *Policy {
	p, err := newPolicy(name, options)
	if err != nil {
		panic("core: NewPolicy: " + err.Error())
	}
	return p
}

// PolicyError is the error of [ParsePolicy] and [Policy.With] for a policy that
// can't be made.
type PolicyError struct {
	Policy string // its name, which may be what is wrong
	Option string // the option that does not fit, such as "Refundable"; "" for the name and the limits
	Err    error  // what is wrong, and what to write instead
}

// Error names the policy and the option.
func (e *PolicyError) Error() string {
	if e.Option == "" {
		return e.Err.Error()
	}
	return fmt.Sprintf("policy %q: %s: %v", e.Policy, e.Option, e.Err)
}

func (e *PolicyError) Unwrap() error { return e.Err }

// ParsePolicy makes a policy from text, such as limits from a settings file in
// the form of [ParseLimit]. Options such as [VariableCost] may follow. The error is
// from ParseLimit, or a [*PolicyError].
func ParsePolicy(name string, limits []string, options ...PolicyOption) (*Policy, error) {
	all := make([]PolicyOption, 0, len(limits)+len(options))
	for _, text := range limits {
		l, err := ParseLimit(text)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	p, err := newPolicy(name, append(all, options...))
	if err != nil {
		return nil, fmt.Errorf("core: %w", err)
	}
	return p, nil
}

func newPolicy(name string, options []PolicyOption) (*Policy, error) {
	wrong := func(format string, args ...any) error {
		return &PolicyError{Policy: name, Err: fmt.Errorf(format, args...)}
	}
	if name == "" {
		return nil, wrong(`a policy needs a name: use one such as "api"`)
	}
	if err := validateName(name); err != nil {
		return nil, wrong("policy %w", err)
	}
	p := &Policy{name: name, log: &store.Log{Policy: name}}
	for _, o := range options {
		if o == nil {
			return nil, wrong("policy %q: a nil option: leave it out", name)
		}
		o.applyTo(p)
	}
	switch {
	case len(p.limits) == 0:
		return nil, wrong("policy %q has no limit: add one, such as core.PerMinute(100)", name)
	case len(p.limits) > store.MaxLimits:
		return nil, wrong("policy %q has %d limits: use at most %d", name, len(p.limits), store.MaxLimits)
	}
	for i, l := range p.limits {
		if err := l.validate(); err != nil {
			return nil, wrong("policy %q: %w", name, err)
		}
		for _, other := range p.limits[:i] {
			if other.Window == l.Window && other.Period == l.Period {
				return nil, wrong("policy %q has two limits for one window, %v and %v: keep the smaller", name, other, l)
			}
		}
		limit, length, err := l.onStore()
		if err != nil {
			return nil, wrong("policy %q: %w", name, err)
		}
		p.log.Limits = append(p.log.Limits, limit)
		p.log.Longest = max(p.log.Longest, length)
		p.log.Sliding = max(p.log.Sliding, l.Window)
	}
	if option, err := p.checkTraits(); err != nil {
		return nil, &PolicyError{Policy: name, Option: option, Err: err}
	}
	p.describeLog()
	p.buildFields()
	return p, nil
}

// describeLog completes the log's description from the traits.
func (p *Policy) describeLog() {
	log := p.log
	log.VariableCost, log.Shadow = p.costs, p.shadow
	if p.hasPeriods() {
		p.describePeriods()
		return
	}
	switch {
	case p.slots:
		log.Layout = store.Slots
	case p.refundable:
		log.Layout = store.Refunded
	case len(p.limits) == 1 && !p.costs && p.slices == 0:
		log.Layout = store.Counted
	default:
		log.Layout = store.Summed
	}
	log.Name = fmt.Sprintf("%s:%c%s", p.name, log.Layout, shortWindow(log.Longest))
	if p.slots {
		log.Name = fmt.Sprintf("%s:%c", p.name, log.Layout) // a slot has its own expiry, so a change of hold keeps the name
	}
	if n := int64(p.slices); n > 0 {
		log.Slice = time.Duration((log.Longest.Milliseconds()+n-1)/n) * time.Millisecond
	}
	if p.lease > 0 && !slices.ContainsFunc(p.limits, func(l Limit) bool { return l.Max < minLeased }) {
		p.log = leasedLog(log, p.lease)
	}
}

// leasedLog returns a policy's log with leases, from the one without.
func leasedLog(unleased *store.Log, d time.Duration) *store.Log {
	log := *unleased
	log.Unleased = unleased
	log.Layout, log.Lease = store.Refunded, d
	log.Longest += d
	log.Sliding = log.Longest
	log.Limits = slices.Clone(log.Limits)
	for i := range log.Limits {
		log.Limits[i].Window += d
	}
	log.Name = fmt.Sprintf("%s:%c%s%c%s", log.Policy, log.Layout, shortWindow(unleased.Longest), leaseMark, shortWindow(d))
	return &log
}

// leaseMark stands before the length of leases in the name of a log.
const leaseMark = '+'

// shortWindow is a window in the longest unit that it is a whole number of. A key
// that is a few bytes shorter can take 16 bytes less of a server's memory.
func shortWindow(w time.Duration) string {
	for _, u := range slices.Backward(units) {
		if w%u.window == 0 {
			return strconv.FormatInt(int64(w/u.window), 10) + u.alias[0]
		}
	}
	return strconv.FormatInt(w.Milliseconds(), 10) + "ms"
}

// With returns a policy like p with other settings. Limits among the options replace all
// limits of p. A lease of p that is too long for them is shortened. The new policy has
// the logs of p if the longest window and the layout are the same. Otherwise it begins
// new logs. A [Limiter] that changes a policy counts the earlier logs too: see
// [Limiter.Replace]. The error is a [*PolicyError].
func (p *Policy) With(options ...PolicyOption) (*Policy, error) {
	all := []PolicyOption{p.traits}
	if slices.ContainsFunc(options, isLimit) {
		all = append(all, policyOption(func(t *traits) { t.lease = min(t.lease, longestLease(options)) }))
	} else {
		all = append(all, limitOptions(p.limits)...)
	}
	changed, err := newPolicy(p.name, append(all, options...))
	if err != nil {
		return nil, fmt.Errorf("core: %w", err)
	}
	return changed, nil
}

func isLimit(o PolicyOption) bool {
	_, ok := o.(Limit)
	return ok
}

// same reports whether decisions by p and o are the same.
func (p *Policy) same(o *Policy) bool {
	return p == o || p.name == o.name && p.traits == o.traits && slices.Equal(p.limits, o.limits) &&
		slices.EqualFunc(p.log.Earlier, o.log.Earlier, (*store.Log).SameName)
}

// after returns p as it is after a change of limits: decisions on it also count what the
// earlier logs still hold.
func (p *Policy) after(earlier []*store.Log) *Policy {
	log := p.log.After(earlier...)
	if log == p.log {
		return p
	}
	changed := *p
	changed.log = log
	return &changed
}

// validateName checks the name of a policy, or the one that response fields give
// it.
func validateName(name string) error {
	if len(name) > maxNameLength {
		return fmt.Errorf("name of %d bytes is too long: use at most %d", len(name), maxNameLength)
	}
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return fmt.Errorf("name %s: %q is not allowed: use letters, digits, '.', '_' and '-'", strconv.Quote(name), c)
		}
	}
	return nil
}

// Name returns the policy's name.
func (p *Policy) Name() string { return p.name }

// MarshalText returns the policy's name, as for JSON.
func (p *Policy) MarshalText() ([]byte, error) { return []byte(p.name), nil }

// Limits returns the policy's limits in the order they were given. The zero Policy, which
// is not valid, has none.
func (p *Policy) Limits() []Limit { return append([]Limit(nil), p.limits...) }

// Log returns the policy as a store sees it: how its logs are named and written, and what
// [VariableCost], [Refundable], [Coarse] and [Shadow] have set. It returns the same Log
// at each call, and the caller must not change it.
func (p *Policy) Log() *store.Log { return p.log }

// String returns the policy's name.
func (p *Policy) String() string { return p.name }
