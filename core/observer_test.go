package core_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

type observed []core.Observation

func (o *observed) Observe(one core.Observation) { *o = append(*o, one) }

func (o *observed) last(t *testing.T) core.Observation {
	t.Helper()
	if len(*o) == 0 {
		t.Fatal("told nothing")
	}
	return (*o)[len(*o)-1]
}

func TestObserver(t *testing.T) {
	var first, second observed
	store := newFailingStore()
	l := core.New(store, core.WithObserver(&first), core.WithObserver(&second), (&lines{}).option())
	defer l.Close()
	p := core.NewPolicy("p", core.PerHour(1))
	shadow := core.NewPolicy("s", core.PerHour(1), core.Shadow())
	closed := core.NewPolicy("c", core.PerHour(1), core.OnStoreFailure(core.FailClosed))
	check := func(what string, p *core.Policy, result core.Result, source core.Source) core.Observation {
		t.Helper()
		_, _ = l.Allow(t.Context(), p, "k")
		o := first.last(t)
		if o.Policy != p || o.Key != "k" || o.Cost != 1 || o.Route != "" || o.Result != result || o.Source != source || o.Took < 0 || o.Took > time.Minute {
			t.Errorf("%s: told %+v", what, o)
		}
		return o
	}
	if o := check("first", p, core.ResultAllowed, core.SourceMemory); o.Remaining != 0 || o.Limit.Max != 1 {
		t.Errorf("told %+v", o)
	}
	if o := check("second", p, core.ResultDenied, core.SourceMemory); o.RetryAfter <= 0 {
		t.Errorf("told %+v", o)
	}
	check("shadow", shadow, core.ResultAllowed, core.SourceMemory)
	check("shadow", shadow, core.ResultShadowDenied, core.SourceMemory)
	store.fail(errStore)
	check("local", p, core.ResultAllowed, core.SourceFallback)
	if o := check("closed", closed, core.ResultError, core.SourceNone); !errors.Is(o.Err, errStore) {
		t.Errorf("told %+v", o)
	}
	store.fail(nil)
	before := len(first)
	if _, err := l.Peek(t.Context(), p, "k"); err != nil || len(first) != before {
		t.Error("a peek was observed")
	}
	if _, err := l.AllowAll(t.Context(), core.Charge{Policy: p, Key: "k2"}, core.Charge{Policy: p, Key: "k3"}); err != nil || len(first) != before+2 {
		t.Errorf("%d of 2 decisions observed, %v", len(first)-before, err)
	}
	for i, o := range first {
		if o.Context != t.Context() {
			t.Errorf("decision %d: another context than that of the request", i)
		}
	}
	if len(second) != len(first) {
		t.Errorf("the second observer got %d decisions, the first %d", len(second), len(first))
	}
	panics(t, "leave the option out", func() { core.WithObserver(nil) })
}

// The units of AllowUpTo are those that it took.
func TestObserverUpTo(t *testing.T) {
	var seen observed
	l, _ := newLimiter(t, core.WithObserver(&seen))
	p := core.NewPolicy("p", core.PerHour(10), core.VariableCost())
	for i, want := range []int64{7, 3, 1} {
		if d, err := l.AllowUpTo(t.Context(), p, "k", 7); err != nil || d.Cost != want {
			t.Fatalf("request %d: %+v, %v", i, d, err)
		}
		if got := seen.last(t).Cost; got != want {
			t.Errorf("request %d: %d units are observed, want %d", i, got, want)
		}
	}
}

func TestResultString(t *testing.T) {
	for result, want := range map[core.Result]string{
		0: "none", core.ResultAllowed: "allowed", core.ResultDenied: "denied", core.ResultShadowDenied: "shadow_denied",
		core.ResultOverloaded: "overloaded", core.ResultError: "error",
	} {
		if got := result.String(); got != want {
			t.Errorf("%d is %q, want %q", result, got, want)
		}
	}
}

// A decision without the store says what it was, and that the store did not make it.
func TestOutcomesWithoutTheStore(t *testing.T) {
	var told observed
	store := newFailingStore()
	store.fail(errStore)
	l := core.New(store, core.WithObserver(&told), (&lines{}).option())
	defer l.Close()
	local := core.NewPolicy("local", core.PerHour(3))
	open := core.NewPolicy("open", core.PerHour(1), core.OnStoreFailure(core.FailOpen))
	closed := core.NewPolicy("closed", core.PerHour(1), core.OnStoreFailure(core.FailClosed))
	check := func(p *core.Policy, result core.Result, source core.Source, reason core.Reason) {
		t.Helper()
		_, _ = l.Allow(t.Context(), p, "k")
		if o := told.last(t); o.Result != result || o.Request != result || o.Source != source || o.Reason != reason {
			t.Errorf("%s: %+v, want %v by %v, %v", p.Name(), o, result, source, reason)
		}
	}
	for i := range 5 {
		result := core.ResultAllowed
		if i >= 3 {
			result = core.ResultDenied
		}
		check(local, result, core.SourceFallback, core.ReasonLimits)
	}
	check(open, core.ResultAllowed, core.SourceNone, core.ReasonFailOpen)
	check(closed, core.ResultError, core.SourceNone, "")
	store.fail(fmt.Errorf("queue: %w", core.ErrOverloaded))
	check(closed, core.ResultOverloaded, core.SourceNone, "")
	if o := told.last(t); !errors.Is(o.Err, core.ErrOverloaded) {
		t.Errorf("the error is %v", o.Err)
	}
}

// Each request counts once, as the gravest of its results, however many policies
// and limits it is under.
func TestRequestsAreCountedOnce(t *testing.T) {
	var told observed
	l := core.New(core.NewMemory(), core.WithObserver(&told))
	defer l.Close()
	wide, narrow := core.NewPolicy("wide", core.PerHour(9)), core.NewPolicy("narrow", core.PerHour(1))
	shadow := core.NewPolicy("shadow", core.PerHour(1), core.Shadow())
	ask := func(policies ...*core.Policy) (asks []core.Charge) {
		for _, p := range policies {
			asks = append(asks, core.Charge{Policy: p, Key: "k"})
		}
		return asks
	}
	for i, c := range []struct {
		before core.Result
		asks   []core.Charge
		want   [][2]core.Result // before, and by this one
	}{
		{0, ask(wide, narrow, shadow), [][2]core.Result{{0, 1}, {1, 1}, {1, 1}}},
		{0, ask(wide, shadow), [][2]core.Result{{0, 2}, {2, 2}}},
		{0, ask(wide, narrow), [][2]core.Result{{0, 3}, {3, 3}}},
		{core.ResultAllowed, ask(wide), [][2]core.Result{{1, 1}}},
		{core.ResultAllowed, ask(narrow), [][2]core.Result{{1, 3}}},
		{core.ResultAllowed, ask(wide, narrow), [][2]core.Result{{1, 3}, {3, 3}}},
		{core.ResultShadowDenied, ask(wide), [][2]core.Result{{2, 2}}},
		{0, ask(wide), [][2]core.Result{{0, 1}}},
	} {
		told = nil
		if _, err := l.Decide(t.Context(), core.Request{Before: c.before}, c.asks, nil); err != nil {
			t.Fatal(err)
		}
		var got [][2]core.Result
		for _, o := range told {
			got = append(got, [2]core.Result{o.Before, o.Request})
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("request %d is %v, want %v", i, got, c.want)
		}
	}
}

type ignorant struct{}

func (ignorant) Observe(core.Observation) {}

// A decision about a key that is known allocates nothing, whether it is observed or
// not.
func TestDecisionAllocates(t *testing.T) {
	ctx := context.Background()
	for name, options := range map[string][]core.Option{"unobserved": nil, "observed": {core.WithObserver(ignorant{})}} {
		for _, limit := range []int64{1, 1_000_000} {
			l := core.New(core.NewMemory(), options...)
			p := core.NewPolicy("p", core.PerHour(limit))
			allow(t, l, p, "k", 1)
			if n := testing.AllocsPerRun(1000, func() { _, _ = l.Allow(ctx, p, "k") }); n != 0 {
				t.Errorf("%s, limit %d: %v allocations", name, limit, n)
			}
			l.Close()
		}
	}
}
