package core

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

// PolicyOption is a [Limit] or a setting such as [VariableCost], for [NewPolicy].
type PolicyOption interface{ applyTo(*Policy) }

func (l Limit) applyTo(p *Policy) { p.limits = append(p.limits, l) }

// traits are what is set of a policy besides its name and limits. They are an
// option too, which sets them all.
type traits struct {
	slots      bool // of a concurrency policy, whose one limit has the hold as its window
	costs      bool
	refundable bool
	grace      time.Duration // for refunds; 0 is half the longest window
	slices     int           // of a coarse log; 0 for one entry a request
	lease      time.Duration // 0 for none
	shadow     bool
	off        bool        // set only by a rule of kind Switch
	fieldName  string      // "" is the policy's name
	unit       string      // "" is the one of defaultUnit
	failure    FailureMode // "" is the limiter's
}

func (t traits) applyTo(p *Policy) { p.traits = t }

type policyOption func(*traits)

func (f policyOption) applyTo(p *Policy) { f(&p.traits) }

// VariableCost lets requests of the policy cost more than 1 unit. Without it every
// request costs 1, and a different cost is an [ErrCost]. A policy with a single limit
// can then use the cheaper log.
func VariableCost() PolicyOption { return policyOption(func(t *traits) { t.costs = true }) }

// Refundable lets [Limiter.Refund] and [Limiter.Settle] give units back, within grace
// of the request that took them. 0 stands for the longest possible grace: half of the
// policy's longest window, such as 30 seconds for a limit per minute.
//
// A request that takes longer than the grace, such as a long stream, is not given back
// ([ErrTooLate]).
//
// Units that were given back are available at once. They may count as used again for a
// moment, while their request is about to leave a window. The moment is as long as the
// slowest recent refund on the log took, and no longer than grace. A limit with a
// shorter window sees no refunds. A refund never admits more than the limit.
//
// A refund counts for a calendar limit in the period of its request. Once that period is
// over it is too late. For limits that slide beside a calendar
// limit it counts within half of their longest window. The longest grace is then half of
// the longest period: one day, 4 days or 16 days.
func Refundable(grace time.Duration) PolicyOption {
	return policyOption(func(t *traits) { t.refundable, t.grace = true, grace })
}

// Coarse makes the policy's logs coarse, for big limits: a log has at most n+1 entries,
// whatever the limit. n is from 2 to 1000, and 64 is a good number. Requests within one
// n-th of the window share an entry, which has the time of the last of them. The limit
// is therefore never exceeded, and units come back up to Window/n later. Such a policy
// has one limit and is not [Refundable].
func Coarse(n int) PolicyOption { return policyOption(func(t *traits) { t.slices = n }) }

// Lease lets each process take units ahead of requests, and hand them out itself for the
// time d after it took them. A hot key then costs a store call now and then, not one for
// each decision. The limits are never exceeded. The price is that units come back up to d
// late, so a limit that is always full admits Max in each Window+d.
//
// d is from 1 ms to a sixteenth of the shortest window. Up to a sixtieth, such as a
// second for a limit per minute, the price is hard to notice. Use leases for keys with
// many requests a second. Keys that are seen once in a while gain nothing.
//
// A decision from a lease has the source [SourceLease]. Its Remaining is what the log had
// left when the lease was taken, plus what the lease has left. It is an estimate: other
// processes take from the log meanwhile. A denial can be as old as the shorter of d and
// 100 ms. Bans and other rules hold at once. A lowered limit applies within d to units
// that were taken before. A process that crashes loses the units of its leases until
// Window+d is over. Two processes with different d keep different logs. Each counts the
// other's log as an earlier one.
//
// The memory store needs no leases and takes none. Below a Max of 16 no units are taken
// ahead either, and the policy's logs are those of a policy without leases. The policy
// can have [VariableCost], but can be neither [Refundable] nor [Coarse].
func Lease(d time.Duration) PolicyOption { return policyOption(func(t *traits) { t.lease = d }) }

// Shadow makes the policy count and report, but deny nothing. A request that the limits
// have no room for is allowed and not counted, and its decision's WouldDeny is true.
// Responses do not mention the policy.
func Shadow() PolicyOption { return policyOption(func(t *traits) { t.shadow = true }) }

// Enforce is the opposite of [Shadow], for [Policy.With].
func Enforce() PolicyOption { return policyOption(func(t *traits) { t.shadow = false }) }

// FieldName sets the name of the policy in the response fields and problem documents.
// The default is the policy's own name. The field name is made of the same characters.
func FieldName(name string) PolicyOption {
	return policyOption(func(t *traits) { t.fieldName = name })
}

// Unit sets the name of the policy's units, in the plural, such as "tokens" or
// "content-bytes". The default is "requests". With [VariableCost] it is "units", and the
// response fields name no unit, which clients take for requests. So set the unit of such a
// policy. The name appears in response fields (qu), problem documents, the monitor and the
// command line tool. It is made of the same characters as the policy's name.
func Unit(name string) PolicyOption { return policyOption(func(t *traits) { t.unit = name }) }

// OnStoreFailure sets the policy's failure mode: what happens to its requests when the
// store does not answer. The default is the mode of [WithFailureMode].
//
// The function OnFailure of the adapters does something else. It is for WithRefund, and
// gives back requests that were answered with a status of 400 or above.
func OnStoreFailure(mode FailureMode) PolicyOption {
	return policyOption(func(t *traits) { t.failure = mode })
}

// checkTraits completes what is set. For an option that does not fit it returns
// its name, and what is wrong.
func (p *Policy) checkTraits() (option string, err error) {
	if p.fieldName == "" {
		p.fieldName = p.name
	}
	if err := validateName(p.fieldName); err != nil {
		return "FieldName", err
	}
	if err := p.checkUnit(); err != nil {
		return "Unit", err
	}
	if p.failure != "" && !p.failure.valid() {
		return "OnStoreFailure", errors.New("no such mode: use core.FailClosed, core.FailOpen or core.FailLocal")
	}
	if p.slots {
		return p.checkSlots()
	}
	if p.refundable {
		most := max(p.log.Longest/2, time.Millisecond)
		switch {
		case p.grace == 0:
			p.log.Grace = most
		case p.grace < time.Millisecond || p.grace%time.Millisecond != 0:
			return "Refundable", fmt.Errorf("a grace of %v: use whole milliseconds", p.grace)
		case p.grace > most:
			return "Refundable", fmt.Errorf("a grace of %v is longer than half the longest window, %v", p.grace, most)
		default:
			p.log.Grace = p.grace
		}
	}
	if p.hasPeriods() {
		switch {
		case p.slices != 0:
			return "Coarse", errors.New("a calendar limit has one entry a key anyway: leave the slices out")
		case p.lease != 0:
			return "Lease", errors.New("a calendar limit can't be leased: leave the lease out, or make a policy of each limit and give all of them to the route")
		}
	}
	if p.slices != 0 {
		if err := p.checkSlices(); err != nil {
			return "Coarse", err
		}
	}
	if p.lease != 0 {
		return "Lease", p.checkLease()
	}
	return "", nil
}

// unitRequests is the unit that response fields leave out.
const unitRequests = "requests"

// checkUnit leaves the unit empty if it is the default.
func (p *Policy) checkUnit() error {
	switch {
	case p.unit == "concurrent-requests":
		return errors.New("concurrent-requests is for limits on requests in flight: name what a request takes")
	case p.unit == p.defaultUnit():
		p.unit = ""
	}
	return validateName(p.unit)
}

func (p *Policy) defaultUnit() string {
	if p.costs {
		return "units"
	}
	return unitRequests
}

// leaseShare is the smallest ratio of the shortest window to a lease.
const leaseShare = 16

// minLeased is the smallest Max for which units are taken ahead: an eighth of it is two
// units.
const minLeased = 16

func (p *Policy) checkLease() error {
	most := longestLease(p.limits)
	switch {
	case p.refundable:
		return errors.New("a request that a lease has served has no entry to give back: use a lease or refunds, not both")
	case p.slices != 0:
		return errors.New("a coarse log can't give back what is left of a lease: use slices or a lease, not both")
	case most < time.Millisecond:
		return fmt.Errorf("a window is shorter than %v: leave the lease out", leaseShare*time.Millisecond)
	case p.lease < time.Millisecond || p.lease > most || p.lease%time.Millisecond != 0:
		return fmt.Errorf("%v: use whole milliseconds from 1ms to %v, a sixteenth of the shortest window", p.lease, most)
	}
	return nil
}

// longestLease returns the longest lease that fits the limits among the options.
func longestLease[O PolicyOption](options []O) time.Duration {
	shortest := store.MaxWindow
	for _, o := range options {
		if l, ok := any(o).(Limit); ok {
			shortest = min(shortest, l.Window)
		}
	}
	return (shortest / leaseShare).Truncate(time.Millisecond)
}

func (p *Policy) checkSlices() error {
	switch {
	case p.slices < 2 || p.slices > 1000:
		return fmt.Errorf("%d slices: use 2 to 1000, such as 64", p.slices)
	case len(p.limits) > 1:
		return errors.New("a coarse log has one limit: make a policy of each and give all of them to the route")
	case p.refundable:
		return errors.New("a coarse log can't give back units: use slices or refunds, not both")
	case p.log.Longest < time.Duration(p.slices)*time.Millisecond:
		return fmt.Errorf("%d slices of a window of %v are shorter than 1ms: use fewer", p.slices, p.log.Longest)
	}
	return nil
}

// FieldName returns the policy's name in the response fields and problem documents.
func (p *Policy) FieldName() string { return p.fieldName }

// Unit returns the name of the policy's units: that of the option [Unit], or else
// "requests", or "units" with [VariableCost].
func (p *Policy) Unit() string { return cmp.Or(p.unit, p.defaultUnit()) }

// Mode returns how the policy's limits are enforced. It is [ModeOff] only for a
// policy that [Limiter.Policy] or a decision returns while a [RuleSwitch] holds.
func (p *Policy) Mode() Mode {
	switch {
	case p.off:
		return ModeOff
	case p.shadow:
		return ModeShadow
	}
	return ModeOn
}

// switched switches a policy to a mode, as a rule does.
func switched(to Mode) PolicyOption {
	return policyOption(func(t *traits) { t.shadow, t.off = t.shadow || to == ModeShadow, to == ModeOff })
}

// FailureMode returns what happens to the policy's requests when the store does not
// answer: the mode of [OnStoreFailure], or "" for the limiter's.
func (p *Policy) FailureMode() FailureMode { return p.failure }
