package adapter

import (
	"errors"
	"strconv"

	"github.com/streamlimit/streamlimit/core"
)

// Middleware limits requests by one policy.
type Middleware[C any] struct {
	framework Framework[C]
	limiter   *core.Limiter
	policy    *core.Policy
	config[C]
	key func(C, Exchange) (string, error)
}

// New makes the middleware, and panics with advice on a wrong use.
func (f Framework[C]) New(limiter *core.Limiter, policy *core.Policy, options ...Option[C]) *Middleware[C] {
	f.must(limiter != nil, "New", "nil limiter: make one with core.New(core.NewMemory()), or on Redis with redisstream.New")
	f.must(policy != nil && policy.Len() > 0, "New", `nil policy: make one with core.NewPolicy("api", core.PerMinute(100))`)
	m := &Middleware[C]{framework: f, limiter: limiter, policy: policy}
	m.headers = []core.HeaderForm{core.HeadersIETF}
	m.who = f.ByAddress()
	for _, o := range options {
		f.must(o != nil, "New", "a nil option: leave it out")
		o(&m.config)
	}
	f.must(m.cost == nil || policy.VariableCost(), "New",
		"WithCost on policy "+policy.Name()+", which counts requests: give core.NewPolicy the option core.VariableCost()")
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
	record.add(d, m.headers)
	if !d.Allowed {
		return false, m.refuse(c, x, d.Err())
	}
	record.setFields(x, 0)
	return true, nil
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
	var limited *core.LimitedError
	denied := errors.As(err, &limited)
	switch {
	case denied:
	case m.failed != nil:
		return m.failed(c, err)
	case m.framework.Owns(c, err):
		return err
	}
	problem := core.ProblemFor(err)
	if problem.RetryAfter > 0 {
		x.SetHeader("Retry-After", strconv.FormatInt(problem.RetryAfter, 10))
	}
	x.Record().setFields(x, problem.RetryAfter)
	switch {
	case denied && m.denied != nil:
		return m.denied(c, limited.Decision)
	case m.toFramework:
		return m.framework.Fail(c, problem, err)
	}
	return m.framework.Respond(c, problem.Status, core.ProblemContentType, problem.Body())
}
