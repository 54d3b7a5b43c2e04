package core

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
)

// AllowAll decides on a request under several policies at once: it is admitted
// when all of them have room, and otherwise counted by none. There is a
// decision for each question, in order; the request passes if all are Allowed.
//
// In memory, and on a Redis that is one server, this is one step, and one round
// trip. On a Cluster or Ring it is so for logs of the same key. Logs of different
// keys are asked one by one there, and what one gave is given back when another
// denies: for a moment, others may be denied for it. Such policies must be
// [Refundable]; the error is an [ErrApart] otherwise. Never is more admitted
// than any limit allows.
//
// The same policy and key twice is an error.
func (l *Limiter) AllowAll(ctx context.Context, asks ...Ask) ([]Decision, error) {
	return l.AllowRequest(ctx, nil, asks...)
}

// AllowRequest is [Limiter.AllowAll] for a request whose address rules are
// matched with. Without one, as nil, it is a key that is an address.
func (l *Limiter) AllowRequest(ctx context.Context, r Request, asks ...Ask) ([]Decision, error) {
	if len(asks) == 0 {
		return nil, ErrNoPolicy
	}
	for i := range asks {
		if err := l.prepare(&asks[i]); err != nil {
			return nil, err
		}
		for _, other := range asks[:i] {
			if other.Key == asks[i].Key && other.Policy.logName == asks[i].Policy.logName {
				return nil, fmt.Errorf("%w: policy %s", ErrAskedTwice, other.Policy.name)
			}
		}
	}
	decisions := make([]Decision, len(asks))
	open, denied := l.judge(r, asks, decisions)
	if denied || len(open) == 0 {
		return decisions, nil
	}
	if err := l.take(ctx, open, decisions); err != nil {
		return nil, err
	}
	return decisions, nil
}

// judge fills in the decisions that rules make. open are the questions left to
// ask, which is none when the request is denied.
func (l *Limiter) judge(r Request, asks []Ask, decisions []Decision) (open []Ask, denied bool) {
	v := l.view.Load()
	if !v.judges() {
		return asks, false
	}
	var address func() netip.Addr
	if r != nil {
		address = func() netip.Addr { return l.identity.client(r) }
	}
	for i, a := range asks {
		d, ok := v.verdict(a, address)
		if !ok {
			open = append(open, a)
			continue
		}
		decisions[i] = d
		denied = denied || !d.Allowed
	}
	if !denied {
		return open, false
	}
	// A client that one of the rules keeps out is out for all policies.
	for i, a := range asks {
		if decisions[i].Policy == nil || decisions[i].Allowed {
			decisions[i] = Decision{Policy: a.Policy, Key: a.Key, Cost: a.Cost, Allowed: true, Limit: a.Policy.limits[0], Source: SourceNone}
		}
	}
	return nil, true
}

// take asks the store, and fills in the decisions that rules have left open, in
// the same order.
func (l *Limiter) take(ctx context.Context, open []Ask, decisions []Decision) error {
	usages := make([]Usage, 1, 4)
	store, err := l.store, error(nil)
	if len(open) == 1 {
		usages[0], err = store.Take(ctx, open[0].Policy, open[0].Key, open[0].Cost)
	} else {
		usages, err = store.TakeAll(ctx, open)
	}
	if err != nil {
		if errors.Is(err, ErrApart) {
			return err
		}
		if store, usages, err = l.takeWithoutStore(ctx, open, err); err != nil {
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
		d := decide(a.Policy, a.Key, a.Cost, usages[i])
		switch {
		case d.Source == SourceNone:
			d.Reason = ReasonFailOpen
		case taken && usages[i].Allowed:
			d.Counted = true
			if a.Policy.refundable {
				d.receipt = &receipt{entry: usages[i].Entry, store: store}
			}
		}
		decisions[next] = d
	}
	return nil
}
