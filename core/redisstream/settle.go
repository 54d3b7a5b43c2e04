package redisstream

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

// correctionArgs is how many arguments appendCorrection appends.
const correctionArgs = 6

// appendCorrection appends the arguments of refunded.lua that correct an entry.
func appendCorrection(args []any, p *store.Log, entry store.EntryID, correction int64) []any {
	id := strconv.FormatInt(entry.Time, 10) + "-" + strconv.FormatInt(entry.Total, 10)
	return append(args, modeCorrect, correction, p.Longest.Milliseconds(), start(), graceOf(p).Milliseconds(), id)
}

// graceOf returns how long units can be given back after they were taken. A process
// returns the units of a lease soon after the lease ends. One return that is much later
// would hide timely returns for as long as the longest window: see refunded.lua.
func graceOf(p *store.Log) time.Duration { return max(p.Grace, 2*p.Lease) }

// Settle implements [store.Store].
func (s *Store) Settle(ctx context.Context, p *store.Log, key string, entry store.EntryID, correction int64) error {
	c := s.charge(p.After(), key, correction) // earlier logs do not matter here
	var reply []int64
	err := s.inPeriod(&c.at, func() (err error) {
		args := []any(nil)
		if p.Layout == store.Calendar {
			args = appendCalendarCorrection(args, &c, entry, correction)
		} else {
			args = appendCorrection(args, p, entry, correction)
		}
		if reply, err = s.batcher.ask(ctx, c, args); err == nil {
			err = outsidePeriod(reply, p)
		}
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("settle: %w", err)
	case len(reply) != 1:
		return fmt.Errorf("redisstream: settle: the script answered %d numbers, want 1", len(reply))
	case reply[0] == 0:
		return store.ErrTooLate
	}
	return nil
}
