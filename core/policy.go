package core

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// MaxLimits is how many limits one policy can have.
const MaxLimits = 8

// maxNameLength bounds a policy's name, which is part of every key in Redis
// and of the response fields.
const maxNameLength = 64

// Layout is how a policy's logs are written; see the package documentation.
type Layout byte

const (
	// Counted logs hold one entry a request: one limit, every request costs 1.
	Counted Layout = 'c'
	// Summed logs carry a running total of cost: several limits, or costs.
	Summed Layout = 's'
	// Refunded logs are summed logs that also carry what was given back.
	Refunded Layout = 'r'
)

// Policy is a named set of limits that are checked together, all or nothing,
// on one log per key. It never changes after [NewPolicy] and may be shared by
// any number of routes, goroutines and limiters: routes that share a policy
// share its budget.
type Policy struct {
	name    string
	limits  []Limit
	longest time.Duration
	layout  Layout
	logName string
	traits
	within  time.Duration // the grace of a refundable policy
	earlier []*Policy     // see After

	items      []fieldItem // one for each limit, see fields.go
	itemsField string      // the RateLimit-Policy field of this policy alone
}

// NewPolicy makes the policy called name from its limits:
//
//	core.NewPolicy("api", core.PerMinute(100))
//	core.NewPolicy("search", core.PerSecond(10), core.PerHour(1000))
//	core.NewPolicy("tokens", core.PerMinute(10_000), core.VariableCost())
//
// The name separates the logs of different policies, and is shown to clients and in
// metrics. It is made of letters, digits, '.', '_' and '-'. Policies with the same
// [Policy.LogName] (name, layout and longest window) share their logs, in all
// processes.
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
// a [*ParseError] or a [*PolicyError].
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
	p := &Policy{name: name}
	for _, o := range options {
		if o == nil {
			return nil, wrong("policy %q: a nil option: leave it out", name)
		}
		o.applyTo(p)
	}
	switch {
	case len(p.limits) == 0:
		return nil, wrong("policy %q has no limit: add one, such as core.PerMinute(100)", name)
	case len(p.limits) > MaxLimits:
		return nil, wrong("policy %q has %d limits: use at most %d", name, len(p.limits), MaxLimits)
	}
	for i, l := range p.limits {
		if err := l.validate(); err != nil {
			return nil, wrong("policy %q: %w", name, err)
		}
		for _, other := range p.limits[:i] {
			if other.Window == l.Window {
				return nil, wrong("policy %q has two limits for one window, %v and %v: keep the smaller", name, other, l)
			}
		}
		p.longest = max(p.longest, l.Window)
	}
	if option, err := p.checkTraits(); err != nil {
		return nil, &PolicyError{name, option, err}
	}
	switch {
	case p.refundable:
		p.layout = Refunded
	case len(p.limits) == 1 && !p.costs && p.slices == 0:
		p.layout = Counted
	default:
		p.layout = Summed
	}
	p.logName = fmt.Sprintf("%s:%c%s", name, p.layout, shortWindow(p.longest))
	p.buildFields()
	return p, nil
}

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

// With is a policy like p with other settings. Limits among the options replace
// all limits of p. Its logs are those of p if their longest window and their
// layout are the same. Otherwise it begins new logs; a [Limiter] that changes a
// policy counts the earlier ones too, see [Policy.After]. The error is a
// [*PolicyError].
func (p *Policy) With(options ...PolicyOption) (*Policy, error) {
	all := []PolicyOption{p.traits}
	if !slices.ContainsFunc(options, isLimit) {
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
		slices.EqualFunc(p.earlier, o.earlier, (*Policy).sameLog)
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

// Limits returns the policy's limits in the order they were given.
func (p *Policy) Limits() []Limit { return append([]Limit(nil), p.limits...) }

// Len returns the number of limits of the policy, at least 1. It returns 0 for the zero
// Policy, which is not valid.
func (p *Policy) Len() int { return len(p.limits) }

// Limit returns the i-th of the policy's limits, counted from 0.
func (p *Policy) Limit(i int) Limit { return p.limits[i] }

// Longest returns the policy's longest window. No limit counts an entry older than
// that.
func (p *Policy) Longest() time.Duration { return p.longest }

// Layout returns how the policy's logs are written.
func (p *Policy) Layout() Layout { return p.layout }

// LogName names the policy's logs in a store: the policy's name with the
// layout and the longest window ("api:c1m"), so that logs of different shape
// never mix. The letter of the layout is the version of the log's format: see
// CONTRIBUTING.md.
func (p *Policy) LogName() string { return p.logName }

// String returns the policy's name.
func (p *Policy) String() string { return p.name }
