package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

// model is the definition of a policy by brute force. It keeps all admissions on one log,
// and adds them up for every call. Times are in milliseconds.
type model struct {
	log     *store.Log
	entries []entry
	highest int64 // latest clock at which the store may have read the log

	// The slowest refund in the stretch of one window with the newest entry, and in the
	// stretch before, as the store has them.
	lag, lagBefore int64

	requests []*request // all admitted requests, including those before a reset
}

// request is a request that can be settled.
type request struct {
	id      store.EntryID
	cost    int64
	settled bool
}

// forget applies a reset.
func (m *model) forget() { *m = model{log: m.log, requests: m.requests} }

type entry struct {
	time  int64 // as recorded by the store's clock
	asked int64 // as first recorded, before others in its slice
	real  int64 // by a clock that never steps
	cost  int64 // of a request, or of a later charge for it
	back  int64 // units that this entry, a refund, gives back
	given int64 // units of this request given back by other entries
	joins bool  // shares a slice with the entry before it
	id    store.EntryID
}

func (m *model) last() int64 {
	if len(m.entries) == 0 {
		return 0
	}
	return m.entries[len(m.entries)-1].time
}

// used returns the units recorded in the window that ends at now, and the time of the
// first entry in it. A refund counts if it is later than the window's start by more than
// the slowest refund takes: see core.Refundable.
func (m *model) used(window, now int64) (units, first int64) {
	found := false
	for _, e := range m.entries {
		if e.time <= now-window {
			continue
		}
		if !found {
			found, first = true, e.time
		}
		units += e.cost
		if e.time > now-window+max(m.lag, m.lagBefore) {
			units -= e.back
		}
	}
	return units, first
}

// room reports whether cost fits all limits at now, if nothing is added until then.
func (m *model) room(cost, now int64) bool {
	for _, l := range m.log.Limits {
		if used, _ := m.used(l.Window.Milliseconds(), now); used+cost > l.Max {
			return false
		}
	}
	return true
}

// checkWait checks that a cost that does not fit at now fits after a wait, and not a
// millisecond before. Without refunds there is one such wait.
func (m *model) checkWait(wait, cost, now int64) error {
	if wait < 1 || !m.room(cost, now+wait) {
		return fmt.Errorf("RetryAfter %dms, but it does not fit then", wait)
	}
	if m.room(cost, now+wait-1) {
		return fmt.Errorf("RetryAfter %dms, but it fits a millisecond before", wait)
	}
	if m.log.Refundable() {
		return nil
	}
	for _, e := range m.entries {
		for _, l := range m.log.Limits {
			if at := e.time + l.Window.Milliseconds(); at > now && at < now+wait && m.room(cost, at) {
				return fmt.Errorf("RetryAfter %dms, but it fits after %dms", wait, at-now)
			}
		}
	}
	return nil
}

// record adds an entry.
func (m *model) record(e entry) {
	longest := m.log.Longest.Milliseconds()
	if stretches := e.time/longest - m.last()/longest; stretches > 1 || e.time-m.last() >= longest {
		m.lag, m.lagBefore = 0, 0
	} else if stretches == 1 {
		m.lag, m.lagBefore = 0, m.lag
	}
	// Entries of one slice have the time of the newest. Entries written by a policy
	// without slices have their own times.
	if slice := m.log.Slice.Milliseconds(); slice > 0 && e.time/slice == m.last()/slice {
		e.joins = len(m.entries) > 0
		for i := len(m.entries) - 1; i >= 0; i-- {
			m.entries[i].time = e.time
			if !m.entries[i].joins {
				break
			}
		}
	}
	m.entries = append(m.entries, e)
}

// check compares a store's usage with the definition, and records what was admitted.
// clock is the store's time, and real the time of a clock that never steps.
func (m *model) check(u store.Usage, cost int64, took bool, clock, real int64) error {
	m.highest = max(m.highest, clock)
	if clock == m.highest {
		if err := m.checkExactly(u, cost, took, clock); err != nil {
			return err
		}
	} else if err := m.checkSteppedBack(u, cost, clock); err != nil {
		return err
	}
	if u.Allowed && took {
		recorded := clock + u.ResetAfter.Milliseconds() - m.log.Longest.Milliseconds()
		if recorded < clock || recorded > max(clock, m.last()) {
			return fmt.Errorf("admitted at %d, but recorded at %d", clock, recorded)
		}
		m.record(entry{time: recorded, asked: recorded, real: real, cost: cost, id: u.Entry})
		if m.log.Refundable() && u.Entry.Time != recorded {
			return fmt.Errorf("recorded at %d, but its entry is %+v", recorded, u.Entry)
		}
		m.requests = append(m.requests, &request{id: u.Entry, cost: cost})
		return m.checkDefinition(real)
	}
	return nil
}

// checkExactly checks the usage if the clock has never been later than now.
func (m *model) checkExactly(u store.Usage, cost int64, took bool, now int64) error {
	allowed := m.room(cost, now)
	if u.Allowed != allowed {
		return fmt.Errorf("allowed %v, want %v", u.Allowed, allowed)
	}
	if wait := u.RetryAfter.Milliseconds(); allowed && wait != 0 {
		return fmt.Errorf("RetryAfter %dms, but it fits now", wait)
	} else if !allowed {
		if err := m.checkWait(wait, cost, now); err != nil {
			return err
		}
	}
	entered := allowed && took
	reset := int64(0)
	if len(m.entries) > 0 {
		reset = max(0, m.last()+m.log.Longest.Milliseconds()-now)
	}
	if entered {
		reset = m.log.Longest.Milliseconds()
	}
	if got := u.ResetAfter.Milliseconds(); got != reset {
		return fmt.Errorf("ResetAfter %dms, want %dms", got, reset)
	}
	for i, l := range m.log.Limits {
		if err := m.checkLimit(u.Limits[i], l, cost, entered, now); err != nil {
			return fmt.Errorf("limit %v: %w", l, err)
		}
	}
	return nil
}

func (m *model) checkLimit(u store.LimitUsage, l store.Limit, cost int64, entered bool, now int64) error {
	window := l.Window.Milliseconds()
	used, first := m.used(window, now)
	free := time.Duration(0)
	if used > 0 {
		free = time.Duration(first+window-now) * time.Millisecond
	}
	if entered {
		used += cost
		if free == 0 {
			free = l.Window
		}
	}
	if u.Used != used {
		return fmt.Errorf("used %d, want %d", u.Used, used)
	}
	if err := m.checkLateness(u.Used, l, cost, entered, now); err != nil {
		return err
	}
	if spare := entered && used < l.Max; spare && u.FreeIn >= free && u.FreeIn <= l.Window {
		return nil // see store.LimitUsage
	}
	if u.FreeIn != free {
		return fmt.Errorf("FreeIn %v, want %v", u.FreeIn, free)
	}
	return nil
}

// checkLateness checks that units of a coarse log come back at most a slice late.
func (m *model) checkLateness(got int64, l store.Limit, cost int64, entered bool, now int64) error {
	if m.log.Slice == 0 {
		return nil
	}
	most := int64(0)
	for _, e := range m.entries {
		if e.asked > now-l.Window.Milliseconds()-m.log.Slice.Milliseconds() {
			most += e.cost
		}
	}
	if entered {
		most += cost
	}
	if got > most {
		return fmt.Errorf("used %d, but some units should be back since a slice: want at most %d", got, most)
	}
	return nil
}

// checkSteppedBack checks the usage if the clock has been later than now. A store may
// have dropped entries that had left the window by then. It must not block for longer
// than the clock stepped back.
func (m *model) checkSteppedBack(u store.Usage, cost, clock int64) error {
	must, may := true, true // whether it must or may be allowed
	for _, l := range m.log.Limits {
		window := l.Window.Milliseconds()
		if most, _ := m.used(window, max(clock, m.last())); most+cost > l.Max {
			must = false
		}
		if least, _ := m.used(window, m.highest); least+cost > l.Max {
			may = false
		}
	}
	if m.log.Refundable() {
		// Units that were given back may count again later.
		must, may = false, true
	}
	if must && !u.Allowed || !may && u.Allowed {
		return fmt.Errorf("clock stepped back by %dms: allowed %v, want %v", m.highest-clock, u.Allowed, must)
	}
	latest := m.highest - clock + m.log.Longest.Milliseconds()
	if u.RetryAfter.Milliseconds() > latest {
		return fmt.Errorf("clock stepped back by %dms: RetryAfter %v, want at most %dms", m.highest-clock, u.RetryAfter, latest)
	}
	return nil
}

// checkDefinition sums the interval that ends with the newest entry, by the clock that
// never steps, without refunded units. Every other interval was checked before, or has
// less.
func (m *model) checkDefinition(real int64) error {
	for _, l := range m.log.Limits {
		sum := int64(0)
		for _, e := range m.entries {
			if e.real > real-l.Window.Milliseconds() {
				sum += e.cost - e.given
			}
		}
		if sum > l.Max {
			return fmt.Errorf("over-admission: %d units within %v, the limit is %d", sum, l.Window, l.Max)
		}
	}
	return nil
}

// settled compares a store's result of a correction with the expected one, and records
// it. If the clock has been later than now, a store may have dropped the request.
func (m *model) settled(accepted bool, id store.EntryID, correction, clock, real int64) error {
	steppedBack := clock < m.highest
	m.highest = max(m.highest, clock)
	now := max(clock, m.last())
	if correction > 0 {
		if !accepted {
			return errors.New("a charge was not accepted")
		}
		m.record(entry{time: now, asked: now, real: real, cost: correction})
		return nil
	}
	grace := m.log.Grace
	request := m.request(id)
	late := now - id.Time
	switch must := request != nil && late <= grace.Milliseconds(); {
	case accepted && !must || !accepted && must && !steppedBack:
		return fmt.Errorf("a refund after %dms was accepted: %v, want %v", late, accepted, must)
	case !accepted:
		return nil
	}
	request.given -= correction
	m.record(entry{time: now, asked: now, real: real, back: -correction})
	m.lag = max(m.lag, late)
	return nil
}

func (m *model) request(id store.EntryID) *entry {
	for i := range m.entries {
		if m.entries[i].id == id && id != (store.EntryID{}) {
			return &m.entries[i]
		}
	}
	return nil
}
