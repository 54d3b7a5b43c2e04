package monitor

import (
	"context"
	"sync/atomic"
	"time"
)

// clock returns the time of the feed's clock, so that all processes use one clock.
// Without a feed, or before the feed's first response, it is the process's own clock. It
// does not step when the machine's clock is set.
type clock struct {
	begun time.Time
	ahead atomic.Int64 // how far the feed's clock is ahead of the process's own, in nanoseconds
}

func newClock() *clock { return &clock{begun: time.Now()} }

func (c *clock) now() time.Time { return c.at(c.own()) }

// at returns the time by the feed's clock at time t of the process's own clock.
func (c *clock) at(t time.Time) time.Time { return t.Add(time.Duration(c.ahead.Load())) }

func (c *clock) own() time.Time { return c.begun.Add(time.Since(c.begun)) }

// ask reads the time of the feed.
func (c *clock) ask(ctx context.Context, feed Feed) error {
	asked := c.own()
	told, err := feed.Now(ctx)
	if err == nil {
		c.set(told, asked)
	}
	return err
}

// set takes the feed's time, which was read just now. asked is the start of the read by
// the process's own clock. The feed's time belongs to an instant between the two, so set
// changes the offset only as far as it can't be true.
func (c *clock) set(told, asked time.Time) {
	least, most := told.Sub(c.own()), told.Sub(asked)
	c.ahead.Store(min(max(c.ahead.Load(), int64(least)), int64(most)))
}
