package redisstream

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
)

// Entries implements [core.Store].
func (s *Store) Entries(ctx context.Context, p *core.Policy, key string, most int) ([]core.Entry, error) {
	cmd := redis.NewXMessageSliceCmd(ctx, "xrevrange", s.logKey(p, key), "+", "-", "count", most)
	if err := s.plain(ctx, cmd); err != nil {
		return nil, err
	}
	now, err := s.now(ctx)
	if err != nil {
		return nil, err
	}
	var entries []core.Entry
	for i, message := range cmd.Val() {
		e, err := parseEntry(p, message)
		if err != nil {
			return nil, err
		}
		if i == 0 && e.Time.After(now) {
			now = e.Time // of a clock that stepped back
		}
		if !e.Time.After(now.Add(-p.Longest())) {
			break // has left the window
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// now is the server's time.
func (s *Store) now(ctx context.Context) (time.Time, error) {
	cmd := redis.NewTimeCmd(ctx, "time")
	err := s.plain(ctx, cmd)
	return cmd.Val().Truncate(time.Millisecond), err
}

// parseEntry reads an entry as counted.lua and summed.lua describe it.
func parseEntry(p *core.Policy, message redis.XMessage) (core.Entry, error) {
	text, _, _ := strings.Cut(message.ID, "-")
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return core.Entry{}, fmt.Errorf("redisstream: a log of policy %s has an entry that is not one", p.Name())
	}
	e := core.Entry{Time: time.UnixMilli(ms), Cost: 1}
	if p.Layout() == core.Counted {
		return e, nil
	}
	cost, _ := message.Values["c"].(string)
	number, back := strings.CutPrefix(cost, "-")
	units, err := strconv.ParseInt(number, 10, 64)
	if err != nil || units < 0 {
		return core.Entry{}, fmt.Errorf("redisstream: a log of policy %s has an entry without a cost", p.Name())
	}
	if e.Cost = units; back {
		e.Cost, e.Refund = 0, units
	}
	return e, nil
}
