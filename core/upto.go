package core

import (
	"context"

	"github.com/streamlimit/streamlimit/core/store"
)

// AllowUpTo admits a request that can use from 1 to most units. It takes as many as there
// are, and the decision's Cost is their number. If there are none, the decision is a
// denial of cost 1. A policy needs [VariableCost] for more than 1 unit.
//
// Use it for work that can be done in part, such as a batch of messages. A request that no
// limit holds for gets all of most. This is so for an exempt client, for a policy in
// shadow mode or off, and with [FailOpen] while the store does not answer. With
// [FailLocal], a request takes 1 unit while the store does not answer.
func (l *Limiter) AllowUpTo(ctx context.Context, p *Policy, key string, most int64) (d Decision, err error) {
	if most <= 1 {
		return l.AllowN(ctx, p, key, most) // for less than 1 an ErrCost
	}
	if err = l.decideAlone(ctx, &Request{only: onlyUnits}, Charge{Policy: p, Key: key, Cost: 1, most: most}, &d); err != nil {
		return Decision{}, err
	}
	return d, nil
}

// whole returns the charge for all units or none.
func (a Charge) whole() Charge {
	if a.most > 0 {
		a.Cost, a.most = a.most, 0
	}
	return a
}

// grantWhole sets the cost of a decision to all units if no limit holds for the request.
func (d *Decision) grantWhole(a Charge) {
	if a.most > 0 && d.Allowed && !d.Counted {
		d.Cost = a.most
	}
}

// takeUpTo takes up to most units from a store, and returns how many it took. If it took
// none, it returns 1, the cost of the denial.
func takeUpTo(ctx context.Context, by Store, a store.Charge, most int64) (u store.Usage, cost int64, err error) {
	for _, l := range a.Log.Limits {
		most = min(most, l.Max)
	}
	if partial, ok := by.(store.Partial); ok {
		u, cost, err = partial.TakeUpTo(ctx, a.Log, a.Key, most)
	} else {
		u, cost, err = store.TakePart(ctx, by, a.Log, a.Key, most)
	}
	if err != nil {
		return store.Usage{}, 1, err
	}
	return u, cost, nil
}
