package core

import (
	"cmp"
	"context"
	"fmt"

	"github.com/streamlimit/streamlimit/core/store"
)

// Refund gives back what the decision's request took, if the request turned out not to
// count. It is [Limiter.Settle] with 0 units used.
func (l *Limiter) Refund(ctx context.Context, d Decision) error { return l.Settle(ctx, d, 0) }

// Settle corrects what the decision's request took to the units that it really used,
// from 0. The difference is given back, or charged. Units used beyond the estimate are
// charged whether they fit or not, since they were used. They count against later
// requests.
//
// The policy must be [Refundable]. If it is not, or if the decision took nothing, the
// error is [ErrNotRefundable]. More than 1 unit needs [VariableCost]; without it the
// error is [ErrCost]. A decision and its copies are settled once, together. After that
// the error is ErrNotRefundable too, even if the first call failed, since that call may
// have reached the store. Units are given back only within the policy's grace, and only if
// the log has not been reset. Otherwise the error is [ErrTooLate], and nothing changes.
func (l *Limiter) Settle(ctx context.Context, d Decision, used int64) error {
	switch {
	case d.receipt == nil || d.receipt.slot != nil:
		return ErrNotRefundable
	case used < 0 || used > store.MaxUnits:
		return fmt.Errorf("%w: policy %s: %d units used: from 0 to %d", ErrCost, d.Policy.name, used, store.MaxUnits)
	case used > 1 && !d.Policy.costs:
		return fmt.Errorf("%w: policy %s counts requests: give it core.VariableCost() to settle at %d units", ErrCost, d.Policy.name, used)
	case d.receipt.settled.Swap(true):
		return ErrNotRefundable
	case used == d.Cost:
		return nil
	}
	if err := l.settle(ctx, d, used-d.Cost); err != nil {
		return policyError(d.Policy, err)
	}
	return nil
}

func (l *Limiter) settle(ctx context.Context, d Decision, correction int64) error {
	r := d.receipt
	err := l.settleEntry(ctx, r.store, d.Policy.log, d.Key, r.entry, correction)
	if r.former != nil {
		err = cmp.Or(err, l.settleEntry(ctx, r.store, d.Policy.log, r.former.key, r.former.entry, correction))
	}
	return err
}

func (l *Limiter) settleEntry(ctx context.Context, s Store, log *store.Log, key string, entry store.EntryID, correction int64) error {
	if s == l.store { // and not the memory that has decided without it
		if err := l.circuits.Of(store.Charge{Log: log, Key: key}).Refuses(); err != nil {
			return err
		}
	}
	return s.Settle(ctx, log, key, entry, correction)
}
