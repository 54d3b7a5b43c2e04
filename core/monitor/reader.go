package monitor

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

const (
	// freshness bounds the age of a cached read. Many viewers then cost the store as much
	// as one.
	freshness = 200 * time.Millisecond

	// batch is the number of entries in one read. readTime is about how long a viewer
	// waits for reads. The next request reads the rest: an hour of 16 busy processes is
	// about 40 MB.
	batch    = 500
	readTime = 2 * time.Second
)

// Reader reads what all processes on a store publish about their decisions. It needs no
// limiter.
type Reader struct {
	feed    Feed
	self    string // process whose entries are added directly; "" for none
	picture *picture

	mu    sync.Mutex
	after string // the ID of the last entry
	read  time.Time
	err   error
	seen  int64 // time of the last complete read, by the feed's clock in Unix milliseconds; 0 for never
}

// NewReader returns a reader. It returns an error if the store has no feed. A store in
// memory has none, since it shares nothing with other processes.
func NewReader(store core.Store) (*Reader, error) {
	if v := reflect.ValueOf(store); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		panic("monitor: NewReader: nil store")
	}
	feed := feedOf(store)
	if feed == nil {
		return nil, fmt.Errorf("monitor: a %T shares nothing with other processes: use a store of package redisstream", store)
	}
	return &Reader{feed: feed, picture: newPicture()}, nil
}

// Read returns the current picture. It reads the last hour.
func Read(ctx context.Context, store core.Store) (Picture, error) {
	r, err := NewReader(store)
	if err != nil {
		return Picture{}, err
	}
	return r.Read(ctx)
}

// Read returns the current picture. Each call reads the entries since the last call. The
// first call reads the last hour.
func (r *Reader) Read(ctx context.Context) (Picture, error) {
	for {
		more, err := r.catchUp(ctx)
		if err != nil {
			return Picture{}, fmt.Errorf("monitor: %w", err)
		}
		if !more {
			return r.picture.show(r.picture.clock.now().UnixMilli()), nil
		}
	}
}

// catchUp reads new entries. more reports whether it stopped early because its time was
// up.
func (r *Reader) catchUp(ctx context.Context) (more bool, err error) {
	if r.feed == nil {
		return false, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.read) < freshness {
		return false, r.err
	}
	defer func() {
		if r.err = err; !more {
			r.read = time.Now()
		}
		if err == nil && !more {
			r.seen = r.picture.clock.now().UnixMilli()
		}
	}()
	if err := r.picture.clock.ask(ctx, r.feed); err != nil {
		return false, err
	}
	oldest := r.picture.clock.now().UnixMilli() - history
	if idTime(r.after) < oldest {
		r.after = strconv.FormatInt(oldest, 10)
	}
	for begun := time.Now(); ; {
		n := 0
		err := r.feed.EntriesAfter(ctx, r.after, batch, func(id string, data []byte) {
			n++
			r.after = id
			if e, err := parseEntry(data); err == nil && e.Process != r.self {
				r.picture.add(e, idTime(id))
			}
		})
		switch {
		case err != nil || n < batch:
			return false, err
		case time.Since(begun) > readTime:
			return true, nil
		}
	}
}

// blind reports whether the last read failed. It also returns the time of the last
// complete read, or 0 for never.
func (r *Reader) blind() (since int64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen, r.err != nil
}

// idTime returns the time in an entry's ID, in Unix milliseconds.
func idTime(id string) int64 {
	for i := range id {
		if id[i] == '-' {
			id = id[:i]
			break
		}
	}
	t, _ := strconv.ParseInt(id, 10, 64)
	return t
}
