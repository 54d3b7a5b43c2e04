package core

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/streamlimit/streamlimit/core/internal/clientip"
	"github.com/streamlimit/streamlimit/core/store"
)

// AllowAll decides on a request under several policies at once. The request is admitted
// if all of them have room, and otherwise no policy counts it. AllowAll returns a
// decision for each charge, in order. The request passes if all are Allowed. Otherwise
// [Denied] returns the error. Policies in shadow mode do not keep the others from
// counting.
//
// In memory, and on a single Redis server, this is one step and one round trip. On a
// Cluster or Ring this is true for logs of the same key. Logs of different keys are
// checked one by one there. Units taken from one log are given back when another log
// denies. For a moment, other requests may be denied because of them. Such policies must
// be [Refundable]; otherwise the error is [store.ErrCrossSlot]. No limit is ever
// exceeded.
//
// Policies with [Lease] are checked before the others. If this process lacks units of some
// of these policies, those share one more round trip. The units from leases go back if
// another policy denies.
//
// It is an error if two charges have the same key, and the same policy or policies of one
// name, or if there are no charges.
func (l *Limiter) AllowAll(ctx context.Context, charges ...Charge) ([]Decision, error) {
	return l.Decide(ctx, Request{only: onlyUnits}, charges, nil)
}

// Request is what a decision can depend on besides the charges, and what observers
// receive about the request. In the zero Request nothing is known.
type Request struct {
	// Client is the client's address, which rules on networks are matched with. It is
	// read while there are such rules: see [Limiter.NeedsClient]. Without it they are
	// matched with a key that is an address.
	Client netip.Addr

	// Route is the template of the request's route, such as "/stocks/:symbol".
	Route string

	// Before is the result of the decisions that this limiter has made on the same
	// request so far, or 0. BeforeRoute is the Route that they were given.
	Before      Result
	BeforeRoute string

	only   only      // the policies that the caller can use
	looked bool      // NeedsClient has waited for changed rules
	came   time.Time // when the decision began: see begin
}

// NeedsClient reports whether rules are on networks, so that [Limiter.Decide] reads
// r.Client. Without such rules the address is not needed. NeedsClient waits for changed
// rules as Decide does, which then does not wait again.
func (l *Limiter) NeedsClient(ctx context.Context, r *Request) bool {
	came, v := l.look(ctx, r)
	r.looked, r.came = true, came
	return v.onNetworks()
}

// look returns when a decision began, and the view for it.
func (l *Limiter) look(ctx context.Context, r *Request) (came time.Time, v *view) {
	if r.looked {
		return r.came, l.view.Load()
	}
	came = begin(ctx)
	return came, l.current(ctx)
}

// Decide is [Limiter.AllowAll] with more facts about the request than the charges. It
// appends the decisions to dst, so that the caller chooses their memory. After an error
// it returns none.
//
// Decide also decides by concurrency policies. The caller releases the slot of each
// decision when the request ends: see [Decision.Slot].
func (l *Limiter) Decide(ctx context.Context, r Request, charges []Charge, dst []Decision) ([]Decision, error) {
	if len(charges) == 0 {
		return nil, errNoPolicy
	}
	n := len(dst)
	dst = slices.Grow(dst, len(charges))[:n+len(charges)]
	decisions := dst[n:]
	clear(decisions)
	var err error
	if len(charges) == 1 {
		err = l.decideAlone(ctx, &r, charges[0], &decisions[0])
	} else {
		err = l.decideTogether(ctx, &r, slices.Clone(charges), decisions) // do not change the caller's charges
	}
	if err != nil {
		return nil, err
	}
	return dst, nil
}

// decideAlone decides on one charge, and writes the decision to d, which is zero. After
// an error d has no meaning. It does what decideTogether does, without the allocations
// for several charges: see BenchmarkMemoryAllow.
func (l *Limiter) decideAlone(ctx context.Context, r *Request, a Charge, d *Decision) error {
	charges := [...]Charge{a}
	came, v := l.look(ctx, r)
	v, err := l.prepareAll(ctx, v, charges[:])
	if err != nil {
		return err
	}
	if err = l.equip(r, charges[:]); err != nil {
		return err
	}
	if len(l.observers) == 0 {
		return l.decideOne(ctx, came, v, v.network(r.Client), charges[0], d)
	}
	begun := time.Now()
	err = l.decideOne(ctx, came, v, v.network(r.Client), charges[0], d)
	o := observation(ctx, r, err, time.Since(begun))
	o.Request = max(o.Before, resultOf(d, err))
	l.observe(&o, charges[0], d)
	return err
}

// decideTogether decides on several charges, and writes to decisions, which are zero.
func (l *Limiter) decideTogether(ctx context.Context, r *Request, charges []Charge, decisions []Decision) error {
	came, v := l.look(ctx, r)
	v, err := l.prepareAll(ctx, v, charges)
	if err != nil {
		return err
	}
	if err = l.equip(r, charges); err != nil {
		return err
	}
	begun := time.Now()
	if open := v.judge(charges, v.network(r.Client), decisions); len(open) > 0 {
		err = l.takeAll(ctx, came, open, decisions)
	}
	l.observeAll(ctx, r, charges, decisions, err, time.Since(begun))
	return err
}

// prepareAll completes charges, and returns the view to decide with: v, or a later one
// after a policy was registered. It returns an error if a charge is wrong.
func (l *Limiter) prepareAll(ctx context.Context, v *view, charges []Charge) (*view, error) {
	for i := range charges {
		a := &charges[i]
		if err := l.prepare(v, a); err != nil {
			return nil, err
		}
		for _, other := range charges[:i] {
			// Compare the names: an override gives all policies of one name the same log.
			if other.Key == a.Key && other.Policy.name == a.Policy.name {
				return nil, fmt.Errorf("%w: policy %s", errDuplicatePolicy, a.Policy.name)
			}
		}
	}
	if l.unregistered.Load() != nil || l.view.Load() != v {
		v = l.await(ctx, charges)
	}
	return v, nil
}

// network returns the network of a client, to match rules with. It returns the zero
// Prefix if the client is not known, or if no rule is on a network.
func (v *view) network(client netip.Addr) netip.Prefix {
	if !client.IsValid() || !v.onNetworks() {
		return netip.Prefix{}
	}
	return oneAddress(clientip.Plain(client))
}

// decideOne decides on one charge, and writes the decision to d, which is zero. It does
// what judge and takeAll do, without the memory and the copies for several charges.
// BenchmarkRules measures what a decision costs beside the store.
func (l *Limiter) decideOne(ctx context.Context, came time.Time, v *view, client netip.Prefix, a Charge, d *Decision) (err error) {
	if v.judges() || a.Policy.Mode() != ModeOn {
		if a.Policy.Mode() != ModeOn {
			a = a.whole()
		}
		if answer, ok := v.answer(a, client); ok {
			*d = answer
			d.grantWhole(a)
			return nil
		}
	}
	if l.formerKey(&a) != "" {
		return l.decideOnBoth(ctx, came, a, d)
	}
	by, asked := l.store, a.onLog()
	var u store.Usage
	if asked.Log.Lease > 0 && l.leaser != nil && ctx.Err() == nil {
		// Leases come first: they need no server, so they also serve while no server
		// responds.
		least, most := a.Cost, a.Cost
		if a.most > 0 {
			least, most = 1, a.most
		}
		var units int64
		if u, units = l.leaser.TakeLeased(asked.Log, asked.Key, least, most); units > 0 {
			a.Cost = units
			d.decide(a, &u)
			d.complete(&u, by, true)
			return nil
		}
	}
	circuit := l.circuits.Of(asked)
	begun := begin(ctx)
	if err = circuit.Refuses(); err == nil {
		switch {
		case a.slot != nil:
			u, err = takeSlot(ctx, by, asked)
		case a.most > 0:
			u, a.Cost, err = takeUpTo(ctx, by, asked, a.most)
		default:
			u, err = by.Take(ctx, asked.Log, asked.Key, asked.Cost)
		}
		if !u.Cached {
			circuit.Learn(ctx, begun, asked, err)
		}
	}
	if err != nil {
		l.dropSlots(err, asked)
		if expired(ctx, came) {
			return policyError(a.Policy, context.DeadlineExceeded)
		}
		if a, u, by, err = l.decideWithoutStore(ctx, a, err); err != nil {
			return err
		}
	}
	d.decide(a, &u)
	d.complete(&u, by, true)
	d.grantWhole(a)
	l.hold(d, a, by)
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

// judge fills in the decisions that need no log. open has the charges that are left for
// the store: asks itself if all are left, and none if the request is denied.
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
				Policy: a.Policy, Key: a.Key, Cost: a.Cost, Allowed: true, Reason: ReasonLimits,
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
	usages, onFormer, err := l.askAll(ctx, open)
	if errors.Is(err, store.ErrCrossSlot) {
		l.warnings.apart(err)
		return err
	}
	if err != nil && expired(ctx, came) {
		return policyError(open[0].Policy, context.DeadlineExceeded)
	}
	if err != nil {
		open = slices.Clone(open) // takeWithoutStore changes them to the process's share
		if usages, by, err = l.takeWithoutStore(ctx, open, err); err != nil {
			return err
		}
		onFormer = nil
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
		decisions[next].noteFormer(onFormer, i)
		l.hold(&decisions[next], a, by)
	}
	return nil
}

// askStore asks the store, unless one of the servers that it takes is known not to
// answer.
func (l *Limiter) askStore(ctx context.Context, asked []store.Charge) ([]store.Usage, error) {
	for _, a := range asked {
		if err := l.circuits.Of(a).Refuses(); err != nil {
			if l.leaser != nil {
				if usages, ok := l.leaser.TakeAllLeased(asked); ok {
					return usages, nil
				}
			}
			return nil, err
		}
	}
	begun := begin(ctx)
	usages, err := l.store.TakeAll(ctx, asked)
	if err != nil {
		l.dropSlots(err, asked...)
	}
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
