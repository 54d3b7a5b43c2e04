package storetest

import (
	"fmt"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// model is the definition of a policy by brute force: it keeps everything that
// was ever admitted on one log and adds it up anew for every question. Times are
// in milliseconds.
type model struct {
	policy  *core.Policy
	entries []entry
	highest int64 // latest clock at which the log was asked
}

type entry struct {
	time int64 // as recorded, by the store's clock
	real int64 // by a clock that never steps
	cost int64
}

func (m *model) last() int64 {
	if len(m.entries) == 0 {
		return 0
	}
	return m.entries[len(m.entries)-1].time
}

// used is the units recorded in the window that ends at now, and the time of
// the first of them.
func (m *model) used(window, now int64) (units, first int64) {
	for _, e := range m.entries {
		if e.time > now-window {
			if units == 0 {
				first = e.time
			}
			units += e.cost
		}
	}
	return units, first
}

// fits is the first time from now on at which cost has room in l.
func (m *model) fits(l core.Limit, cost, now int64) int64 {
	window := l.Window.Milliseconds()
	if used, _ := m.used(window, now); used+cost <= l.Max {
		return now
	}
	for _, e := range m.entries {
		leaves := e.time + window
		if leaves <= now {
			continue
		}
		if used, _ := m.used(window, leaves); used+cost <= l.Max {
			return leaves
		}
	}
	panic("storetest: a cost above the limit")
}

// check compares what a store says with the definition, and records what it
// admitted. clock is the store's time, real one that never steps.
func (m *model) check(u core.Usage, cost int64, took bool, clock, real int64) error {
	m.highest = max(m.highest, clock)
	if clock == m.highest {
		if err := m.checkExactly(u, cost, took, clock); err != nil {
			return err
		}
	} else if err := m.checkSteppedBack(u, cost, clock); err != nil {
		return err
	}
	if u.Allowed && took {
		recorded := clock + u.ResetAfter.Milliseconds() - m.policy.Longest().Milliseconds()
		if recorded < clock || recorded > max(clock, m.last()) {
			return fmt.Errorf("admitted at %d, but recorded at %d", clock, recorded)
		}
		m.entries = append(m.entries, entry{recorded, real, cost})
		return m.checkDefinition(real)
	}
	return nil
}

// checkExactly holds while the clock has never been later than now.
func (m *model) checkExactly(u core.Usage, cost int64, took bool, now int64) error {
	allowed, retry := true, int64(0)
	for _, l := range m.policy.Limits() {
		if wait := m.fits(l, cost, now) - now; wait > 0 {
			allowed, retry = false, max(retry, wait)
		}
	}
	if u.Allowed != allowed {
		return fmt.Errorf("allowed %v, want %v", u.Allowed, allowed)
	}
	if got := u.RetryAfter.Milliseconds(); got != retry {
		return fmt.Errorf("RetryAfter %dms, want %dms", got, retry)
	}
	entered := allowed && took
	reset := max(0, m.last()+m.policy.Longest().Milliseconds()-now)
	if entered {
		reset = m.policy.Longest().Milliseconds()
	}
	if got := u.ResetAfter.Milliseconds(); got != reset {
		return fmt.Errorf("ResetAfter %dms, want %dms", got, reset)
	}
	for i, l := range m.policy.Limits() {
		if err := m.checkLimit(u.Limits[i], l, cost, entered, now); err != nil {
			return fmt.Errorf("limit %v: %w", l, err)
		}
	}
	return nil
}

func (m *model) checkLimit(u core.LimitUsage, l core.Limit, cost int64, entered bool, now int64) error {
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
	if spare := entered && used < l.Max; spare && u.FreeIn >= free && u.FreeIn <= l.Window {
		return nil // see core.LimitUsage
	}
	if u.FreeIn != free {
		return fmt.Errorf("FreeIn %v, want %v", u.FreeIn, free)
	}
	return nil
}

// checkSteppedBack holds when the clock has been later than now. A store may
// have forgotten what had left the window by then, or not: either is right, but
// it must not block for longer than the clock stepped back.
func (m *model) checkSteppedBack(u core.Usage, cost, clock int64) error {
	must, may := true, true // be allowed
	for _, l := range m.policy.Limits() {
		window := l.Window.Milliseconds()
		if most, _ := m.used(window, max(clock, m.last())); most+cost > l.Max {
			must = false
		}
		if least, _ := m.used(window, m.highest); least+cost > l.Max {
			may = false
		}
	}
	if must && !u.Allowed || !may && u.Allowed {
		return fmt.Errorf("clock stepped back by %dms: allowed %v, want %v", m.highest-clock, u.Allowed, must)
	}
	latest := m.highest - clock + m.policy.Longest().Milliseconds()
	if u.RetryAfter.Milliseconds() > latest {
		return fmt.Errorf("clock stepped back by %dms: RetryAfter %v, want at most %dms", m.highest-clock, u.RetryAfter, latest)
	}
	return nil
}

// checkDefinition adds up the interval that ends with the newest entry, by the
// clock that never steps: every other interval was checked before, or has less.
func (m *model) checkDefinition(real int64) error {
	for _, l := range m.policy.Limits() {
		sum := int64(0)
		for _, e := range m.entries {
			if e.real > real-l.Window.Milliseconds() {
				sum += e.cost
			}
		}
		if sum > l.Max {
			return fmt.Errorf("over-admission: %d units within %v, the limit is %d", sum, l.Window, l.Max)
		}
	}
	return nil
}
