package storetest

import (
	"fmt"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

// check compares a store's usage with the definition, and records what was admitted.
//
// A recalled denial must still be a denial. It does not count units that others have
// added since the store denied, so it must match the logs of that time exactly. Others
// that share a log are other processes, or policies of the same log with other limits.
func (c *changing) check(u store.Usage, cost int64, took bool, clock int64) error {
	if allowed := c.room(cost, clock); !c.steps {
		now := c.logs
		if u.Cached {
			c.logs = c.denied[c.now].clone()
		}
		err := c.checkExactly(u, cost, allowed, allowed && took, clock)
		c.logs = now
		if err != nil {
			return err
		}
	}
	if !u.Allowed || !took {
		return nil
	}
	m := c.log(c.now)
	at := max(clock, m.last())
	if c.now.Layout == store.Refunded {
		at = u.Entry.Time
	}
	m.record(entry{time: at, asked: at, real: c.real, cost: cost, id: u.Entry})
	m.requests = append(m.requests, &request{id: u.Entry, cost: cost})
	return c.checkDefinition()
}

func (c *changing) checkExactly(u store.Usage, cost int64, allowed, entered bool, now int64) error {
	if u.Allowed != allowed {
		return fmt.Errorf("allowed %v, want %v", u.Allowed, allowed)
	}
	wait := u.RetryAfter.Milliseconds()
	switch {
	case allowed && wait != 0:
		return fmt.Errorf("RetryAfter %dms, but it fits now", wait)
	case !allowed && (wait < 1 || !c.room(cost, now+wait)):
		return fmt.Errorf("RetryAfter %dms, but it does not fit then", wait)
	case !allowed && c.room(cost, now+wait-1):
		return fmt.Errorf("RetryAfter %dms, but it fits a millisecond before", wait)
	}
	reset := int64(0)
	for _, p := range c.counted() {
		if m := c.log(p); len(m.entries) > 0 {
			reset = max(reset, m.last()+min(p.Longest, c.now.Longest).Milliseconds()-now)
		}
	}
	if entered {
		reset = c.now.Longest.Milliseconds()
	}
	if got := u.ResetAfter.Milliseconds(); got != reset {
		return fmt.Errorf("ResetAfter %dms, want %dms", got, reset)
	}
	for i, l := range c.now.Limits {
		used, leaves := c.used(l.Window.Milliseconds(), now)
		free := time.Duration(0)
		if used > 0 {
			free = time.Duration(leaves-now) * time.Millisecond
		}
		if entered {
			used += cost
			if free == 0 {
				free = l.Window
			}
		}
		got := u.Limits[i]
		if got.Used != used {
			return fmt.Errorf("limit %v: used %d, want %d", l, got.Used, used)
		}
		if spare := entered && used < l.Max; spare && got.FreeIn >= free && got.FreeIn <= l.Window {
			continue // see store.LimitUsage
		}
		if got.FreeIn != free {
			return fmt.Errorf("limit %v: FreeIn %v, want %v", l, got.FreeIn, free)
		}
	}
	return nil
}

// checkDefinition sums the units in all logs, by the clock that never steps, in each
// window that ends now. No log counts for longer than its own longest window.
func (c *changing) checkDefinition() error {
	for _, l := range c.now.Limits {
		sum := int64(0)
		for _, p := range c.counted() {
			for _, e := range c.log(p).entries {
				if e.real > c.real-min(l.Window, p.Longest).Milliseconds() {
					sum += e.cost - e.given
				}
			}
		}
		if sum > l.Max {
			return fmt.Errorf("over-admission: %d units within %v, the limit is %d", sum, l.Window, l.Max)
		}
	}
	return c.checkShortest()
}

// checkShortest checks the guarantee for all logs together. No window of the shortest
// length in force has more units than the largest limit in force.
func (c *changing) checkShortest() error {
	shortest, largest, sum := store.MaxWindow, int64(0), int64(0)
	for _, p := range c.counted() {
		for _, l := range p.Limits {
			shortest, largest = min(shortest, l.Window), max(largest, l.Max)
		}
	}
	for _, m := range c.logs {
		for _, e := range m.entries {
			if e.real > c.real-shortest.Milliseconds() {
				sum += e.cost - e.given
			}
		}
	}
	if sum > largest {
		return fmt.Errorf("over-admission: %d units within %v, the shortest window in force; the largest limit is %d", sum, shortest, largest)
	}
	return nil
}
