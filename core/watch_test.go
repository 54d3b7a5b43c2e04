package core_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

// Limiters on one store follow each other's rules within a second.
func TestRulesReachOtherLimiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := core.NewMemory()
		one, two := core.New(store), core.New(store)
		defer two.Close()
		defer one.Close()
		p := core.NewPolicy("p", core.PerMinute(1000))
		for _, step := range []struct {
			change func() error
			reason core.Reason
			max    int64
		}{
			{func() error { return one.Ban(t.Context(), "k", time.Hour) }, core.ReasonBanned, 1000},
			{func() error { return one.SetRule(t.Context(), core.Rule{Kind: core.RuleBlock, Key: "k"}) }, core.ReasonBlocked, 1000},
			{func() error {
				return one.SetRule(t.Context(), core.Rule{Kind: core.RuleOverride, Policy: "p", Limits: []core.Limit{core.PerMinute(7)}})
			}, core.ReasonBlocked, 7},
			{func() error { _, err := one.DeleteRule(t.Context(), "block key k"); return err }, core.ReasonBanned, 7},
			{func() error { _, err := one.Unban(t.Context(), "k"); return err }, core.ReasonLimits, 7},
			{func() error { _, err := one.DeleteRule(t.Context(), "override policy p"); return err }, core.ReasonLimits, 1000},
		} {
			if err := step.change(); err != nil {
				t.Fatal(err)
			}
			for _, l := range []*core.Limiter{one, two} {
				maxOf(t, l, p) // has it look for changes
				synctest.Wait()
				d, err := l.Peek(t.Context(), p, "k")
				if err != nil || d.Reason != step.reason || d.Limit.Max != step.max {
					t.Errorf("%+v, %v, want %v and %d", d, err, step.reason, step.max)
				}
				time.Sleep(time.Second)
			}
		}
	})
}

// rulesStore is a memory store whose rules are read as a test says.
type rulesStore struct {
	core.Store
	read func(ctx context.Context, known string) (store.RuleChanges, error)
}

func (s *rulesStore) Rules(ctx context.Context, known string) (store.RuleChanges, error) {
	return s.read(ctx, known)
}

// A store that does not answer about rules holds up neither decisions nor Close.
func TestCloseEndsWatching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := &rulesStore{Store: core.NewMemory(), read: func(ctx context.Context, _ string) (store.RuleChanges, error) {
			<-ctx.Done()
			return store.RuleChanges{}, ctx.Err()
		}}
		l := core.New(hangs)
		allow(t, l, core.NewPolicy("p", core.PerMinute(1)), "k", 1)
		time.Sleep(5 * time.Second)
		start := time.Now()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("Close waited %v for a store that hangs", waited)
		}
	})
}

// An answer that is older than the rules that are known is not taken over.
func TestOlderRulesAreNotTaken(t *testing.T) {
	memory := core.NewMemory()
	var slow atomic.Bool
	reading, goOn := make(chan struct{}), make(chan struct{})
	shared := &rulesStore{Store: memory}
	shared.read = func(ctx context.Context, known string) (store.RuleChanges, error) {
		changes, err := memory.Rules(ctx, known)
		if slow.CompareAndSwap(true, false) {
			close(reading)
			<-goOn
		}
		return changes, err
	}
	l := core.New(shared)
	defer l.Close()
	p := core.NewPolicy("p", core.PerMinute(1000))
	// Another process sets a rule, which one reader has seen and is slow to tell.
	if err := memory.SetRule(t.Context(), core.Rule{Kind: core.RuleExempt, Key: "k"}.Stored()); err != nil {
		t.Fatal(err)
	}
	slow.Store(true)
	done := make(chan error, 1)
	go func() {
		_, err := l.Rules(context.Background())
		done <- err
	}()
	<-reading
	setRules(t, l, core.Rule{Kind: core.RuleBlock, Key: "k"})
	if d := allow(t, l, p, "k", 1); d.Reason != core.ReasonBlocked {
		t.Fatalf("%+v", d)
	}
	close(goOn)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if d := allow(t, l, p, "k", 1); d.Reason != core.ReasonBlocked {
		t.Errorf("older rules have come back: %+v", d)
	}
}

// busy has a limiter decide ten times a second until stop is called.
func busy(l *core.Limiter, p *core.Policy) (stop func()) {
	done := make(chan struct{})
	go func() {
		for {
			_, _ = l.Peek(context.Background(), p, "busy")
			select {
			case <-done:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	return func() { close(done) }
}

// readingStore counts how often rules are read.
type readingStore struct {
	core.Store
	reads atomic.Int64
}

func (s *readingStore) Rules(ctx context.Context, known string) (store.RuleChanges, error) {
	s.reads.Add(1)
	return s.Store.Rules(ctx, known)
}

// A limiter looks for changed rules once at its start, and then when it decides: at
// once after an idle time, and at most once in an interval.
func TestIdleLimiterDoesNotLook(t *testing.T) {
	for name, c := range map[string]struct {
		options  []core.Option
		interval time.Duration
	}{
		"by default": {nil, 400 * time.Millisecond},
		"seldom":     {[]core.Option{core.WithRulesInterval(10 * time.Second)}, 10 * time.Second},
		"often":      {[]core.Option{core.WithRulesInterval(time.Millisecond)}, time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := core.NewMemory()
				store := &readingStore{Store: memory}
				l := core.New(store, c.options...)
				defer l.Close()
				p := core.NewPolicy("p", core.PerMinute(1000))
				reads := func(want int64) {
					t.Helper()
					synctest.Wait()
					if got := store.reads.Swap(0); got != want {
						t.Errorf("%d reads, want %d", got, want)
					}
				}
				reads(1)
				time.Sleep(time.Hour)
				reads(0)
				if err := memory.SetRule(t.Context(), core.Rule{Kind: core.RuleBlock, Key: "k"}.Stored()); err != nil {
					t.Fatal(err)
				}
				for range 2 { // the first one waits for a look
					if d := allow(t, l, p, "k", 1); d.Reason != core.ReasonBlocked {
						t.Errorf("after an hour: %+v", d)
					}
				}
				reads(1)
				for range 10 {
					allow(t, l, p, "k", 1)
				}
				time.Sleep(c.interval)
				reads(1)
				time.Sleep(time.Hour)
				reads(0)
			})
		})
	}
	for _, d := range []time.Duration{0, -time.Second, time.Microsecond} {
		panics(t, "use at least 1ms", func() { core.WithRulesInterval(d) })
	}
}

// Rules end by the store's clock, however far this process's is from it.
func TestRulesEndByTheStoresClock(t *testing.T) {
	for _, off := range []time.Duration{-5 * time.Hour, 0, 5 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			l := core.New(core.NewMemory(core.WithClock(func() time.Time { return time.Now().Add(off) })))
			defer l.Close()
			p := core.NewPolicy("p", core.PerMinute(1000))
			if err := l.Ban(t.Context(), "k", time.Minute); err != nil {
				t.Fatal(err)
			}
			now, err := l.Now(t.Context())
			if err != nil || !now.Equal(time.Now().Add(off)) {
				t.Errorf("the store's time is %v, %v", now, err)
			}
			setRules(t, l, core.Rule{Kind: core.RuleOverride, Policy: "p", Limits: []core.Limit{core.PerMinute(5)}, Until: now.Add(time.Minute)})
			time.Sleep(time.Minute - time.Millisecond)
			if d := allow(t, l, p, "k", 1); d.Reason != core.ReasonBanned || d.RetryAfter != time.Millisecond || maxOf(t, l, p) != 5 {
				t.Errorf("clock off by %v, before the end: %+v", off, d)
			}
			time.Sleep(time.Millisecond)
			synctest.Wait()
			if d := allow(t, l, p, "k", 1); d.Reason != core.ReasonLimits || d.Limit.Max != 1000 {
				t.Errorf("clock off by %v, after the end: %+v", off, d)
			}
		})
	}
}

// Rules that can't be read stay as they are, and are warned of once, when that
// has lasted.
func TestUnreadRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := core.NewMemory()
		var failing, down atomic.Bool
		shared := &rulesStore{Store: memory}
		shared.read = func(ctx context.Context, known string) (store.RuleChanges, error) {
			if down.Load() {
				return store.RuleChanges{}, errors.New("no answer")
			}
			if failing.Load() {
				return store.RuleChanges{}, fmt.Errorf("%w: NOPERM", store.ErrRejected)
			}
			return memory.Rules(ctx, known)
		}
		var log lines
		l := core.New(shared, log.option())
		defer l.Close()
		p := core.NewPolicy("p", core.PerMinute(1000))
		setRules(t, l, core.Rule{Kind: core.RuleBlock, Key: "k"})
		defer busy(l, p)()
		failing.Store(true)
		time.Sleep(time.Second)
		failing.Store(false)
		time.Sleep(time.Second)
		if log.String() != "" {
			t.Errorf("a second of failures is logged: %s", log.String())
		}
		down.Store(true)
		time.Sleep(time.Hour)
		down.Store(false)
		time.Sleep(time.Second)
		if log.String() != "" {
			t.Errorf("a store that is down does not concern the rules: %s", log.String())
		}
		failing.Store(true)
		time.Sleep(time.Hour)
		if log.count("STREAMLIMIT_W008") != 1 || log.count("") != 1 || log.count("NOPERM") != 1 {
			t.Errorf("log %s, want W008 once", log.String())
		}
		if d := allow(t, l, p, "k", 1); d.Reason != core.ReasonBlocked {
			t.Errorf("known rules are forgotten: %+v", d)
		}
		// The rule is set, but not known to be: an error says so.
		if err := l.SetRule(t.Context(), core.Rule{Kind: core.RuleBlock, Key: "other"}); err == nil {
			t.Error("a rule that was not read back is not an error")
		}
		if _, err := l.Rules(t.Context()); err == nil {
			t.Error("rules that can't be read are listed")
		}
		failing.Store(false)
		time.Sleep(time.Second)
		if d := allow(t, l, p, "other", 1); d.Reason != core.ReasonBlocked {
			t.Errorf("a rule is not seen when it can be: %+v", d)
		}
	})
}

func stored(rules ...core.Rule) (kept []store.Rule) {
	for _, r := range rules {
		kept = append(kept, r.Stored())
	}
	return kept
}

// Rules in the store that mean nothing are passed over.
func TestMeaninglessRules(t *testing.T) {
	var log lines
	store := &rulesStore{Store: core.NewMemory(), read: func(context.Context, string) (store.RuleChanges, error) {
		return store.RuleChanges{Version: "1", All: true, Set: stored(
			core.Rule{Kind: "tarpit", Key: "k"}, core.Rule{Kind: core.RuleBlock}, core.Rule{}, core.Rule{Kind: core.RuleBan, Key: "k"},
			core.Rule{Kind: core.RuleOverride, Policy: "p"}, core.Rule{Kind: core.RuleSwitch, Policy: "p", Mode: "slow"}, core.Rule{Kind: core.RuleExempt, Key: "good"},
		)}, nil
	}}
	l := core.New(store, log.option())
	defer l.Close()
	rules, err := l.Rules(t.Context())
	if err != nil || len(rules) != 1 || rules[0].Key != "good" {
		t.Errorf("rules %v, %v", rules, err)
	}
	if d := allow(t, l, core.NewPolicy("p", core.PerMinute(3)), "k", 1); !d.Allowed || d.Reason != core.ReasonLimits {
		t.Errorf("%+v", d)
	}
	if log.count("passed over") != 1 || log.count("rules=6") != 1 {
		t.Errorf("%s, want one line about 6 rules", log.String())
	}
}

// The first decision after a time without any goes by the rules that are in force, and
// does not wait long for them.
func TestFirstDecisionAfterAQuietTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slowRules{Store: core.NewMemory()}
		l := core.New(store)
		defer l.Close()
		p := core.NewPolicy("p", core.PerHour(1000))
		allow(t, l, p, "k", 1)
		for _, takes := range []time.Duration{0, 90 * time.Millisecond, time.Second} {
			store.takes.Store(int64(takes))
			for _, block := range []bool{true, false} {
				time.Sleep(2 * time.Second)
				if block {
					if err := store.SetRule(t.Context(), core.Rule{Kind: core.RuleBlock, Key: "k"}.Stored()); err != nil {
						t.Fatal(err)
					}
				} else if _, err := store.DeleteRule(t.Context(), core.Rule{Kind: core.RuleBlock, Key: "k"}.ID()); err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				d := allow(t, l, p, "k", 1)
				if took := time.Since(begun); took > 100*time.Millisecond {
					t.Errorf("a look of %v: the decision took %v", takes, took)
				}
				if seen := (d.Reason == core.ReasonBlocked) == block; seen != (takes < 100*time.Millisecond) {
					t.Errorf("a look of %v: reason %v, blocked %v", takes, d.Reason, block)
				}
			}
		}
	})
}

// slowRules takes a time to tell its rules.
type slowRules struct {
	core.Store
	takes atomic.Int64
}

func (s *slowRules) Rules(ctx context.Context, known string) (store.RuleChanges, error) {
	time.Sleep(time.Duration(s.takes.Load()))
	return s.Store.Rules(ctx, known)
}
