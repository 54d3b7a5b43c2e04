package redisstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/store"
)

// TakeAll implements [store.Store]. One script decides on logs that are in one place. On
// a single server that is all logs. Others are checked one by one.
func (s *Store) TakeAll(ctx context.Context, asks []store.Charge) ([]store.Usage, error) {
	usages, err := s.takeAll(ctx, asks)
	if errors.Is(err, errStarved) {
		go s.releaseUnread(asks) //nolint:gosec // it outlasts the caller
	}
	return usages, err
}

func (s *Store) takeAll(ctx context.Context, asks []store.Charge) ([]store.Usage, error) {
	if slices.ContainsFunc(asks, func(a store.Charge) bool { return hasLeases(a.Log) }) {
		return s.takeAllLeased(ctx, asks)
	}
	if len(asks) == 1 {
		u, err := s.takeOne(ctx, asks[0])
		return []store.Usage{u}, err
	}
	charges := s.charges(asks)
	by := time.Now().Add(s.patience())
	topology := s.batcher.topology
	if !samePlace(topology, charges) && !topology.known() {
		// The error would be that of a Cluster, which the server may not be.
		limited, cancel := context.WithTimeout(ctx, s.transport.timeout)
		_ = topology.ask(limited)
		cancel()
	}
	if samePlace(topology, charges) {
		var usages []store.Usage
		err := s.inPeriod(new(int64), func() (err error) { // each charge has a time of its own
			usages, err = s.batcher.takeSeveral(ctx, charges)
			return err
		})
		switch {
		case err == nil:
			return usages, nil
		case s.batcher.apart(err): // as the server says; no script has run
		case redis.HasErrorPrefix(err, "TRYAGAIN"):
			// The slot moves to another node, and the logs are on either. What is then
			// taken in vain is given back where it can be.
			return s.takeApart(ctx, asks)
		default:
			return nil, s.blame(ctx, by, asks, err)
		}
	}
	for _, a := range asks {
		if !returnable(a.Log) {
			return nil, fmt.Errorf("%w: policy %s", store.ErrCrossSlot, a.Log.Policy)
		}
	}
	return s.takeApart(ctx, asks)
}

func (s *Store) charges(asks []store.Charge) []charge {
	charges := make([]charge, len(asks))
	for i, a := range asks {
		charges[i] = s.chargeOf(a)
	}
	return charges
}

// samePlace reports whether one script may use all logs.
func samePlace(t *topology, charges []charge) bool {
	for i := range charges {
		// All logs of a key are in one slot.
		if charges[i].key != charges[0].key && t.place(charges[i].log) != t.place(charges[0].log) {
			return false
		}
	}
	return true
}

// blame finds out which of the logs is not one, if that is the error: the script
// does not say. It gives up by the given time.
func (s *Store) blame(ctx context.Context, by time.Time, asks []store.Charge, err error) error {
	if !errors.Is(err, store.ErrWrongType) {
		return err
	}
	ctx, cancel := context.WithDeadline(ctx, by)
	defer cancel()
	for i, a := range asks {
		if _, one := s.Peek(ctx, a.Log, a.Key, a.Cost); errors.Is(one, store.ErrWrongType) {
			return &store.ChargeError{Index: i, Err: one}
		}
	}
	return err
}

// patience is how long a caller waits at most for several decisions in turn.
func (s *Store) patience() time.Duration { return s.batcher.bound + s.transport.timeout }

// takeApart asks log by log, and gives back what was taken when one has no room
// or fails to answer. What can't be given back stays taken, so it never admits
// too much. The caller waits for all of it no longer than for one decision.
func (s *Store) takeApart(caller context.Context, asks []store.Charge) ([]store.Usage, error) {
	ctx, cancel := context.WithTimeout(caller, s.patience())
	defer cancel()
	usages := make([]store.Usage, len(asks))
	for i, a := range asks {
		u, err := s.takeOne(ctx, a)
		usages[i] = u
		if err == nil && (u.Allowed || a.Log.Shadow) {
			continue
		}
		given := s.giveBack(asks[:i], usages[:i])
		if err != nil {
			if caller.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
				err = s.transport.noAnswer()
			}
			return nil, &store.ChargeError{Index: i, Err: err}
		}
		// The others are asked what they have room for, to show it. It does not matter
		// if they don't answer.
		for j, rest := range asks[i+1:] {
			if u, err = s.Peek(ctx, rest.Log, rest.Key, rest.Cost); err != nil {
				u = store.Usage{Allowed: true, Source: store.SourceRedis}
			}
			usages[i+1+j] = u
		}
		select {
		case after := <-given:
			copy(usages, after)
		case <-ctx.Done():
		}
		return usages, nil
	}
	return usages, nil
}

// takeOne takes from one log, or one slot.
func (s *Store) takeOne(ctx context.Context, a store.Charge) (store.Usage, error) {
	if a.Log.Layout == store.Slots {
		return s.takeSlot(ctx, a)
	}
	return s.Take(ctx, a.Log, a.Key, a.Cost)
}

// giveBack gives back what was taken in vain, whether the caller still waits or
// not. It sends what the logs have then, which need not be received.
func (s *Store) giveBack(asks []store.Charge, usages []store.Usage) <-chan []store.Usage {
	given := make(chan []store.Usage, 1)
	usages = slices.Clone(usages)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), s.patience())
		defer cancel()
		for i, a := range asks {
			if !returnable(a.Log) || !usages[i].Allowed {
				continue
			}
			if s.undo(ctx, a, usages[i].Entry) == nil {
				usages[i] = without(usages[i], a)
			}
		}
		given <- usages
	}()
	return given
}

// returnable reports whether what was taken from a log can be given back.
func returnable(p *store.Log) bool {
	return p.Layout == store.Refunded || p.Layout == store.Slots || p.Refundable()
}

// undo gives back what a charge has taken.
func (s *Store) undo(ctx context.Context, a store.Charge, entry store.EntryID) error {
	if a.Log.Layout == store.Slots {
		return s.releaseSlot(ctx, a)
	}
	return s.Settle(ctx, a.Log, a.Key, entry, -a.Cost)
}

// without returns the usage of a log that has given back what was asked for.
func without(u store.Usage, a store.Charge) store.Usage {
	for i := range len(a.Log.Limits) {
		u.Limits[i].Used -= a.Cost
		if u.Limits[i].Used == 0 {
			u.Limits[i].FreeIn = 0
		}
	}
	u.Entry = store.EntryID{}
	return u
}
