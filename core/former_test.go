package core_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

// admitted returns how many of n requests are admitted.
func admitted(t *testing.T, l *core.Limiter, p *core.Policy, n int) (admitted int) {
	t.Helper()
	for range n {
		if allow(t, l, p, "k", 1).Allowed {
			admitted++
		}
	}
	return admitted
}

func earlierLogs(p *core.Policy) (names []string) {
	for _, e := range p.Log().Earlier {
		names = append(names, e.Name)
	}
	return names
}

// A change of limits hands out no budget, however it is made, and none when it is
// undone.
func TestChangeHandsOutNoBudget(t *testing.T) {
	changes := map[string]func(*testing.T, *core.Limiter, ...core.Limit){
		"Override": func(t *testing.T, l *core.Limiter, limits ...core.Limit) {
			if err := l.SetRule(t.Context(), core.Rule{Kind: core.RuleOverride, Policy: "p", Limits: limits}); err != nil {
				t.Fatal(err)
			}
		},
		"Replace": func(_ *testing.T, l *core.Limiter, limits ...core.Limit) {
			options := []core.PolicyOption{core.Refundable(0)}
			for _, limit := range limits {
				options = append(options, limit)
			}
			if err := l.Replace(core.NewPolicy("p", options...)); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			l, clock := newLimiter(t)
			p := core.NewPolicy("p", core.PerMinute(20))
			sum := admitted(t, l, p, 15)
			change(t, l, core.PerMinute(20), core.PerSecond(3))
			sum += admitted(t, l, p, 10)
			clock.advance(time.Second)
			sum += admitted(t, l, p, 10)
			change(t, l, core.Per(20, 2*time.Minute))
			sum += admitted(t, l, p, 10)
			if _, err := l.DeleteRule(t.Context(), "override policy p"); err != nil {
				t.Fatal(err)
			}
			if err := l.Replace(); err != nil {
				t.Fatal(err)
			}
			sum += admitted(t, l, p, 10)
			if sum != 20 {
				t.Errorf("%d admitted within a second, want 20", sum)
			}
			clock.advance(time.Minute)
			if n := admitted(t, l, p, 30); n != 20 {
				t.Errorf("a minute later %d were admitted, want 20", n)
			}
		})
	}
}

// Earlier logs count for no longer than they can hold something, and a policy without
// is the very one that it was.
func TestEarlierLogsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := core.New(core.NewMemory())
		defer l.Close()
		p := core.NewPolicy("p", core.PerMinute(10))
		admitted(t, l, p, 1)
		if err := l.Replace(core.NewPolicy("p", core.PerSecond(10))); err != nil {
			t.Fatal(err)
		}
		d := allow(t, l, p, "k", 1)
		if got := earlierLogs(d.Policy); !slices.Equal(got, []string{"p:c1m"}) {
			t.Errorf("earlier logs %v", got)
		}
		if err := l.Replace(); err != nil {
			t.Fatal(err)
		}
		if d := allow(t, l, p, "k", 1); !slices.Equal(earlierLogs(d.Policy), []string{"p:c1s"}) || d.Remaining != 7 {
			t.Errorf("back: earlier logs %v, %+v", earlierLogs(d.Policy), d)
		}
		time.Sleep(5 * time.Minute)
		if now := allow(t, l, p, "k", 1).Policy; now != p {
			t.Errorf("after 5 minutes the policy is still another, with the earlier logs %v", earlierLogs(now))
		}
	})
}

// So many earlier logs are counted; a further change waits until one is empty.
func TestChangesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		l := core.New(core.NewMemory(), log.option())
		defer l.Close()
		p := core.NewPolicy("p", core.PerHour(20))
		sum := 0
		for i := range 12 {
			sum += admitted(t, l, p, 2)
			if err := l.Replace(core.NewPolicy("p", core.Per(20, time.Hour+time.Duration(i)*time.Second))); err != nil {
				t.Fatal(err)
			}
		}
		if sum += admitted(t, l, p, 10); sum != 20 {
			t.Errorf("%d admitted, want 20", sum)
		}
		now, _ := l.Policy("p")
		if n := len(now.Log().Earlier); n != 8 || now.Log().Longest >= time.Hour+11*time.Second {
			t.Errorf("the window is %v, with %d earlier logs", now.Log().Longest, n)
		}
		if log.count("too often") != 1 {
			t.Errorf("log: %s", log.String())
		}
		time.Sleep(2 * time.Hour)
		if now, _ := l.Policy("p"); now.Log().Longest != time.Hour+11*time.Second {
			t.Errorf("two hours later the window is %v", now.Log().Longest)
		}
	})
}

// Reset and Entries are about all logs that count.
func TestResetForgetsEarlierLogs(t *testing.T) {
	l, _ := newLimiter(t)
	p := core.NewPolicy("p", core.PerMinute(5))
	admitted(t, l, p, 3)
	if err := l.Replace(core.NewPolicy("p", core.PerHour(5))); err != nil {
		t.Fatal(err)
	}
	admitted(t, l, p, 1)
	entries, err := l.Entries(t.Context(), p, "k", 10)
	units := int64(0)
	for _, e := range entries {
		units += e.Cost
	}
	if err != nil || units != 4 {
		t.Errorf("entries %v, %v, want 4 units", entries, err)
	}
	if err := l.Reset(t.Context(), p, "k"); err != nil {
		t.Fatal(err)
	}
	if n := admitted(t, l, p, 10); n != 5 {
		t.Errorf("%d admitted after a reset, want 5", n)
	}
}

// A process that decides without its store counts the earlier logs that it has itself.
func TestLocalShareCountsEarlierLogs(t *testing.T) {
	var log lines
	closed := core.NewMemory()
	l := core.New(unreachable{closed}, core.WithLocalShare(0.5), log.option())
	defer l.Close()
	p := core.NewPolicy("p", core.PerMinute(10))
	if n := admitted(t, l, p, 20); n != 5 {
		t.Fatalf("%d admitted, want 5", n)
	}
	if err := l.Replace(core.NewPolicy("p", core.PerHour(10))); err != nil {
		t.Fatal(err)
	}
	if n := admitted(t, l, p, 20); n != 0 {
		t.Errorf("%d admitted after a change, want 0", n)
	}
}

// unreachable is a store that does not answer decisions.
type unreachable struct{ core.Store }

func (unreachable) Take(context.Context, *store.Log, string, int64) (store.Usage, error) {
	return store.Usage{}, errors.New("no answer")
}

// registry is a memory store that processes share and in which they register logs.
type registry struct {
	core.Store
	mu    sync.Mutex
	ends  map[string]time.Time
	calls int
	fails error
}

func (r *registry) RegisterLogs(_ context.Context, written []*store.Log) (logs []store.RegisteredLog, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls++; r.fails != nil {
		return nil, r.fails
	}
	for _, p := range written {
		r.ends[p.Name] = time.Now().Add(p.Longest + time.Minute)
	}
	for name, end := range r.ends {
		logs = append(logs, store.RegisteredLog{Name: name, Left: time.Until(end)})
	}
	return logs, nil
}

func (*registry) Close() error { return nil }

// A process that starts with other limits counts what those before it have admitted
// from its first decision on, and those beside it follow.
func TestRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := core.NewMemory()
		defer memory.Close()
		store := &registry{Store: memory, ends: map[string]time.Time{"p:x1m": time.Now().Add(time.Hour), "nonsense": {}, ":c1m": time.Now().Add(time.Hour)}}
		old, next := core.New(store), core.New(store)
		defer old.Close()
		defer next.Close()
		before, after := core.NewPolicy("p", core.PerMinute(20)), core.NewPolicy("p", core.PerMinute(20), core.PerSecond(20))
		next.Register(after)
		sum := admitted(t, old, before, 12)
		time.Sleep(21 * time.Second)
		// After an idle time a decision does not wait for news.
		hear := func(l *core.Limiter, p *core.Policy) {
			sum += admitted(t, l, p, 1)
			synctest.Wait()
		}
		hear(next, after)
		sum += admitted(t, next, after, 4)
		hear(old, before)
		sum += admitted(t, old, before, 20)
		if sum += admitted(t, next, after, 20); sum != 20 {
			t.Errorf("%d admitted in all, want 20", sum)
		}
		last := core.New(store)
		defer last.Close()
		if n := admitted(t, last, core.NewPolicy("p", core.Per(20, 2*time.Minute)), 1); n != 0 {
			t.Error("a process that starts has a budget of its own")
		}
	})
}

// A limiter registers its logs three times a minute while it decides, and not at all
// while it does not.
func TestRegistryIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := core.NewMemory()
		defer memory.Close()
		store := &registry{Store: memory, ends: map[string]time.Time{}}
		l := core.New(store)
		defer l.Close()
		p := core.NewPolicy("p", core.PerMinute(5))
		calls := func(busy bool) int {
			time.Sleep(time.Minute)
			synctest.Wait()
			store.mu.Lock()
			store.calls = 0
			store.mu.Unlock()
			for range 3600 {
				if busy {
					allow(t, l, p, "k", 1)
				}
				time.Sleep(time.Second)
			}
			synctest.Wait()
			store.mu.Lock()
			defer store.mu.Unlock()
			return store.calls
		}
		if n := calls(false); n != 0 {
			t.Errorf("%d calls without a policy, want none", n)
		}
		if n := calls(true); n < 180 || n > 182 {
			t.Errorf("%d calls an hour, want 180", n)
		}
		if n := calls(false); n != 0 {
			t.Errorf("%d calls an hour while nothing was decided, want none", n)
		}
	})
}

// Nobody counts earlier requests in flight or calendar periods, so their logs are not
// registered, and no decision waits for that.
func TestRegistryOfRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &registry{Store: core.NewMemory(), ends: map[string]time.Time{}}
		defer store.Store.Close()
		l := core.New(store)
		defer l.Close()
		allow(t, l, core.NewPolicy("month", core.PerCalendarMonth(5, time.UTC)), "k", 1)
		synctest.Wait()
		if store.calls != 0 {
			t.Errorf("%d registrations, want none", store.calls)
		}
		l.Register(core.NewConcurrency("slots", 5, time.Minute))
		allow(t, l, core.NewPolicy("p", core.PerMinute(5)), "k", 1)
		synctest.Wait()
		if len(store.ends) != 1 || store.ends["p:c1m"].IsZero() {
			t.Errorf("%v are registered, want p:c1m alone", store.ends)
		}
	})
}

// A registry that fails does not delay requests, and is logged once.
func TestRegistryFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := core.NewMemory()
		defer memory.Close()
		var log lines
		store := &registry{Store: memory, fails: fmt.Errorf("%w: no", store.ErrRejected)}
		l := core.New(store, log.option())
		defer l.Close()
		start := time.Now()
		if n := admitted(t, l, core.NewPolicy("p", core.PerMinute(5)), 10); n != 5 {
			t.Errorf("%d admitted, want 5", n)
		}
		time.Sleep(time.Minute)
		if took := time.Since(start); took != time.Minute || log.count("can't be registered") != 1 {
			t.Errorf("took %v; log: %s", took, log.String())
		}
	})
}

// deafRegistry does not answer registrations.
type deafRegistry struct{ core.Store }

func (deafRegistry) RegisterLogs(ctx context.Context, _ []*store.Log) ([]store.RegisteredLog, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// A registration without an answer costs no decision its place. Only those on the
// policy wait for it, for a while, and leave a caller half of its time.
func TestRegistryIsNotWaitedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := core.NewMemory()
		defer memory.Close()
		l := core.New(deafRegistry{memory})
		defer l.Close()
		known, fresh, other := core.NewPolicy("known", core.PerMinute(9)), core.NewPolicy("fresh", core.PerMinute(9)), core.NewPolicy("other", core.PerMinute(9))
		ask := func(timeout, want time.Duration, policies ...*core.Policy) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			var asks []core.Charge
			for _, p := range policies {
				asks = append(asks, core.Charge{Policy: p, Key: "k"})
			}
			begun := time.Now()
			ds, err := l.AllowAll(ctx, asks...)
			if err != nil || !ds[0].Counted {
				t.Errorf("%v: %+v, %v", policies, ds, err)
			}
			if took := time.Since(begun); took != want {
				t.Errorf("%v took %v, want %v", policies, took, want)
			}
		}
		ask(time.Minute, time.Second, known) // as for the first connection
		ask(time.Minute, 0, known)
		ask(80*time.Millisecond, 40*time.Millisecond, fresh)
		ask(80*time.Millisecond, 40*time.Millisecond, known, fresh, other)
		ask(time.Minute, 0, known)
		ask(time.Minute, 100*time.Millisecond, fresh, known)
		ask(time.Minute, 0, fresh, known, other)
	})
}
