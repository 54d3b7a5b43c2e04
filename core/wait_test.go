package core_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

// askedStore counts the decisions that it makes, and what they admit. Each takes the
// time away. Close does not close the store within, so limiters can share it.
type askedStore struct {
	core.Store
	away            time.Duration
	asked, admitted atomic.Int64
	asking, most    atomic.Int64 // decisions in progress
}

func (s *askedStore) Take(ctx context.Context, p *store.Log, key string, cost int64) (store.Usage, error) {
	s.asked.Add(1)
	if n := s.asking.Add(1); n > s.most.Load() {
		s.most.Store(n)
	}
	defer s.asking.Add(-1)
	time.Sleep(s.away)
	u, err := s.Store.Take(ctx, p, key, cost)
	if err == nil && u.Allowed {
		s.admitted.Add(1)
	}
	return u, err
}

func (s *askedStore) Close() error { return nil }

// inBubble runs a test with a limiter under a fake clock.
func inBubble(t *testing.T, test func(t *testing.T, l *core.Limiter, s *askedStore)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &askedStore{Store: core.NewMemory()}
		l := core.New(s)
		test(t, l, s)
		synctest.Wait()
		if n := l.Lines(); n != 0 {
			t.Errorf("%d lines are left", n)
		}
		if err := errors.Join(l.Close(), s.Store.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestWait(t *testing.T) {
	inBubble(t, func(t *testing.T, l *core.Limiter, s *askedStore) {
		p := core.NewPolicy("p", core.Per(2, 10*time.Second))
		begun := time.Now()
		for i, least := range []time.Duration{0, 0, 10 * time.Second, 10 * time.Second, 20 * time.Second} {
			if err := l.Wait(t.Context(), p, "k"); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begun); took < least || took > least+50*time.Millisecond {
				t.Errorf("request %d: admitted after %v, want %v and little more", i, took, least)
			}
		}
		if n := s.asked.Load(); n > 8 {
			t.Errorf("%d decisions for 5 requests", n)
		}
	})
}

// A deadline that can't be met is an error at once, and takes nothing.
func TestWaitDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T, l *core.Limiter, _ *askedStore) {
		p := core.NewPolicy("p", core.Per(2, 10*time.Second))
		allow(t, l, p, "k", 1)
		time.Sleep(time.Second)
		allow(t, l, p, "k", 1)
		begun := time.Now()
		short, cancel := context.WithTimeout(t.Context(), 9*time.Second)
		defer cancel()
		err := l.Wait(short, p, "k")
		var limited *core.LimitedError
		if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &limited) {
			t.Fatalf("%v, want a LimitedError and DeadlineExceeded", err)
		}
		if d := limited.Decision; d.Allowed || d.Policy != p || d.Key != "k" || d.RetryAfter != 9*time.Second {
			t.Errorf("%+v", d)
		}
		if problem := core.ProblemFor(err); problem.Status != http.StatusTooManyRequests || problem.RetryAfter != 9 {
			t.Errorf("%+v", problem)
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("it took %v to say so", took)
		}
		enough, cancel := context.WithTimeout(t.Context(), 9*time.Second+2*time.Millisecond)
		defer cancel()
		if err := l.Wait(enough, p, "k"); err != nil {
			t.Errorf("with time enough: %v", err)
		}
	})
}

// Who joins a line whose wait is too long, or stands in it, does not wait either.
func TestWaitDeadlineInLine(t *testing.T) {
	inBubble(t, func(t *testing.T, l *core.Limiter, s *askedStore) {
		p := core.NewPolicy("p", core.PerMinute(1))
		s.away = 100 * time.Millisecond // so that others stand in line by the first denial
		if err := l.Wait(t.Context(), p, "k"); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		var calls sync.WaitGroup
		wait := func(d, want time.Duration) {
			calls.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), d)
				defer cancel()
				err := l.Wait(ctx, p, "k")
				var limited *core.LimitedError
				if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &limited) {
					t.Errorf("deadline in %v: %v", d, err)
				} else if took := time.Since(begun); took != want {
					t.Errorf("deadline in %v: failed after %v, want %v", d, took, want)
				}
			})
		}
		leave, left := context.WithCancel(t.Context())
		calls.Go(func() {
			if err := l.Wait(leave, p, "k"); !errors.Is(err, context.Canceled) {
				t.Errorf("who leaves: %v", err)
			}
		})
		synctest.Wait()
		wait(30*time.Second, 100*time.Millisecond) // stands in line when the first one is denied
		time.Sleep(5 * time.Second)
		wait(40*time.Second, 5*time.Second) // joins later
		time.Sleep(time.Second)
		left()
		calls.Wait()
		if n := s.asked.Load(); n != 2 {
			t.Errorf("%d decisions, want 2", n)
		}
	})
}

// What waiting does not change is an error at once, also for who would stand in a line.
func TestWaitFailsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, l *core.Limiter, s *askedStore) {
		p := core.NewPolicy("p", core.PerMinute(1))
		costs := core.NewPolicy("costs", core.PerMinute(10), core.VariableCost())
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		late, cancel := context.WithDeadline(t.Context(), time.Now())
		defer cancel()
		held, release := context.WithCancel(t.Context())
		var holders sync.WaitGroup
		for _, key := range []string{"k", "blocked", "banned"} {
			allow(t, l, p, key, 1)
			holders.Go(func() { _ = l.Wait(held, p, key) })
		}
		synctest.Wait()
		setRules(t, l, core.Rule{Kind: core.RuleBlock, Key: "blocked"}, core.Rule{Kind: core.RuleExempt, Key: "exempt"})
		if err := l.Ban(t.Context(), "banned", time.Second); err != nil {
			t.Fatal(err)
		}
		before := s.asked.Load()
		var limited *core.LimitedError
		for name, c := range map[string]struct {
			ctx    context.Context
			policy *core.Policy
			key    string
			cost   int64
			ok     func(error) bool
		}{
			"no policy":            {t.Context(), nil, "k", 1, func(err error) bool { return errors.Is(err, core.ErrNoPolicy) }},
			"no key":               {t.Context(), p, "", 1, func(err error) bool { return errors.Is(err, core.ErrNoKey) }},
			"no cost":              {t.Context(), costs, "k", 0, func(err error) bool { return errors.Is(err, core.ErrCost) }},
			"a cost of requests":   {t.Context(), p, "k", 2, func(err error) bool { return errors.Is(err, core.ErrCost) }},
			"more than the limit":  {t.Context(), costs, "k", 11, func(err error) bool { return errors.Is(err, core.ErrCost) }},
			"blocked":              {t.Context(), p, "blocked", 1, func(err error) bool { return errors.As(err, &limited) && limited.Decision.Reason == core.ReasonBlocked }},
			"banned":               {t.Context(), p, "banned", 1, func(err error) bool { return errors.As(err, &limited) && limited.Decision.Reason == core.ReasonBanned }},
			"exempt":               {t.Context(), p, "exempt", 1, func(err error) bool { return err == nil }},
			"canceled before":      {gone, p, "other", 1, func(err error) bool { return errors.Is(err, context.Canceled) }},
			"too late before":      {late, p, "other", 1, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
			"too late for a line":  {late, p, "k", 1, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
			"canceled in the line": {gone, p, "k", 1, func(err error) bool { return errors.Is(err, context.Canceled) }},
		} {
			begun := time.Now()
			if err := l.WaitN(c.ctx, c.policy, c.key, c.cost); !c.ok(err) {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(begun); took != 0 {
				t.Errorf("%s: took %v", name, took)
			}
		}
		if n := s.asked.Load() - before; n != 0 {
			t.Errorf("%d decisions by the store", n)
		}
		release()
		holders.Wait()
	})
}

// Close ends the waits, and later ones do not begin.
func TestWaitClose(t *testing.T) {
	inBubble(t, func(t *testing.T, l *core.Limiter, _ *askedStore) {
		p := core.NewPolicy("p", core.PerMinute(1))
		allow(t, l, p, "k", 1)
		var calls sync.WaitGroup
		begun := time.Now()
		for range 3 {
			calls.Go(func() {
				if err := l.Wait(t.Context(), p, "k"); !errors.Is(err, store.ErrClosed) {
					t.Errorf("%v, want ErrClosed", err)
				}
			})
		}
		synctest.Wait()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		calls.Wait()
		if err := l.Wait(t.Context(), p, "k"); !errors.Is(err, store.ErrClosed) {
			t.Errorf("after Close: %v, want ErrClosed", err)
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// Who leaves hands the turn on, wherever in the line.
func TestWaitLeave(t *testing.T) {
	inBubble(t, func(t *testing.T, l *core.Limiter, _ *askedStore) {
		p := core.NewPolicy("p", core.PerMinute(1))
		allow(t, l, p, "k", 1)
		begun := time.Now()
		var calls sync.WaitGroup
		for i := range 5 {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i != 3 {
				time.AfterFunc(time.Duration(i+1)*10*time.Second, cancel)
			}
			calls.Go(func() {
				switch err := l.Wait(ctx, p, "k"); {
				case i == 3 && err != nil:
					t.Errorf("who stays: %v", err)
				case i != 3 && !errors.Is(err, context.Canceled):
					t.Errorf("who leaves: %v", err)
				case i == 3 && time.Since(begun) > time.Minute+50*time.Millisecond:
					t.Errorf("admitted after %v", time.Since(begun))
				}
			})
			synctest.Wait()
		}
		calls.Wait()
	})
}

// Many who wait on one key ask at most twice for each admitted request, in one process
// and in several that compete.
func TestWaitCosts(t *testing.T) {
	for name, c := range map[string]struct {
		processes int
		limits    []core.PolicyOption
		cost      int64
		spread    bool // the log is full of entries that leave one by one
	}{
		"one process":       {1, []core.PolicyOption{core.PerMinute(100)}, 1, false},
		"slow limit":        {1, []core.PolicyOption{core.Per(2, time.Minute)}, 1, false},
		"fast limit":        {1, []core.PolicyOption{core.PerSecond(100)}, 1, false},
		"several limits":    {1, []core.PolicyOption{core.PerSecond(5), core.PerMinute(100)}, 1, false},
		"costs":             {1, []core.PolicyOption{core.PerMinute(1000), core.VariableCost()}, 30, false},
		"two processes":     {2, []core.PolicyOption{core.PerSecond(20)}, 1, false},
		"eight processes":   {8, []core.PolicyOption{core.PerSecond(20)}, 1, false},
		"eight, slow":       {8, []core.PolicyOption{core.PerMinute(100)}, 1, false},
		"eight with costs":  {8, []core.PolicyOption{core.PerMinute(1000), core.VariableCost()}, 30, false},
		"one by one":        {1, []core.PolicyOption{core.PerMinute(100)}, 1, true},
		"two, one by one":   {2, []core.PolicyOption{core.PerMinute(100)}, 1, true},
		"eight, one by one": {8, []core.PolicyOption{core.PerMinute(100)}, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, l *core.Limiter, s *askedStore) {
				const waiters = 1000
				s.away = time.Millisecond
				limiters := []*core.Limiter{l}
				for len(limiters) < c.processes {
					other := core.New(s)
					defer other.Close()
					limiters = append(limiters, other)
				}
				p := core.NewPolicy("p", c.limits...)
				before := int64(0)
				if c.spread {
					for range 100 {
						allow(t, l, p, "k", 1)
						time.Sleep(600*time.Millisecond - s.away)
					}
					before = 100
				}
				begun := time.Now()
				var calls sync.WaitGroup
				for i := range waiters {
					calls.Go(func() {
						if err := limiters[i%c.processes].WaitN(t.Context(), p, "k", c.cost); err != nil {
							t.Error(err)
						}
					})
				}
				calls.Wait()
				took := time.Since(begun)
				if n := s.admitted.Load() - before; n != waiters {
					t.Errorf("%d requests are admitted, want %d", n, waiters)
				}
				if n := s.asked.Load() - before; n > 2*waiters {
					t.Errorf("%d decisions for %d requests", n, waiters)
				}
				// Little of the limit is left unused.
				var least time.Duration
				for _, limit := range p.Limits() {
					windows := (waiters*c.cost - 1) / (limit.Max - limit.Max%c.cost)
					least = max(least, time.Duration(windows)*limit.Window)
				}
				if took < least || took > least+least/5 {
					t.Errorf("took %v, want from %v to 20%% more", took, least)
				}
				t.Logf("%d decisions, %v of %v", s.asked.Load()-before, took, least)
			})
		})
	}
}

// With room for all, nobody waits for a round trip of each who came before, and the store
// is not flooded.
func TestWaitWithRoom(t *testing.T) {
	inBubble(t, func(t *testing.T, l *core.Limiter, s *askedStore) {
		s.away = 10 * time.Millisecond
		p := core.NewPolicy("p", core.PerMinute(10_000))
		begun := time.Now()
		var calls sync.WaitGroup
		for range 1000 {
			calls.Go(func() {
				if err := l.Wait(t.Context(), p, "k"); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		if took := time.Since(begun); took > 300*time.Millisecond || s.asked.Load() != 1000 || s.most.Load() > 64 {
			t.Errorf("took %v, with %d decisions, %d at once", took, s.asked.Load(), s.most.Load())
		}
	})
}

// A large cost gets its turn while small ones keep coming. If it leaves, those behind do
// not wait for as long as it would have.
func TestWaitLargeCost(t *testing.T) {
	inBubble(t, func(t *testing.T, l *core.Limiter, _ *askedStore) {
		p := core.NewPolicy("p", core.PerMinute(100), core.VariableCost())
		for range 10 {
			allow(t, l, p, "k", 10)
			time.Sleep(time.Second)
		}
		begun := time.Now()
		large, leave := context.WithCancel(t.Context())
		defer leave()
		var calls sync.WaitGroup
		calls.Go(func() {
			if err := l.WaitN(t.Context(), p, "k", 80); err != nil || time.Since(begun) > 58*time.Second {
				t.Errorf("80 units: %v, after %v", err, time.Since(begun))
			}
		})
		synctest.Wait()
		calls.Go(func() {
			if err := l.WaitN(large, p, "k", 100); !errors.Is(err, context.Canceled) {
				t.Errorf("100 units: %v", err)
			}
		})
		synctest.Wait()
		for range 20 {
			calls.Go(func() {
				if err := l.Wait(t.Context(), p, "k"); err != nil {
					t.Error(err)
				}
				if took := time.Since(begun); took < 56*time.Second || took > 61*time.Second {
					t.Errorf("1 unit: after %v", took)
				}
			})
		}
		time.Sleep(60 * time.Second)
		leave()
		calls.Wait()
	})
}

// Callers come, leave and run out of time at random, with any cost. Nobody is forgotten, who
// stays is admitted, and a deadline is an error at once or at its time, never later.
func TestWaitRandom(t *testing.T) {
	for seed := range uint64(30) {
		inBubble(t, func(t *testing.T, l *core.Limiter, s *askedStore) {
			s.away = 3 * time.Millisecond
			r := rand.New(rand.NewPCG(seed, 7))
			p := core.NewPolicy("p", core.Per(20, time.Second), core.Per(100, 10*time.Second), core.VariableCost())
			var admitted atomic.Int64
			var calls sync.WaitGroup
			for range 300 {
				cost, way := 1+r.Int64N(5), r.IntN(3)
				patience := time.Duration(r.Int64N(int64(20 * time.Second)))
				calls.Go(func() {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					switch way {
					case 0:
						time.AfterFunc(patience, cancel)
					case 1:
						ctx, cancel = context.WithTimeout(ctx, patience)
						defer cancel()
					}
					begun := time.Now()
					switch err := l.WaitN(ctx, p, "k", cost); {
					case err == nil:
						admitted.Add(cost)
					case way == 0 && errors.Is(err, context.Canceled):
					case way == 1 && errors.Is(err, context.DeadlineExceeded):
					default:
						t.Errorf("seed %d, way %d: %v", seed, way, err)
					}
					if took := time.Since(begun); way != 2 && took > patience+s.away {
						t.Errorf("seed %d: patience of %v took %v", seed, patience, took)
					}
				})
				time.Sleep(time.Duration(r.Int64N(int64(50 * time.Millisecond))))
			}
			calls.Wait()
			if admitted.Load() == 0 || s.asked.Load() > 1000 {
				t.Errorf("seed %d: %d units admitted by %d decisions", seed, admitted.Load(), s.asked.Load())
			}
		})
	}
}

// Without the store, the failure mode answers.
func TestWaitWithoutStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failing := newFailingStore()
		failing.fail(errStore)
		l := core.New(failing, core.WithLogger(slog.New(slog.DiscardHandler)))
		defer l.Close()
		begun := time.Now()
		for _, mode := range []core.FailureMode{core.FailClosed, core.FailOpen} {
			p := core.NewPolicy(string(mode), core.PerMinute(1), core.OnStoreFailure(mode))
			for range 20 { // the circuit opens meanwhile
				if err := l.Wait(t.Context(), p, "k"); (err != nil) != (mode == core.FailClosed) {
					t.Errorf("%s: %v", mode, err)
				}
			}
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("took %v", took)
		}
		local := core.NewPolicy("local", core.PerMinute(1))
		for want := range 3 {
			if err := l.Wait(t.Context(), local, "k"); err != nil {
				t.Fatal(err)
			}
			if minutes := int(time.Since(begun) / time.Minute); minutes != want {
				t.Errorf("request %d of this process's memory after %v", want, time.Since(begun))
			}
		}
	})
}

// A process that is too slow to ask does not wait, by default.
func TestWaitOverloaded(t *testing.T) {
	l, failing := failing(t, core.WithLogger(slog.New(slog.DiscardHandler)))
	failing.fail(core.ErrOverloaded)
	if err := l.Wait(t.Context(), core.NewPolicy("p", core.PerMinute(1)), "k"); !errors.Is(err, core.ErrOverloaded) {
		t.Errorf("%v, want ErrOverloaded", err)
	}
}

// panicking is an observer that panics once.
type panicking struct{ done atomic.Bool }

func (p *panicking) Observe(core.Observation) {
	if !p.done.Swap(true) {
		panic("observer")
	}
}

// Who panics hands the turn on.
func TestWaitPanic(t *testing.T) {
	l := core.New(core.NewMemory(), core.WithObserver(&panicking{}))
	defer l.Close()
	p := core.NewPolicy("p", core.PerMinute(10))
	func() {
		defer func() { _ = recover() }()
		_ = l.Wait(t.Context(), p, "k")
	}()
	if err := l.Wait(t.Context(), p, "k"); err != nil || l.Lines() != 0 {
		t.Errorf("%v, %d lines", err, l.Lines())
	}
}
