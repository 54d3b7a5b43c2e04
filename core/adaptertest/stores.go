package adaptertest

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

// clock is a clock that only the test moves.
type clock struct{ ms atomic.Int64 }

func (c *clock) now() time.Time          { return time.UnixMilli(1_800_000_000_000 + c.ms.Load()) }
func (c *clock) advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

// newLimiter returns a limiter on a memory store whose clock stands still.
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

// logAt returns a log of lines at a level and above.
func logAt(level slog.Level) (*bytes.Buffer, core.Option) {
	log := &bytes.Buffer{}
	return log, core.WithLogger(slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level})))
}

// spy is a store that records its calls, and fails on demand.
type spy struct {
	core.Store
	clock *clock

	mu           sync.Mutex
	failure      error // of decisions
	failedSettle error // of corrections
	keys         []string
	contexts     []context.Context
	together     []int // the number of logs in each call

	settled chan int64 // the corrections made and not yet read
}

// failClosed makes the limiter reject requests while the store fails.
var failClosed = core.WithFailureMode(core.FailClosed)

// newSpy returns a limiter on a spy over a memory store whose clock stands still.
func newSpy(t *testing.T, options ...core.Option) (*core.Limiter, *spy) {
	s := &spy{clock: &clock{}, settled: make(chan int64, 1000)}
	s.Store = core.NewMemory(core.WithClock(s.clock.now))
	limiter := core.New(s, options...)
	t.Cleanup(func() {
		if err := limiter.Close(); err != nil {
			t.Error(err)
		}
	})
	return limiter, s
}

func (s *spy) Take(ctx context.Context, p *store.Log, key string, cost int64) (store.Usage, error) {
	if err := s.note(ctx, store.Charge{Log: p, Key: key, Cost: cost}); err != nil {
		return store.Usage{}, err
	}
	return s.Store.Take(ctx, p, key, cost)
}

func (s *spy) TakeAll(ctx context.Context, asks []store.Charge) ([]store.Usage, error) {
	if err := s.note(ctx, asks...); err != nil {
		return nil, err
	}
	return s.Store.TakeAll(ctx, asks)
}

func (s *spy) note(ctx context.Context, asks ...store.Charge) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range asks {
		s.keys = append(s.keys, a.Key)
	}
	s.contexts = append(s.contexts, ctx)
	s.together = append(s.together, len(asks))
	return s.failure
}

func (s *spy) Settle(ctx context.Context, p *store.Log, key string, entry store.EntryID, correction int64) error {
	s.mu.Lock()
	err := s.failedSettle
	s.mu.Unlock()
	if err == nil {
		err = s.Store.Settle(ctx, p, key, entry, correction)
	}
	if err == nil {
		s.settled <- correction
	}
	return err
}

func (s *spy) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = err
}

func (s *spy) failSettle(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failedSettle = err
}

// asked returns the keys of the store's calls, in order.
func (s *spy) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys
}

// wantSettled checks the corrections since the last call, in order.
func (s *spy) wantSettled(t *testing.T, want ...int64) {
	t.Helper()
	var made []int64
	for len(s.settled) > 0 {
		made = append(made, <-s.settled)
	}
	if !slices.Equal(made, want) {
		t.Errorf("corrections of %v units, want %v", made, want)
	}
}
