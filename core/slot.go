package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/streamlimit/streamlimit/core/internal/keeper"
	"github.com/streamlimit/streamlimit/core/internal/warning"
	"github.com/streamlimit/streamlimit/core/store"
)

// NewConcurrency makes a policy that limits the requests in flight: at most limit slots
// of a key are live at once, in all processes.
//
//	uploads := core.NewConcurrency("uploads", 5, 30*time.Second)
//
// A request takes a slot before its handler runs and releases the slot afterwards. The
// adapters do that for the policies of New and WithPolicy. A handler finds its slot with
// [Decision.Slot], in the decision of the policy. Other code calls [Limiter.Acquire]. [Limiter.Allow] and its kin don't release slots, so they return an
// error for such a policy.
//
// A slot is live if it was taken or renewed less than hold ago, by the store's clock. The
// limiter renews its slots three times in a hold. When a process crashes, its slots are
// free within hold. If the clock of a Redis server jumps ahead by more than hold, slots end
// early, and more than limit requests can be in flight. The limiter logs and counts slots
// that end early: see [Slot.Lost] and [Health]. hold is from 1 second to 24 hours, in
// whole milliseconds. 30 seconds is good for most uses. limit is from 1 to 1,000,000.
//
// Nobody knows when a slot comes free. RetryAfter and ResetAfter are therefore 0 in
// decisions, and a 429 response has no Retry-After. [Shadow], [FieldName] and
// [OnStoreFailure] can be among the options. With [FailLocal], each process admits limit
// requests while the store does not respond. In Limits, Max is the limit and Window is the
// hold, also in a [RuleOverride].
//
// NewConcurrency panics as [NewPolicy] does. [ParseConcurrency] returns an error instead.
func NewConcurrency(name string, limit int64, hold time.Duration, options ...PolicyOption) *Policy {
	p, err := newConcurrency(name, limit, hold, options)
	if err != nil {
		panic("core: NewConcurrency: " + err.Error())
	}
	return p
}

// ParseConcurrency makes the policy of [NewConcurrency] from settings. The error is a
// [*PolicyError].
func ParseConcurrency(name string, limit int64, hold time.Duration, options ...PolicyOption) (*Policy, error) {
	p, err := newConcurrency(name, limit, hold, options)
	if err != nil {
		return nil, fmt.Errorf("core: %w", err)
	}
	return p, nil
}

func newConcurrency(name string, limit int64, hold time.Duration, options []PolicyOption) (*Policy, error) {
	slots := policyOption(func(t *traits) { t.slots = true })
	return newPolicy(name, append([]PolicyOption{slots, Limit{Max: limit, Window: hold}}, options...))
}

// checkSlots checks the settings of a concurrency policy.
func (p *Policy) checkSlots() (option string, err error) {
	one := errors.New("a concurrency policy has no use for it: leave it out, or make another policy and give both to the route")
	switch l := p.limits[0]; {
	case len(p.limits) > 1:
		return "", errors.New("a concurrency policy has one limit: make a policy of each and give all of them to the route")
	case l.Max > store.MaxSlots:
		return "", fmt.Errorf("%d requests in flight: use 1 to %d", l.Max, store.MaxSlots)
	case l.Window < store.MinHold || l.Window > store.MaxHold:
		return "", fmt.Errorf("a hold of %v: use %v to %v, such as 30s", l.Window, store.MinHold, store.MaxHold)
	case p.costs:
		return "VariableCost", one
	case p.refundable:
		return "Refundable", one
	case p.slices != 0:
		return "Coarse", one
	case p.lease != 0:
		return "Lease", one
	case p.unit != "":
		return "Unit", one
	}
	return "", nil
}

// Concurrency reports whether the policy limits requests in flight: see
// [NewConcurrency].
func (p *Policy) Concurrency() bool { return p.slots }

var (
	// ErrSlots is returned by [Limiter.Allow] and its kin for a concurrency policy. They
	// do not release slots.
	ErrSlots = errors.New("core: a concurrency policy needs Acquire")

	// errUnits is returned by Acquire for any other policy.
	errUnits = errors.New("core: Acquire needs a policy of core.NewConcurrency: use Allow")

	// errNoSlots is returned for a store that keeps no slots.
	errNoSlots = errors.New("core: the store has no concurrency limits: use core.NewMemory or package redisstream")
)

// Slot is one request in flight. Release it when the request ends.
type Slot struct {
	kept *keeper.Slot // nil if no limit holds for the request
}

// Release frees the slot. It returns when the store has freed the slot, after at most the
// time of a decision. A release that fails is repeated in the background. A second Release
// has no effect. Release of a nil Slot has no effect either.
func (s *Slot) Release() {
	if s != nil && s.kept != nil {
		s.kept.Release()
	}
}

// Lost returns a channel that is closed if the slot ends before Release. Another request
// can take the slot then. A slot ends early if renewals fail for the policy's hold, if the
// store has lost the slot, or if the limiter is closed. Stop the work then, if it must not
// run beside others. The channel is nil for a request that no limit holds for.
func (s *Slot) Lost() <-chan struct{} {
	if s == nil || s.kept == nil {
		return nil
	}
	return s.kept.Lost()
}

// Slot returns the slot that a decision of [Limiter.Decide] has taken, or nil. Copies of
// the decision have the same slot.
func (d *Decision) Slot() *Slot {
	if d.receipt == nil {
		return nil
	}
	return d.receipt.slot
}

// Acquire takes a slot of a concurrency policy for key. If none is free, the error is a
// [*LimitedError]. Any other error means that there is no decision, as for [Limiter.Allow].
// The caller must release the slot:
//
//	slot, err := limiter.Acquire(ctx, uploads, user)
//	if err != nil {
//		return err
//	}
//	defer slot.Release()
//
// ctx bounds the call, not the slot. No limit holds for the request if the client is
// exempt, if the policy is off, or if it is in shadow mode and has no room. The same is
// true with [FailOpen] while the store does not respond. The slot then has nothing to
// release.
//
// Acquire does not wait for a slot. A caller that wants to wait asks again after a pause,
// such as 100 ms and a random time.
func (l *Limiter) Acquire(ctx context.Context, p *Policy, key string) (*Slot, error) {
	var d Decision
	if err := l.decideAlone(ctx, &Request{only: onlySlots}, Charge{Policy: p, Key: key, Cost: 1}, &d); err != nil {
		return nil, err
	}
	if err := d.Err(); err != nil {
		return nil, err
	}
	if s := d.Slot(); s != nil {
		return s, nil
	}
	return &Slot{}, nil
}

// only restricts the policies that a caller can use. 0 does not restrict.
type only byte

const (
	onlyUnits only = iota + 1 // for a caller that does not release slots
	onlySlots
)

// equip adds a new slot to each charge of a concurrency policy.
func (l *Limiter) equip(r *Request, charges []Charge) error {
	for i := range charges {
		a := &charges[i]
		switch {
		case !a.Policy.slots:
			if r.only == onlySlots {
				return policyError(a.Policy, errUnits)
			}
		case r.only == onlyUnits:
			return policyError(a.Policy, ErrSlots)
		case l.slotter == nil:
			return policyError(a.Policy, errNoSlots)
		default:
			a.slot = l.keeper.NewSlot()
		}
	}
	return nil
}

// takeSlot takes one slot.
func takeSlot(ctx context.Context, by Store, a store.Charge) (u store.Usage, err error) {
	usages, err := by.TakeAll(ctx, []store.Charge{a})
	var one *store.ChargeError
	switch {
	case err == nil:
		u = usages[0]
	case errors.As(err, &one):
		err = one.Err
	}
	return u, err
}

// hold keeps the slot that a decision has taken.
func (l *Limiter) hold(d *Decision, a Charge, by Store) {
	if a.slot == nil || !d.Counted {
		return
	}
	slotter := l.slotter
	if by != l.store {
		slotter = by.(store.Slotter) // this process's memory
	}
	a.slot.Hold(slotter, a.onLog())
	d.receipt = &receipt{slot: &Slot{a.slot}}
}

// dropSlots releases the slots that the store may have given in a call that failed.
func (l *Limiter) dropSlots(err error, asked ...store.Charge) {
	for _, untaken := range []error{ErrOverloaded, store.ErrDown, store.ErrFull, store.ErrCrossSlot, store.ErrWrongType, store.ErrClosed} {
		if errors.Is(err, untaken) {
			return
		}
	}
	for _, c := range asked {
		if c.Token != "" {
			l.keeper.Drop(l.slotter, c)
		}
	}
}

// logLost logs that a slot has ended early.
func (l *Limiter) logLost(policy string, err error) {
	l.lostSlots.Log(context.Background(), l.warnings.Logger, slog.LevelWarn, "a slot ended before its request",
		append(warning.Of(warnSlotLost), "policy", policy, "error", err)...)
}

// slotter renews and releases the slots of the limiter's store. It does not call a server
// that is known not to respond.
type slotter struct {
	limiter *Limiter
	store   store.Slotter
}

func newSlotter(l *Limiter) store.Slotter {
	if s, ok := l.store.(store.Slotter); ok {
		return &slotter{l, s}
	}
	return nil
}

func (s *slotter) RenewSlots(ctx context.Context, slots []store.Charge) []error {
	return s.call(ctx, slots, s.store.RenewSlots)
}

func (s *slotter) ReleaseSlots(ctx context.Context, slots []store.Charge) []error {
	return s.call(ctx, slots, s.store.ReleaseSlots)
}

func (s *slotter) call(ctx context.Context, slots []store.Charge, call func(context.Context, []store.Charge) []error) []error {
	errs := make([]error, len(slots))
	var places []int
	var open []store.Charge
	for i, c := range slots {
		if errs[i] = s.limiter.circuits.Of(c).Refuses(); errs[i] == nil {
			places, open = append(places, i), append(open, c)
		}
	}
	if len(open) > 0 {
		for i, err := range call(ctx, open) {
			errs[places[i]] = err
		}
	}
	return errs
}
