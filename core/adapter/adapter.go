// Package adapter is what the framework adapters have in common: their options,
// the way a request takes through a policy, and what is kept of it. Users of
// an adapter never need it; writers of one fill in a [Framework] and an
// [Exchange], and run package adaptertest over the result.
//
// C stands for the framework's request context throughout.
package adapter

import (
	"context"
	"errors"

	"github.com/streamlimit/streamlimit/core"
)

// Framework is what an adapter knows of its framework.
type Framework[C any] struct {
	// Name is the adapter's package name, for messages.
	Name string

	// Exchange is the request and its response behind a context.
	Exchange func(c C) Exchange

	// Respond ends the request with a status and a body.
	Respond func(c C, status int, contentType string, body []byte) error

	// Fail hands err, to be answered with status, to the framework's own
	// handling of errors.
	Fail func(c C, status int, err error) error
}

// Exchange is one request and its response. What it returns may be reused by
// the framework after the request.
type Exchange interface {
	core.Request
	Context() context.Context
	SetHeader(name, value string)

	// Record is what SetRecord was given last in this request, or nil.
	Record() *Record
	SetRecord(r *Record)
}

// Record is what is kept of one request, in its context.
type Record struct {
	decisions []core.Decision
}

// add keeps d after the decisions before it. A policy that was asked again
// stands only once, with its newest decision.
func (r *Record) add(d core.Decision) {
	for i := range r.decisions {
		if r.decisions[i].Policy == d.Policy {
			r.decisions = append(r.decisions[:i], r.decisions[i+1:]...)
			break
		}
	}
	r.decisions = append(r.decisions, d)
}

// Decisions are the decisions on the request so far, outer first. The slice is
// the caller's own.
func (r *Record) Decisions() []core.Decision {
	if r == nil {
		return nil
	}
	return append([]core.Decision(nil), r.decisions...)
}

// Last is the newest decision on the request, and whether there is one.
func (r *Record) Last() (core.Decision, bool) {
	if r == nil || len(r.decisions) == 0 {
		return core.Decision{}, false
	}
	return r.decisions[len(r.decisions)-1], true
}

// Middleware limits requests by one policy.
type Middleware[C any] struct {
	framework Framework[C]
	limiter   *core.Limiter
	policy    *core.Policy
	config[C]
	key func(C, Exchange) (string, error)
}

// New makes the middleware, and panics with advice on a wrong use.
func New[C any](f Framework[C], limiter *core.Limiter, policy *core.Policy, options ...Option[C]) *Middleware[C] {
	if limiter == nil {
		panic(f.Name + ": New: nil limiter: make one with core.New(core.NewMemory()), or on Redis with redisstream.New")
	}
	if policy == nil {
		panic(f.Name + `: New: nil policy: make one with core.NewPolicy("api", core.PerMinute(100))`)
	}
	m := &Middleware[C]{framework: f, limiter: limiter, policy: policy}
	m.headers = []core.HeaderForm{core.HeadersIETF}
	m.who = ByAddress[C]()
	for _, o := range options {
		if o == nil {
			panic(f.Name + ": New: a nil option: leave it out")
		}
		o(&m.config)
	}
	if m.cost != nil && m.tier == nil && !policy.VariableCost() {
		panic(f.Name + ": New: WithCost on policy " + policy.Name() + ", which counts requests: give core.NewPolicy the option core.VariableCost()")
	}
	m.key = m.who.bind(limiter.Identity())
	return m
}

// Handle decides on the request in c. It returns whether to pass it on; if
// not, the request has been answered, and the error is for the framework.
func (m *Middleware[C]) Handle(c C) (pass bool, err error) {
	if m.skip != nil && m.skip(c) {
		return true, nil
	}
	x := m.framework.Exchange(c)
	d, err := m.decide(c, x)
	if err != nil {
		return false, m.refuse(c, x, err)
	}
	record := x.Record()
	if record == nil {
		record = &Record{}
		x.SetRecord(record)
	}
	record.add(d)
	core.SetHeaders(record.decisions, m.headers, x.SetHeader)
	if d.Allowed {
		return true, nil
	}
	return false, m.refuse(c, x, d.Err())
}

func (m *Middleware[C]) decide(c C, x Exchange) (core.Decision, error) {
	policy, cost := m.policy, int64(1)
	if m.tier != nil {
		if p := m.tier(c); p != nil {
			policy = p
		}
	}
	key, err := m.key(c, x)
	if err != nil {
		return core.Decision{}, err
	}
	if m.cost != nil {
		if cost, err = m.cost(c); err != nil {
			return core.Decision{}, err
		}
	}
	return m.limiter.AllowN(x.Context(), policy, key, cost)
}

// refuse answers a request that is not passed on because of err.
func (m *Middleware[C]) refuse(c C, x Exchange, err error) error {
	problem := core.ProblemFor(err)
	if problem.RetryAfter != "" {
		x.SetHeader("Retry-After", problem.RetryAfter)
	}
	var limited *core.LimitedError
	switch denied := errors.As(err, &limited); {
	case denied && m.denied != nil:
		return m.denied(c, limited.Decision)
	case !denied && m.failed != nil:
		return m.failed(c, err)
	case m.toFramework:
		return m.framework.Fail(c, problem.Status, err)
	}
	return m.framework.Respond(c, problem.Status, core.ProblemContentType, problem.Body())
}
