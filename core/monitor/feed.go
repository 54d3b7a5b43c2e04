package monitor

import (
	"context"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// Feed lets processes share their decisions. A [core.Store] that processes share can be a
// Feed, such as the store of package redisstream.
type Feed interface {
	// Now returns the time of the feed's clock.
	Now(ctx context.Context) (time.Time, error)

	// AddEntry adds an entry, and returns the time of the addition by the feed's clock.
	// The feed may delete entries older than an hour.
	AddEntry(ctx context.Context, data []byte) (time.Time, error)

	// EntriesAfter calls each for up to most entries that were added after the entry with
	// the ID after, oldest first. An ID is the time of the feed's clock in Unix
	// milliseconds, a dash, and a number. A time without a number is an ID that no entry
	// has.
	EntriesAfter(ctx context.Context, after string, most int, each func(id string, data []byte)) error
}

// feedOf returns the store's feed, or nil.
func feedOf(store core.Store) Feed {
	feed, _ := store.(Feed)
	return feed
}
