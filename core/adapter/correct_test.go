package adapter_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
	"github.com/streamlimit/streamlimit/core/store"
)

// farStore is a store with a high latency. It waits at most timeout for a response.
type farStore struct {
	core.Store
	away, timeout time.Duration
	settled       atomic.Int64
	free          chan struct{} // corrections wait for it, unless it is nil
	down          atomic.Bool   // decisions fail
}

func (s *farStore) Take(ctx context.Context, p *store.Log, key string, cost int64) (store.Usage, error) {
	if s.down.Load() {
		return store.Usage{}, errors.New("down")
	}
	return s.Store.Take(ctx, p, key, cost)
}

func (s *farStore) Timeout() time.Duration { return s.timeout }

func (s *farStore) Settle(ctx context.Context, p *store.Log, key string, entry store.EntryID, correction int64) error {
	time.Sleep(s.away)
	if s.free != nil {
		<-s.free
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.settled.Add(1)
	return s.Store.Settle(ctx, p, key, entry, correction)
}

var farPolicy = core.NewPolicy("p", core.PerMinute(10_000), core.VariableCost(), core.Refundable(0))

func allow(t *testing.T, l *core.Limiter, p *core.Policy, key string, cost int64) core.Decision {
	t.Helper()
	d, err := l.AllowN(t.Context(), p, key, cost)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func left(t *testing.T, l *core.Limiter, p *core.Policy, key string) int64 {
	t.Helper()
	d, err := l.Peek(t.Context(), p, key)
	if err != nil {
		t.Fatal(err)
	}
	return d.Remaining
}

// A request waits for its decisions and corrections together at most for the store's
// timeout. The corrections are made even after it.
func TestSettleRequestWithinTimeout(t *testing.T) {
	for name, c := range map[string]struct{ away, timeout, waited, want time.Duration }{
		"near":                  {2 * time.Millisecond, 100 * time.Millisecond, 2 * time.Millisecond, 2 * time.Millisecond},
		"far":                   {95 * time.Millisecond, 100 * time.Millisecond, 95 * time.Millisecond, 5 * time.Millisecond},
		"nothing left":          {95 * time.Millisecond, 100 * time.Millisecond, 120 * time.Millisecond, 0},
		"a store without bound": {95 * time.Millisecond, 0, 95 * time.Millisecond, 95 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &farStore{Store: core.NewMemory(), away: c.away, timeout: c.timeout}
				l := core.New(store)
				d := allow(t, l, farPolicy, "k", 20)
				begun := time.Now()
				adapter.SettleRequest(t.Context(), l, []core.Decision{d}, 5, c.waited)
				if took := time.Since(begun); took != c.want {
					t.Errorf("held up for %v, want %v", took, c.want)
				}
				time.Sleep(c.away)
				synctest.Wait()
				if got := left(t, l, farPolicy, "k"); got != 9995 {
					t.Errorf("%d left, want 9995", got)
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Several corrections of one request share the time of one.
func TestSettleRequestSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &farStore{Store: core.NewMemory(), away: 95 * time.Millisecond, timeout: 100 * time.Millisecond}
		l := core.New(store)
		begun := time.Now()
		adapter.SettleRequest(t.Context(), l, []core.Decision{allow(t, l, farPolicy, "a", 5), {}, allow(t, l, farPolicy, "b", 5)}, 0, 0)
		if took := time.Since(begun); took != store.timeout {
			t.Errorf("held up for %v, want %v", took, store.timeout)
		}
		if err := l.Close(); err != nil || store.settled.Load() != 2 {
			t.Errorf("%d corrections after Close, %v; want 2", store.settled.Load(), err)
		}
	})
}

// Close waits for corrections in the background. No correction starts after it.
func TestSettleRequestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		store := &farStore{Store: core.NewMemory(), away: time.Second, timeout: time.Millisecond}
		l := core.New(store, core.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		first, second := allow(t, l, farPolicy, "k", 5), allow(t, l, farPolicy, "k", 5)
		adapter.SettleRequest(t.Context(), l, []core.Decision{first}, 0, 0)
		begun := time.Now()
		if err := l.Close(); err != nil || store.settled.Load() != 1 {
			t.Errorf("%d corrections after Close, %v; want 1", store.settled.Load(), err)
		}
		if took := time.Since(begun); took != 999*time.Millisecond || log.Len() > 0 {
			t.Errorf("Close took %v, and the log has: %s", took, log.String())
		}
		adapter.SettleRequest(t.Context(), l, []core.Decision{second}, 0, 0)
		if text := log.String(); !strings.Contains(text, "stays charged") || !strings.Contains(text, "policy=p") {
			t.Errorf("after Close the log has: %s", text)
		}
	})
}

// The number of corrections in flight is bounded.
func TestSettleRequestBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		store := &farStore{Store: core.NewMemory(), timeout: time.Nanosecond, free: make(chan struct{})}
		l := core.New(store, core.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		const most = 4096
		for range most + 2 {
			adapter.SettleRequest(t.Context(), l, []core.Decision{allow(t, l, farPolicy, "k", 1)}, 0, time.Hour)
		}
		if n := strings.Count(log.String(), "too many corrections"); n != 1 {
			t.Errorf("%d lines about too many, want 1 a minute: %s", n, log.String())
		}
		close(store.free)
		synctest.Wait()
		if got := left(t, l, farPolicy, "k"); got != 10_000-2 {
			t.Errorf("%d left, want all but the 2 beyond the bound given back", got)
		}
		adapter.SettleRequest(t.Context(), l, []core.Decision{allow(t, l, farPolicy, "k", 1)}, 0, time.Hour)
		if err := l.Close(); err != nil || store.settled.Load() != most+1 {
			t.Errorf("%d corrections, %v; want %d", store.settled.Load(), err, most+1)
		}
	})
}

// A request that was settled before, or that took nothing, makes no call and waits for
// nothing.
func TestSettleRequestNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		store := &farStore{Store: core.NewMemory(), away: time.Second, timeout: time.Minute}
		l := core.New(store, core.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		defer l.Close()
		d := allow(t, l, farPolicy, "k", 5)
		if err := l.Settle(t.Context(), d, 3); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		adapter.SettleRequest(t.Context(), l, []core.Decision{d, {}, allow(t, l, farPolicy, "k", 2)}, 2, 0)
		if took := time.Since(begun); took != 0 || store.settled.Load() != 1 || log.Len() > 0 {
			t.Errorf("held up for %v, %d corrections, log: %s", took, store.settled.Load(), log.String())
		}
	})
}

// While a server is down, no request waits for it.
func TestSettleRequestDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := &farStore{Store: core.NewMemory(), away: time.Second, timeout: time.Minute}
		l := core.New(far, core.WithLogger(slog.New(slog.DiscardHandler)))
		defer l.Close()
		d := allow(t, l, farPolicy, "k", 5)
		far.down.Store(true)
		for range 10 {
			time.Sleep(20 * time.Millisecond)
			_, _ = l.Allow(t.Context(), farPolicy, "k")
		}
		begun := time.Now()
		adapter.SettleRequest(t.Context(), l, []core.Decision{d}, 0, 0)
		if took := time.Since(begun); took != 0 || far.settled.Load() != 0 {
			t.Errorf("held up for %v", took)
		}
	})
}
