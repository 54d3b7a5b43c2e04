package monitor

import (
	"context"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// Feed is where processes tell each other what they decide. A [core.Store] that
// processes share can be one, as package redisstream's is.
type Feed interface {
	// Now is the time by the feed's clock.
	Now(ctx context.Context) (time.Time, error)

	// AddEntry adds an entry, and is when it did, by the feed's clock. The feed may
	// forget those older than an hour.
	AddEntry(ctx context.Context, data []byte) (time.Time, error)

	// EntriesAfter calls each with up to most entries that came after the one
	// called after, oldest first. An ID is the time by the feed's clock in Unix
	// milliseconds, a dash, and a number; one that no entry has is a time alone.
	EntriesAfter(ctx context.Context, after string, most int, each func(id string, data []byte)) error
}

// feedOf is the store's feed; nil without one.
func feedOf(store core.Store) Feed {
	feed, _ := store.(Feed)
	return feed
}
