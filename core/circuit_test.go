package core_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

// countingStore counts what reaches a store that fails.
type countingStore struct {
	*failingStore
	asked, probed, settled atomic.Int64
}

func (s *countingStore) Take(ctx context.Context, p *store.Log, key string, cost int64) (store.Usage, error) {
	s.asked.Add(1)
	return s.failingStore.Take(ctx, p, key, cost)
}

func (s *countingStore) TakeAll(ctx context.Context, asks []store.Charge) ([]store.Usage, error) {
	s.asked.Add(1)
	return s.failingStore.TakeAll(ctx, asks)
}

func (s *countingStore) Peek(ctx context.Context, p *store.Log, key string, cost int64) (store.Usage, error) {
	s.probed.Add(1)
	return s.failingStore.Peek(ctx, p, key, cost)
}

func (s *countingStore) Settle(ctx context.Context, p *store.Log, key string, entry store.EntryID, correction int64) error {
	s.settled.Add(1)
	return s.failingStore.Settle(ctx, p, key, entry, correction)
}

// After five failures in a row no request asks the store, until it answers in
// the background.
func TestCircuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		counting := &countingStore{failingStore: newFailingStore()}
		l := core.New(counting, log.option())
		defer l.Close()
		p := core.NewPolicy("p", core.PerHour(1000), core.Refundable(0))
		before, err := l.Allow(t.Context(), p, "k")
		if err != nil {
			t.Fatal(err)
		}
		counting.asked.Store(0)
		counting.fail(errStore)
		for range 100 {
			if d, err := l.Allow(t.Context(), p, "k"); err != nil || d.Source != core.SourceFallback {
				t.Fatalf("%+v, %v", d, err)
			}
			time.Sleep(3 * time.Millisecond)
		}
		if n := counting.asked.Load(); n != 5 {
			t.Errorf("%d of 100 requests asked the store, want the first 5", n)
		}
		h := l.Health()
		if len(h.Down) != 1 || h.Down[0].Server != "" || h.Down[0].Error != errStore.Error() || h.Failures != 5 || h.Local != 100 {
			t.Errorf("%+v", h)
		}
		// Neither do several at once, a look, or what is given back.
		if _, err := l.AllowAll(t.Context(), core.Charge{Policy: p, Key: "k"}, core.Charge{Policy: p, Key: "k2"}); err != nil {
			t.Error(err)
		}
		probed := counting.probed.Load()
		if d, err := l.Peek(t.Context(), p, "k"); err != nil || d.Source != core.SourceFallback || d.Limit.Max-d.Remaining != 101 {
			t.Errorf("%+v, %v", d, err)
		}
		if err := l.Refund(t.Context(), before); !errors.Is(err, store.ErrDown) {
			t.Errorf("%v, want ErrDown", err)
		}
		closed := core.NewPolicy("closed", core.PerHour(1), core.OnStoreFailure(core.FailClosed))
		if _, err := l.Allow(t.Context(), closed, "k"); !errors.Is(err, store.ErrDown) || !errors.Is(err, errStore) {
			t.Errorf("%v, want ErrDown and what was the matter", err)
		}
		if counting.asked.Load() != 5 || counting.probed.Load() != probed || counting.settled.Load() != 0 {
			t.Error("the store was asked")
		}
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			if _, err := l.Allow(t.Context(), closed, "k"); !errors.Is(err, store.ErrDown) {
				t.Errorf("%v, want ErrDown", err)
			}
		}
		if n := counting.probed.Load(); n < 30 || n > 41 {
			t.Errorf("asked %d times in the background in 10s, want 30 to 40", n)
		}
		// While nothing is decided the store is asked less and less.
		time.Sleep(time.Minute)
		probed = counting.probed.Load()
		time.Sleep(time.Minute)
		if n := counting.probed.Load() - probed; n > 6 {
			t.Errorf("asked %d times in the background in an idle minute, want at most 6", n)
		}
		counting.fail(nil)
		_, _ = l.Allow(t.Context(), closed, "k") // wakes the probe
		time.Sleep(300 * time.Millisecond)
		d, err := l.Allow(t.Context(), p, "k")
		if err != nil || d.Source != core.SourceMemory || d.Limit.Max-d.Remaining != 2 {
			t.Errorf("after the store is back: %+v, %v", d, err)
		}
		if h := l.Health(); h.Down != nil {
			t.Errorf("%+v", h)
		}
		probed = counting.probed.Load()
		time.Sleep(10 * time.Second)
		if counting.probed.Load() != probed {
			t.Error("a store that answers is asked in the background")
		}
		if log.count("the store does not answer") != 1 || log.count(`by the limiter's failure mode or their policy's own" mode=local`) != 1 || log.count("answers again") != 1 || log.count("") != 2 {
			t.Errorf("log %s, want a line each", log.String())
		}
		// It works a second time.
		counting.fail(errStore)
		for range 6 {
			allow(t, l, p, "k", 1)
			time.Sleep(3 * time.Millisecond)
		}
		if len(l.Health().Down) != 1 {
			t.Error("the circuit does not open again")
		}
	})
}

// Many failures at once are one: a connection that is lost fails all that it
// carries.
func TestCircuitOfOneHiccup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, store := failing(t, (&lines{}).option())
		p := core.NewPolicy("p", core.PerHour(1000))
		for range 3 {
			store.fail(errStore)
			for range 100 {
				allow(t, l, p, "k", 1)
			}
			if l.Health().Down != nil {
				t.Fatal("the circuit is open")
			}
			store.fail(nil)
			allow(t, l, p, "k", 1)
			time.Sleep(time.Second)
		}
	})
}

// What is not a failure of the store does not open its circuit.
func TestCircuitStaysClosed(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx context.Context
		err error
	}{
		"callers that go":       {gone, context.Canceled},
		"an answer":             {t.Context(), fmt.Errorf("%w: NOPERM", store.ErrRejected)},
		"another program's key": {t.Context(), store.ErrWrongType},
	} {
		store := &countingStore{failingStore: newFailingStore()}
		l := core.New(store, (&lines{}).option())
		store.fail(c.err)
		for range 20 {
			_, _ = l.Allow(c.ctx, core.NewPolicy("p", core.PerHour(1)), "k")
		}
		if n := store.asked.Load(); n != 20 || l.Health().Down != nil {
			t.Errorf("%s: %d of 20 requests asked the store, %+v", name, n, l.Health())
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// placedStore has a server for each key.
type placedStore struct{ *failingStore }

func (placedStore) Shard(_ *store.Log, key string) string { return "server-" + key }

func (s placedStore) Take(ctx context.Context, p *store.Log, key string, cost int64) (store.Usage, error) {
	if key != "down" {
		return s.Store.Take(ctx, p, key, cost)
	}
	return s.failingStore.Take(ctx, p, key, cost)
}

func (s placedStore) TakeAll(ctx context.Context, asks []store.Charge) ([]store.Usage, error) {
	for i, a := range asks {
		if _, err := s.Take(ctx, a.Log, a.Key, a.Cost); err != nil {
			return nil, &store.ChargeError{Index: i, Err: err}
		}
	}
	return s.Store.TakeAll(ctx, asks)
}

// One server of several that fails harms the others' keys in nothing.
func TestCircuitOfEachServer(t *testing.T) {
	store := placedStore{newFailingStore()}
	l := core.New(store, (&lines{}).option())
	defer l.Close()
	p, q := core.NewPolicy("p", core.PerHour(100)), core.NewPolicy("q", core.PerHour(100))
	store.fail(errStore)
	for range 10 {
		time.Sleep(2 * time.Millisecond)
		decisions, err := l.AllowAll(t.Context(), core.Charge{Policy: p, Key: "up"}, core.Charge{Policy: q, Key: "down"})
		if err != nil || decisions[0].Source != core.SourceFallback || decisions[1].Source != core.SourceFallback {
			t.Errorf("both: %+v, %v", decisions, err)
		}
	}
	if down := l.Health().Down; len(down) != 1 || down[0].Server != "server-down" {
		t.Errorf("%+v", down)
	}
	for key, want := range map[string]core.Source{"up": core.SourceMemory, "down": core.SourceFallback} {
		if d, err := l.Allow(t.Context(), p, key); err != nil || d.Source != want {
			t.Errorf("%s: %+v, %v", key, d, err)
		}
	}
}

// Closing ends the asking in the background.
func TestCloseEndsProbes(t *testing.T) {
	before := runtime.NumGoroutine()
	l, _ := failing(t, (&lines{}).option())
	for range 10 {
		allow(t, l, core.NewPolicy("p", core.PerHour(100)), "k", 1)
		time.Sleep(2 * time.Millisecond)
	}
	if len(l.Health().Down) != 1 {
		t.Fatal("the circuit is closed")
	}
	l.Close()
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines, %d before", n, before)
	}
}

// A process can be given a share of the limits for the time of a failure.
func TestLocalShare(t *testing.T) {
	l, store := failing(t, core.WithLocalShare(0.25), (&lines{}).option())
	p := core.NewPolicy("p", core.PerHour(10), core.PerDay(1000), core.VariableCost(), core.Refundable(0))
	d, err := l.AllowN(t.Context(), p, "k", 7)
	if err != nil || !d.Allowed || d.Limit.Max != 2 || d.Cost != 2 || d.Remaining != 0 || states(d)[1].Limit.Max != 250 {
		t.Errorf("a cost above the share: %+v, %v", d, err)
	}
	if d, err := l.Peek(t.Context(), p, "k"); err != nil || d.Allowed || d.Limit.Max != 2 || d.Source != core.SourceFallback {
		t.Errorf("%+v, %v", d, err)
	}
	if err := l.Settle(t.Context(), d, 1); err != nil {
		t.Error(err)
	}
	decisions, err := l.AllowAll(t.Context(), core.Charge{Policy: p, Key: "k"}, core.Charge{Policy: core.NewPolicy("one", core.PerHour(1)), Key: "k"})
	if err != nil || !decisions[0].Allowed || !decisions[1].Allowed || decisions[1].Limit.Max != 1 {
		t.Errorf("%+v, %v", decisions, err)
	}
	if d, err := l.Allow(t.Context(), p, "k"); err != nil || d.Allowed {
		t.Errorf("%+v, %v", d, err)
	}
	store.fail(nil)
	deadline := time.Now().Add(10 * time.Second)
	for len(l.Health().Down) > 0 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if d, err := l.Allow(t.Context(), p, "k"); err != nil || d.Limit.Max != 10 || d.Remaining != 9 {
		t.Errorf("after the failure: %+v, %v", d, err)
	}
	for _, wrong := range []float64{0, -1, 1.1} {
		panics(t, "use more than 0 and at most 1", func() { core.WithLocalShare(wrong) })
	}
}

// stuckStore answers nobody.
type stuckStore struct{ *countingStore }

func (s stuckStore) Take(ctx context.Context, _ *store.Log, _ string, _ int64) (store.Usage, error) {
	s.asked.Add(1)
	<-ctx.Done()
	return store.Usage{}, ctx.Err()
}

// Callers whose own deadlines are over open the circuit, too, if the store has had
// time to answer. The failure mode decides for all of them.
func TestCircuitByCallersDeadlines(t *testing.T) {
	for deadline, open := range map[time.Duration]bool{80 * time.Millisecond: true, 5 * time.Millisecond: false} {
		synctest.Test(t, func(t *testing.T) {
			store := stuckStore{&countingStore{failingStore: newFailingStore()}}
			store.fail(errStore)
			l := core.New(store, (&lines{}).option())
			defer l.Close()
			last := error(nil)
			for range 20 {
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				_, last = l.Allow(ctx, core.NewPolicy("p", core.PerHour(100)), "k")
				cancel()
			}
			if (store.asked.Load() == 5) != open || last != nil {
				t.Errorf("deadlines of %v: %d of 20 asked the store, the last got %v", deadline, store.asked.Load(), last)
			}
		})
	}
}
