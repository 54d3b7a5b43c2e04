package monitor

import (
	"context"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// Feed is where processes share their decisions with each other. A [core.Store] that
// processes share can be a Feed. The store of package redisstream is one.
type Feed interface {
	// Now returns the time of the feed's clock.
	Now(ctx context.Context) (time.Time, error)

	// AddEntry adds an entry, and returns the time when it did, by the feed's clock.
	// The feed may delete entries older than an hour.
	AddEntry(ctx context.Context, data []byte) (time.Time, error)

	// EntriesAfter calls each for up to most entries that came after the entry with the
	// ID after, oldest first. An ID is the time of the feed's clock in Unix
	// milliseconds, a dash, and a number. A time alone is an ID that no entry has.
	EntriesAfter(ctx context.Context, after string, most int, each func(id string, data []byte)) error
}

// feedOf is the store's feed; nil without one.
func feedOf(store core.Store) Feed {
	feed, _ := store.(Feed)
	return feed
}
