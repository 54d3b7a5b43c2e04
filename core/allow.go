package core

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

// AllowAll decides on a request under several policies at once. The request is admitted
// if all of them have room, and otherwise no policy counts it. AllowAll returns a
// decision for each ask, in order. The request passes if all are Allowed. Otherwise
// [Denied] returns the error. Policies in shadow mode do not keep the others from
// counting.
//
// In memory, and on a single Redis server, this is one step and one round trip. On a
// Cluster or Ring this is true for logs of the same key. Logs of different keys are
// checked one by one there. Units that one log gave are given back when another log
// denies. For a moment, other requests may be denied because of them. Such policies
// must be [Refundable]; otherwise the error is [store.ErrCrossSlot]. No limit is ever exceeded.
//
// It is an error if two asks have the same key, and the same policy or policies of one
// name, or if there are no asks.
func (l *Limiter) AllowAll(ctx context.Context, asks ...Charge) ([]Decision, error) {
	return l.AllowRequest(ctx, nil, asks...)
}

// AllowRequest is [Limiter.AllowAll] for a request whose address is matched with rules.
// If r is nil, rules are matched with a key that is an address.
func (l *Limiter) AllowRequest(ctx context.Context, r Request, asks ...Charge) ([]Decision, error) {
	if len(asks) == 0 {
		return nil, errNoPolicy
	}
	asks = slices.Clone(asks) // the caller's stay as they are
	came := begin(ctx)
	v := l.current(ctx)
	for i := range asks {
		if err := l.prepare(v, &asks[i]); err != nil {
			return nil, err
		}
		for _, other := range asks[:i] {
			// By the name, since an override makes one log of all policies that have it.
			if other.Key == asks[i].Key && other.Policy.name == asks[i].Policy.name {
				return nil, fmt.Errorf("%w: policy %s", errDuplicatePolicy, other.Policy.name)
			}
		}
	}
	if l.unregistered.Load() != nil || l.view.Load() != v {
		v = l.await(ctx, asks)
	}
	client := l.clientOf(v, r)
	decisions := make([]Decision, len(asks))
	if len(asks) == 1 {
		if err := l.allowOne(ctx, came, v, client, r, asks[0], &decisions[0]); err != nil {
			return nil, err
		}
		return decisions, nil
	}
	begun := time.Now()
	var err error
	if open := v.judge(asks, client, decisions); len(open) > 0 {
		err = l.takeAll(ctx, came, open, decisions)
	}
	l.observeAll(ctx, r, asks, decisions, err, time.Since(begun))
	if err != nil {
		return nil, err
	}
	return decisions, nil
}

// AllowFor is [Limiter.AllowRequest] for one ask, for adapters. It writes the decision
// into the caller's memory. With an error there is no decision.
func (l *Limiter) AllowFor(ctx context.Context, r Request, a Charge, d *Decision) error {
	*d = Decision{}
	came := begin(ctx)
	v := l.current(ctx)
	if err := l.prepare(v, &a); err != nil {
		return err
	}
	if l.unregistered.Load() != nil || l.view.Load() != v {
		v, a = l.awaitOne(ctx, a)
	}
	err := l.allowOne(ctx, came, v, l.clientOf(v, r), r, a, d)
	if err != nil {
		*d = Decision{}
	}
	return err
}

// clientOf is the address that rules are matched with, as far as there are any
// that need it.
func (l *Limiter) clientOf(v *view, r Request) netip.Prefix {
	if r == nil || !v.onNetworks() {
		return netip.Prefix{}
	}
	return oneAddress(l.identity.client(r))
}

// decideOne decides on one question, in d, which is zero. It is what judge and
// takeAll do, without the memory and the copies that several need: BenchmarkRules
// tells what a decision costs more than the store's.
func (l *Limiter) decideOne(ctx context.Context, came time.Time, v *view, client netip.Prefix, a Charge, d *Decision) (err error) {
	if v.judges() || a.Policy.Mode() != ModeOn {
		if answer, ok := v.answer(a, client); ok {
			*d = answer
			return nil
		}
	}
	by, asked := l.store, a.onLog()
	circuit := l.circuits.Of(asked)
	begun := begin(ctx)
	var u store.Usage
	if err = circuit.Refuses(); err == nil {
		if u, err = by.Take(ctx, asked.Log, asked.Key, asked.Cost); !u.Cached {
			circuit.Learn(ctx, begun, asked, err)
		}
	}
	if err != nil {
		if expired(ctx, came) {
			return policyError(a.Policy, context.DeadlineExceeded)
		}
		if a, u, by, err = l.decideWithoutStore(ctx, a, err); err != nil {
			return err
		}
	}
	d.decide(a, &u)
	d.complete(&u, by, true)
	return nil
}

// decideWithoutStore is apart for the memory that it takes.
func (l *Limiter) decideWithoutStore(ctx context.Context, a Charge, failed error) (Charge, store.Usage, Store, error) {
	asks := []Charge{a}
	usages, instead, err := l.takeWithoutStore(ctx, asks, failed)
	if err != nil {
		return Charge{}, store.Usage{}, nil, err
	}
	return asks[0], usages[0], instead, nil
}

// answer is the decision that is made without asking a log, if one is: by a rule
// on the client, or since the policy is switched off, or since the cost is above a
// limit that is in shadow mode.
func (v *view) answer(a Charge, client netip.Prefix) (Decision, bool) {
	if v.judges() {
		if d, ok := v.verdict(a, client); ok {
			return d, true
		}
	}
	if a.Policy.off {
		return offDecision(a), true
	}
	if a.Policy.shadow && !a.Policy.fits(a.Cost) {
		return decisionOf(a, store.Usage{Source: SourceNone}), true
	}
	return Decision{}, false
}

// offDecision returns the decision of a policy that is switched off.
func offDecision(a Charge) Decision {
	l := a.Policy.limits[0]
	return Decision{
		Policy: a.Policy, Key: a.Key, Cost: a.Cost, Allowed: true, Reason: ReasonOff,
		Limit: l, Remaining: l.Max, Source: SourceNone,
	}
}

// judge fills in the decisions that are made without asking a log. open are the
// questions left to ask: asks itself if these are all, and none when the request is
// denied.
func (v *view) judge(asks []Charge, client netip.Prefix, decisions []Decision) (open []Charge) {
	answered, denied := false, false
	for i, a := range asks {
		if d, ok := v.answer(a, client); ok {
			decisions[i] = d
			answered, denied = true, denied || !d.Allowed
		}
	}
	if !answered {
		return asks
	}
	if !denied {
		for i, a := range asks {
			if decisions[i].Policy == nil {
				open = append(open, a)
			}
		}
		return open
	}
	// A client that one of the rules keeps out is out for all policies.
	for i, a := range asks {
		if decisions[i].Policy == nil {
			decisions[i] = Decision{
				Policy: a.Policy, Key: a.Key, Cost: a.Cost, Allowed: true,
				Limit: a.Policy.limits[0], Remaining: a.Policy.limits[0].Max, Source: SourceNone,
			}
		}
	}
	return nil
}

// takeAll asks the store, and fills in the decisions that judge has left open,
// in the same order.
func (l *Limiter) takeAll(ctx context.Context, came time.Time, open []Charge, decisions []Decision) error {
	by := l.store
	usages, err := l.askAll(ctx, open)
	if errors.Is(err, store.ErrCrossSlot) {
		l.warnings.apart(err)
		return err
	}
	if err != nil && expired(ctx, came) {
		return policyError(open[0].Policy, context.DeadlineExceeded)
	}
	if err != nil {
		open = slices.Clone(open) // the memory is asked for its share of them
		if usages, by, err = l.takeWithoutStore(ctx, open, err); err != nil {
			return err
		}
	}
	taken := true
	for i, a := range open {
		taken = taken && (usages[i].Allowed || a.Policy.shadow)
	}
	next := 0
	for i, a := range open {
		for decisions[next].Policy != nil {
			next++
		}
		decisions[next] = decisionOf(a, usages[i])
		decisions[next].complete(&usages[i], by, taken)
	}
	return nil
}

// askAll asks the store, unless one of the servers that it takes is known not to
// answer.
func (l *Limiter) askAll(ctx context.Context, asks []Charge) ([]store.Usage, error) {
	asked := onLogs(asks)
	for _, a := range asked {
		if err := l.circuits.Of(a).Refuses(); err != nil {
			return nil, err
		}
	}
	begun := begin(ctx)
	usages, err := l.store.TakeAll(ctx, asked)
	var failed *store.ChargeError
	switch {
	case err == nil:
		for _, a := range asked {
			l.circuits.Of(a).Learn(ctx, begun, a, nil)
		}
	case errors.As(err, &failed) && failed.Index < len(asked):
		a := asked[failed.Index]
		l.circuits.Of(a).Learn(ctx, begun, a, err)
	default:
		l.circuits.Of(asked[0]).Learn(ctx, begun, asked[0], err)
	}
	return usages, err
}

// complete adds to a store's decision what became of the request. taken is
// whether the store took the units, if there was room.
func (d *Decision) complete(u *store.Usage, by Store, taken bool) {
	switch {
	case d.Source == SourceNone:
		d.Reason = ReasonFailOpen
	case taken && u.Allowed:
		d.Counted = true
		if d.Policy.refundable {
			d.receipt = &receipt{entry: u.Entry, store: by}
		}
	}
}
