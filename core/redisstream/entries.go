package redisstream

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/store"
)

//go:embed entries.lua
var entriesSource string

// Entries implements [store.Store].
func (s *Store) Entries(ctx context.Context, p *store.Log, key string, most int) ([]store.Entry, error) {
	if p.Layout == store.Slots {
		return s.listSlots(ctx, p, key, most)
	}
	log := s.logKey(p, key)
	cmd := redis.NewStringSliceCmd(ctx, "eval", entriesSource, 1, log, most)
	if err := s.plain(ctx, log, cmd); err != nil {
		return nil, err
	}
	now, messages, err := parseEntries(cmd.Val())
	if err != nil {
		return nil, err
	}
	var entries []store.Entry
	for i, message := range messages {
		e, err := parseEntry(p, message)
		if err != nil {
			return nil, err
		}
		if i == 0 && e.Time.After(now) {
			now = e.Time // of a clock that stepped back
		}
		if !e.Time.After(now.Add(-p.Longest)) {
			break // has left the window
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// parseEntries reads what entries.lua replies: the time of the log's server, in whole
// milliseconds, and the entries.
func parseEntries(reply []string) (now time.Time, entries []redis.XMessage, err error) {
	if len(reply)%3 != 2 {
		return now, nil, fmt.Errorf("redisstream: entries: the script answered %d values", len(reply))
	}
	if now, err = parseTime(reply[0], reply[1]); err != nil {
		return now, nil, fmt.Errorf("redisstream: entries: the server's time: %w", err)
	}
	for entry := range slices.Chunk(reply[2:], 3) {
		entries = append(entries, redis.XMessage{ID: entry[0], Values: map[string]any{entry[1]: entry[2]}})
	}
	return now.Truncate(time.Millisecond), entries, nil
}

// parseTime reads a time as TIME has it.
func parseTime(seconds, micros string) (time.Time, error) {
	s, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	us, err := strconv.ParseInt(micros, 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(s, us*1000), nil
}

// parseEntry reads an entry as counted.lua and summed.lua describe it.
func parseEntry(p *store.Log, message redis.XMessage) (store.Entry, error) {
	text, _, _ := strings.Cut(message.ID, "-")
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return store.Entry{}, fmt.Errorf("redisstream: a log of policy %s has an entry that is not one", p.Policy)
	}
	e := store.Entry{Time: time.UnixMilli(ms), Cost: 1}
	if p.Layout == store.Counted {
		return e, nil
	}
	cost, _ := message.Values["c"].(string)
	number, back := strings.CutPrefix(cost, "-")
	units, err := strconv.ParseInt(number, 10, 64)
	if err != nil || units < 0 {
		return store.Entry{}, fmt.Errorf("redisstream: a log of policy %s has an entry without a cost", p.Policy)
	}
	if e.Cost = units; back {
		e.Cost, e.Refund = 0, units
	}
	return e, nil
}
