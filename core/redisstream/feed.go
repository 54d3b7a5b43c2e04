package redisstream

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// The feed is one stream, in which processes tell each other what they decide, for
// package monitor: a field "d" with an entry each. It is bounded to about an hour of
// 16 processes that add one a second.
const (
	feedSuffix = "{monitor}"
	feedField  = "d"
	feedLength = 16 * 3600
	feedLife   = 2 * time.Hour
)

// AddEntry implements the feed of package monitor. It may add the entry twice
// when an answer is lost.
func (s *Store) AddEntry(ctx context.Context, data []byte) (time.Time, error) {
	feed := s.prefix + feedSuffix
	// A feed that is there gets its life first: one that can't have any gets no entry.
	kept, err := s.keepFeed(ctx)
	if err != nil {
		return time.Time{}, err
	}
	cmd := redis.NewStringCmd(ctx, "xadd", feed, "maxlen", "~", feedLength, "*", feedField, data)
	if err := s.plain(ctx, s.prefix+feedSuffix, cmd); err != nil {
		return time.Time{}, err
	}
	ms, _, _ := strings.Cut(cmd.Val(), "-")
	at, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("redisstream: the ID of an entry: %w", err)
	}
	if !kept {
		_, err = s.keepFeed(ctx)
	}
	return time.UnixMilli(at), err
}

// keepFeed sets the feed's time to live, and reports whether there is a feed.
func (s *Store) keepFeed(ctx context.Context) (bool, error) {
	cmd := redis.NewBoolCmd(ctx, "pexpire", s.prefix+feedSuffix, feedLife.Milliseconds())
	if err := s.plain(ctx, s.prefix+feedSuffix, cmd); err != nil {
		return false, err
	}
	return cmd.Val(), nil
}

// feedTime has the feed's key, which it does not use, since in a Cluster or Ring
// TIME would go to any server.
const feedTime = "#!lua flags=no-writes\nreturn redis.call('TIME')"

// Now implements the feed of package monitor. It returns the time of the server that
// has the feed.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	cmd := redis.NewTimeCmd(ctx, "eval", feedTime, 1, s.prefix+feedSuffix)
	if err := s.plain(ctx, s.prefix+feedSuffix, cmd); err != nil {
		return time.Time{}, err
	}
	return cmd.Val(), nil
}

// EntriesAfter implements the feed of package monitor.
func (s *Store) EntriesAfter(ctx context.Context, after string, most int, each func(id string, data []byte)) error {
	cmd := redis.NewXMessageSliceCmd(ctx, "xrange", s.prefix+feedSuffix, "("+after, "+", "count", most)
	if err := s.plain(ctx, s.prefix+feedSuffix, cmd); err != nil {
		return err
	}
	for _, message := range cmd.Val() {
		data, _ := message.Values[feedField].(string)
		each(message.ID, []byte(data))
	}
	return nil
}
