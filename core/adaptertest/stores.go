package adaptertest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// clock stands still until it is told to go on.
type clock struct{ ms atomic.Int64 }

func (c *clock) now() time.Time          { return time.UnixMilli(1_800_000_000_000 + c.ms.Load()) }
func (c *clock) advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

// newLimiter is a limiter on a memory store whose clock stands still.
func newLimiter(t *testing.T, options ...core.Option) (*core.Limiter, *clock) {
	c := &clock{}
	limiter := core.New(core.NewMemory(core.WithClock(c.now)), options...)
	t.Cleanup(func() {
		if err := limiter.Close(); err != nil {
			t.Error(err)
		}
	})
	return limiter, c
}

// spy is a store that keeps what it was asked, and fails while it is told to.
type spy struct {
	core.Store

	mu       sync.Mutex
	failure  error
	keys     []string
	contexts []context.Context
}

// newSpy is a limiter on a spy over a memory store.
func newSpy(t *testing.T) (*core.Limiter, *spy) {
	c := &clock{}
	s := &spy{Store: core.NewMemory(core.WithClock(c.now))}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return core.New(s), s
}

func (s *spy) Take(ctx context.Context, p *core.Policy, key string, cost int64) (core.Usage, error) {
	s.mu.Lock()
	s.keys = append(s.keys, key)
	s.contexts = append(s.contexts, ctx)
	failure := s.failure
	s.mu.Unlock()
	if failure != nil {
		return core.Usage{}, failure
	}
	return s.Store.Take(ctx, p, key, cost)
}

func (s *spy) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = err
}

// asked is the keys that the store was asked about, in order.
func (s *spy) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys
}
