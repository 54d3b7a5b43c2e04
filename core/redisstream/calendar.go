package redisstream

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

// outside is the error of a call for a log whose time lies outside the periods that the
// call has named. Nothing has changed. Times are Unix milliseconds.
type outside struct{ server, log int64 }

func (o *outside) Error() string {
	return "the server's time lies outside the calendar period of this process"
}

// outsidePeriod returns an outside error if a reply of calendar.lua says so.
func outsidePeriod(reply []int64, p *store.Log) error {
	if p.Layout == store.Calendar && len(reply) == 2 {
		return &outside{server: reply[0], log: reply[1]}
	}
	return nil
}

// periodTries is how often a decision may ask. The second try knows the log's time. The
// third is for a period that ends between the two.
const periodTries = 3

// inPeriod asks until the call has the periods around the log's time, which it sets. It
// keeps what it learns of the server's clock.
func (s *Store) inPeriod(at *int64, ask func() error) error {
	for tries := 1; ; tries++ {
		sent := own()
		err := ask()
		var o *outside
		if tries == periodTries || !errors.As(err, &o) {
			return err
		}
		s.periods.set(time.UnixMilli(o.server), sent)
		*at = o.log
	}
}

// takeInPeriod takes units from a log with calendar limits.
func (s *Store) takeInPeriod(ctx context.Context, c charge) (u store.Usage, err error) {
	err = s.inPeriod(&c.at, func() error {
		u, err = s.batcher.take(ctx, c)
		return err
	})
	return u, err
}

// timeOf returns the time of a charge's log, as far as it is known.
func (c *charge) timeOf() time.Time {
	if c.at != 0 {
		return time.UnixMilli(c.at)
	}
	return c.clock.now()
}

// appendCalendarArgs appends the arguments of calendar.lua that decide, after the first.
func appendCalendarArgs(args []any, c *charge) []any {
	args = appendPeriods(args, c, c.cost)
	for i := range len(c.policy.Limits) {
		l := c.policy.Limits[i]
		window := l.Window.Milliseconds()
		if l.Period != nil {
			window = -1 - int64(slices.Index(c.policy.Periods, l.Period))
		}
		args = append(args, l.Max, window)
	}
	return args
}

// appendPeriods appends the arguments of calendar.lua from the second to the periods.
func appendPeriods(args []any, c *charge, units int64) []any {
	p := c.policy
	args = append(args, units, p.Sliding.Milliseconds(), start(), len(p.Periods))
	at := c.timeOf()
	for _, period := range p.Periods {
		from, until := period.Around(at)
		args = append(args, from.UnixMilli(), until.UnixMilli())
	}
	return args
}

// appendCalendarCorrection appends the arguments of calendar.lua that correct an entry.
func appendCalendarCorrection(args []any, c *charge, entry store.EntryID, correction int64) []any {
	args = appendPeriods(append(args, modeCorrect), c, correction)
	return append(args, c.policy.Grace.Milliseconds(), entry.Time, entry.Total)
}
