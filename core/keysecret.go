package core

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

// While a former secret is given, a request takes from two logs: that of its key and
// that of its former key. Call them N and F. A process takes from F alone (it has only
// the former secret), from both, or from N alone (it has only the new secret).
//
// Processes of the first two kinds: each request is in F, and F has room for it. So F
// keeps the limit. Processes of the last two kinds: the same holds for N. Between the
// two phases lies at least one longest window in which all processes take from both.
// An interval that a limit counts is no longer than that window, so it does not contain
// requests of both phases, and one of the logs has all requests in it.
//
// No client gets a new budget: at the start of each phase, the log that keeps the limit
// has all requests of the last window. No client loses one: N has nothing that F does
// not have until a process takes from N alone, and from then on F has nothing that N
// does not have. So both logs together admit what the fuller one admits.

// formerEntry is what a request took from the log of its former key.
type formerEntry struct {
	key   string // "" for nothing
	entry store.EntryID
}

// formerKey returns the key of the second log that a charge is on, or "". A policy in
// shadow mode has one log: TakeAll takes from each log in shadow mode by itself, and two
// such logs would soon differ. So does a concurrency policy: a slot is in one place.
func (l *Limiter) formerKey(a *Charge) string {
	if !l.identity.Rotates() || a.Policy.shadow || a.Policy.slots {
		return ""
	}
	return l.identity.Former(a.Key)
}

// askAll asks the store for all charges, and for those that are on two logs about both.
// A usage is that of both logs. onFormer has what was taken from second logs, in the
// order of the charges; it is nil if there are none.
func (l *Limiter) askAll(ctx context.Context, asks []Charge) (usages []store.Usage, onFormer []formerEntry, err error) {
	asked := onLogs(asks)
	formers, places := l.onFormerLogs(asks)
	n := len(formers)
	if n == 0 {
		usages, err = l.askStore(ctx, asked)
		return usages, nil, err
	}
	usages, err = l.askStore(ctx, append(formers, asked...))
	formers = formers[:n]
	if errors.Is(err, store.ErrCrossSlot) {
		usages, err = l.askInTurn(ctx, formers, asked)
	}
	if err != nil {
		var one *store.ChargeError
		if errors.As(err, &one) && one.Index < n {
			err = &store.ChargeError{Index: places[one.Index], Err: one.Err}
		} else if one != nil {
			err = &store.ChargeError{Index: one.Index - n, Err: one.Err}
		}
		return nil, nil, err
	}
	own := usages[n:]
	onFormer = make([]formerEntry, len(asks))
	for i, place := range places {
		own[place] = fuller(own[place], usages[i])
		onFormer[place] = formerEntry{formers[i].Key, usages[i].Entry}
	}
	return own, onFormer, nil
}

// onFormerLogs returns the charges on second logs, and the places of the charges that
// they belong to.
func (l *Limiter) onFormerLogs(asks []Charge) (formers []store.Charge, places []int) {
	if !l.identity.Rotates() {
		return nil, nil
	}
	for i := range asks {
		former := asks[i].onLog()
		former.Key = l.formerKey(&asks[i])
		// A caller may have asked about the former key beside the other.
		asked := func(a Charge) bool { return a.Key == former.Key && a.Policy.log.SameName(former.Log) }
		if former.Key != "" && !slices.ContainsFunc(asks, asked) {
			formers, places = append(formers, former), append(places, i)
		}
	}
	return formers, places
}

// askInTurn does what TakeAll can't do for logs on several servers that give nothing
// back. It looks at the first logs, takes from the second ones, and then from the first
// ones. A unit is lost only if the room has gone meanwhile.
func (l *Limiter) askInTurn(ctx context.Context, formers, asked []store.Charge) ([]store.Usage, error) {
	looks, room, err := l.peekAll(ctx, asked)
	if err != nil {
		return nil, behind(formers, err)
	}
	var usages []store.Usage
	if room {
		usages, err = l.askStore(ctx, formers)
	} else {
		usages, _, err = l.peekAll(ctx, formers)
	}
	if err != nil {
		return nil, err
	}
	if room && !slices.ContainsFunc(usages, func(u store.Usage) bool { return !u.Allowed }) {
		if looks, err = l.askStore(ctx, asked); err != nil {
			return nil, behind(formers, err)
		}
	}
	return append(usages, looks...), nil
}

// peekAll looks at logs, and reports whether all have room.
func (l *Limiter) peekAll(ctx context.Context, asked []store.Charge) (looks []store.Usage, room bool, err error) {
	looks, room = make([]store.Usage, len(asked)), true
	for i, a := range asked {
		if looks[i], err = l.peek(ctx, a); err != nil {
			return nil, false, &store.ChargeError{Index: i, Err: err}
		}
		room = room && (looks[i].Allowed || a.Log.Shadow)
	}
	return looks, room, nil
}

// behind returns the error of charges that come after others.
func behind(others []store.Charge, err error) error {
	var one *store.ChargeError
	if errors.As(err, &one) {
		return &store.ChargeError{Index: len(others) + one.Index, Err: one.Err}
	}
	return err
}

// fuller returns the usage of two logs that both have to admit a request: of each limit
// the one with less room. It keeps the entry of u.
func fuller(u, o store.Usage) store.Usage {
	u.Allowed = u.Allowed && o.Allowed
	u.RetryAfter, u.ResetAfter = max(u.RetryAfter, o.RetryAfter), max(u.ResetAfter, o.ResetAfter)
	if u.Source == SourceLease {
		u.Source = o.Source // unless leases have served both
	}
	for i, l := range o.Limits {
		if own := u.Limits[i]; l.Used > own.Used || l.Used == own.Used && l.FreeIn > own.FreeIn {
			u.Limits[i] = l
		}
	}
	return u
}

// decideOnBoth does what decideOne does for a charge that is on two logs.
func (l *Limiter) decideOnBoth(ctx context.Context, came time.Time, a Charge, d *Decision) error {
	by := l.store
	a, u, onFormer, err := l.takeFromBoth(ctx, a)
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
	d.noteFormer(onFormer, 0)
	d.grantWhole(a)
	return nil
}

// takeFromBoth takes from the two logs that a charge is on. It returns the charge with
// the units that it has decided on.
func (l *Limiter) takeFromBoth(ctx context.Context, a Charge) (_ Charge, u store.Usage, onFormer []formerEntry, err error) {
	both := bothLogs{take: func(cost int64) (u store.Usage, err error) {
		a.Cost = cost
		var usages []store.Usage
		if usages, onFormer, err = l.askAll(ctx, []Charge{a}); err == nil {
			u = usages[0]
		}
		return u, err
	}}
	if a.most > 0 {
		u, a.Cost, err = takeUpTo(ctx, both, a.onLog(), a.most)
	} else {
		u, err = both.take(a.Cost)
	}
	return a, u, onFormer, err
}

// bothLogs is the store of a charge that is on two logs, for takeUpTo.
type bothLogs struct {
	Store
	take func(cost int64) (store.Usage, error)
}

// Take implements [Store].
func (b bothLogs) Take(_ context.Context, _ *store.Log, _ string, cost int64) (store.Usage, error) {
	return b.take(cost)
}

// noteFormer notes what the request of the i-th charge took from a second log.
func (d *Decision) noteFormer(onFormer []formerEntry, i int) {
	if d.receipt != nil && onFormer != nil && onFormer[i].key != "" {
		d.receipt.former = &onFormer[i]
	}
}
