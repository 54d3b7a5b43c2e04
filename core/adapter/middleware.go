package adapter

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/internal/warning"
)

// Middleware limits requests by one policy, or by several at once.
type Middleware[C any] struct {
	framework Framework[C]
	limiter   *core.Limiter
	config[C]
	counts  []count[C]     // by the middleware's own policy, then by the others
	failure warning.Rarely // of a function in the options
	panics  warning.Rarely // of such a function at the end of a stream
}

// count is one policy that requests are counted by.
type count[C any] struct {
	policy *core.Policy
	key    func(C, Exchange) (string, error)
}

const limiterAdvice = "make one with core.New(core.NewMemory()), or on Redis with redisstream.New"

// New makes the middleware, and panics with advice on a wrong use.
func (f Framework[C]) New(limiter *core.Limiter, policy *core.Policy, options ...Option[C]) *Middleware[C] {
	f.must(limiter != nil, "New", "nil limiter: "+limiterAdvice)
	f.mustPolicy("New", policy)
	m := &Middleware[C]{framework: f, limiter: limiter}
	m.headers = []core.HeaderForm{core.HeadersIETF}
	m.who = f.ByAddress()
	for _, o := range options {
		f.must(o != nil, "New", "a nil option: leave it out")
		o(&m.config)
	}
	for _, a := range append([]also[C]{{policy, m.who}}, m.also...) {
		m.counts = append(m.counts, count[C]{a.policy, a.who.bind(limiter.Seam().Identity)})
		limiter.Register(a.policy)
	}
	m.mustFit()
	return m
}

// mustFit panics on options that fit no policy. It can't check the policies of WithTier.
func (m *Middleware[C]) mustFit() {
	costs := func(n count[C]) bool { return n.policy.Log().VariableCost }
	refundable := func(n count[C]) bool { return n.policy.Log().Refundable() }
	both := func(n count[C]) bool { return costs(n) && refundable(n) }
	var names []string
	for i, n := range m.counts {
		if j := slices.Index(names, n.policy.Name()); j >= 0 {
			m.framework.must(m.counts[j].policy == m.counts[i].policy, "New",
				"two policies called "+n.policy.Name()+": give them names of their own, or make one policy with the limits of both")
		}
		names = append(names, n.policy.Name())
	}
	must := func(ok bool, option, advice string) {
		m.framework.must(ok, "New", option+" on policy "+strings.Join(names, ", ")+advice)
	}
	must(m.cost == nil || slices.ContainsFunc(m.counts, costs),
		"WithCost", ", which counts requests: give core.NewPolicy the option core.VariableCost()")
	must(m.refund == nil || m.tier != nil || slices.ContainsFunc(m.counts, refundable),
		"WithRefund", ", which gives nothing back: give core.NewPolicy the option core.Refundable(0)")
	must(m.used == nil || m.tier != nil || slices.ContainsFunc(m.counts, both),
		"WithSettle", ", whose charges can't be corrected: give core.NewPolicy the options core.VariableCost() and core.Refundable(0)")
}

// Handle decides on the request in c. It passes the request on to next, or responds to
// it. It reports whether the request was passed on, and returns the error for the
// framework.
func (m *Middleware[C]) Handle(c C, next func(C) error) (passed bool, err error) {
	if m.skip != nil && m.skip(c) {
		return true, next(c)
	}
	x := m.framework.Exchange(c)
	var begun time.Time
	if m.settles() {
		begun = time.Now()
	}
	outer := x.Record()
	record, err := m.decide(c, x, outer)
	if err != nil {
		return false, m.refuse(c, x, err)
	}
	decisions := record.decisions
	corrects := decisions // at the end of the request
	if m.settles() && !outer.settles(m) {
		corrects = append(slices.Clip(record.specials().standing), decisions...)
	}
	var e *ending
	if len(corrects) > 0 {
		if e = m.newEnding(decisions); e != nil {
			defer m.endAfter(c, e)
		}
	}
	if len(decisions) > 0 {
		denied := core.Denied(decisions)
		record.newest = int32(newest(decisions, denied)) //nolint:gosec // as many as a limit has policies
		record.noteResult()
		if e != nil {
			record.makeSpecial().endings = []*ending{e}
		}
		record = outer.with(m.limiter, record)
		x.SetRecord(record)
		defer x.Leave()
		if denied != nil {
			return false, m.refuse(c, x, denied)
		}
		record.setFields(&record.own, x, 0)
	} else if m.settles() && len(corrects) > 0 {
		x.SetRecord(outer.corrected(m, e))
		defer x.Leave()
	}
	if m.settles() && len(corrects) > 0 {
		return true, m.settleAfter(c, x, e, corrects, time.Since(begun), next)
	}
	return true, next(c)
}

// decide decides on the request by all policies together, except policies that an earlier
// limit has used. The record has the decisions of this limit. outer is the record of the
// limits outside of it.
func (m *Middleware[C]) decide(c C, x Exchange, outer *Record) (*Record, error) {
	r := x.NewRecord()
	r.forms = m.headers
	if m.settles() {
		r.makeSpecial().settling = []any{m}
	}
	charges := r.oneAsk[:0] // allocates nothing for one policy
	if len(m.counts) > 1 {
		charges = make([]core.Charge, 0, len(m.counts))
	}
	for i := range m.counts {
		charge, err := m.ask(c, x, i)
		if err != nil {
			return nil, m.failing(c, x, err)
		}
		// Two keys, such as those of ByFirst, can be the same.
		if !slices.ContainsFunc(charges, func(a core.Charge) bool { return sameLog(a, charge) }) {
			charges = append(charges, charge)
		}
	}
	if err := m.charge(c, charges); err != nil {
		return nil, m.failing(c, x, err)
	}
	if outer != nil && !x.Again() {
		outer = nil // outer belongs to the request that a handler has made this one from
	}
	if outer != nil {
		charges = r.without(outer, charges)
	}
	r.asks = charges
	q := r.request(x, outer, m.limiter)
	if len(charges) == 0 {
		return r, nil
	}
	ctx := x.Context()
	defer recall(ctx)
	if m.limiter.NeedsClient(ctx, &q) {
		q.Client = m.limiter.Seam().Identity.Client(x)
	}
	var err error
	r.decisions, err = m.limiter.Decide(ctx, q, charges, r.one[:0])
	return r, err
}

// failing returns the error of a function that finds a key or a cost. It logs the error
// if the error is not for the client, and no other code gets it.
func (m *Middleware[C]) failing(c C, x Exchange, err error) error {
	var refused *core.Problem
	seen := m.failed != nil || m.toFramework || m.framework.Owns(c, err)
	if !seen && !errors.As(err, &refused) && x.Context().Err() == nil && core.ProblemFor(err).Status == http.StatusServiceUnavailable {
		m.failure.Log(x.Context(), m.limiter.Seam().Warnings.Logger, slog.LevelError,
			"key or cost function failed; request rejected", "policy", m.counts[0].policy.Name(), "error", err)
	}
	return err
}

// unknown is a cost that has not been computed yet.
const unknown = -1

// ask returns the charge on the request by the i-th policy.
func (m *Middleware[C]) ask(c C, x Exchange, i int) (core.Charge, error) {
	n := &m.counts[i]
	ask := core.Charge{Policy: n.policy, Cost: 1}
	costs := m.cost != nil && n.policy.Log().VariableCost
	if i == 0 && m.tier != nil {
		if p := m.tier(c); p != nil {
			ask.Policy = p
			costs = costs || m.cost != nil && p.Log().VariableCost
		}
	}
	if costs {
		ask.Cost = unknown
	}
	var err error
	ask.Key, err = n.key(c, x)
	return ask, err
}

func sameLog(a, b core.Charge) bool {
	return a.Key == b.Key && a.Policy.Log().Name == b.Policy.Log().Name
}

// charge sets the cost of the request if it is unknown.
func (m *Middleware[C]) charge(c C, asks []core.Charge) error {
	if m.cost == nil {
		return nil
	}
	cost, err := m.cost(c)
	if err != nil {
		return m.framework.blame(c, err)
	}
	if cost == 0 {
		cost = -1 // an error too; 0 would stand for 1
	}
	for i := range asks {
		if asks[i].Cost == unknown {
			asks[i].Cost = cost
		}
	}
	return nil
}
