package monitor

import (
	"context"
	"sync/atomic"
	"time"
)

// clock is the feed's, so that all processes go by one. Without a feed, or before
// it has answered, it is the process's own. It does not step when the machine's is
// set.
type clock struct {
	begun time.Time
	ahead atomic.Int64 // of the process's own, nanoseconds
}

func newClock() *clock { return &clock{begun: time.Now()} }

func (c *clock) now() time.Time { return c.at(c.own()) }

// at is the time by the feed's clock when it is t by the process's own.
func (c *clock) at(t time.Time) time.Time { return t.Add(time.Duration(c.ahead.Load())) }

func (c *clock) own() time.Time { return c.begun.Add(time.Since(c.begun)) }

// ask asks the feed what time it is.
func (c *clock) ask(ctx context.Context, feed Feed) error {
	asked := c.own()
	told, err := feed.Now(ctx)
	if err == nil {
		c.set(told, asked)
	}
	return err
}

// set takes over the time that the feed has told just now, asked at a time by the
// process's own clock. It was that time at an instant between the two, so that what
// is known changes only as far as it can't be true.
func (c *clock) set(told, asked time.Time) {
	least, most := told.Sub(c.own()), told.Sub(asked)
	c.ahead.Store(min(max(c.ahead.Load(), int64(least)), int64(most)))
}
