package redisstream

import (
	"context"
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
func (s *Store) AddEntry(ctx context.Context, data []byte) error {
	feed := s.prefix + feedSuffix
	if err := s.plain(ctx, redis.NewStringCmd(ctx, "xadd", feed, "maxlen", "~", feedLength, "*", feedField, data)); err != nil {
		return err
	}
	return s.plain(ctx, redis.NewBoolCmd(ctx, "pexpire", feed, feedLife.Milliseconds()))
}

// Now implements the feed of package monitor: it is the time of the server.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	cmd := redis.NewTimeCmd(ctx, "time")
	if err := s.plain(ctx, cmd); err != nil {
		return time.Time{}, err
	}
	return cmd.Val(), nil
}

// EntriesAfter implements the feed of package monitor.
func (s *Store) EntriesAfter(ctx context.Context, after string, most int, each func(id string, data []byte)) error {
	cmd := redis.NewXMessageSliceCmd(ctx, "xrange", s.prefix+feedSuffix, "("+after, "+", "count", most)
	if err := s.plain(ctx, cmd); err != nil {
		return err
	}
	for _, message := range cmd.Val() {
		data, _ := message.Values[feedField].(string)
		each(message.ID, []byte(data))
	}
	return nil
}
