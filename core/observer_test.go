package core_test

import (
	"context"
	"errors"
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
	closed := core.NewPolicy("c", core.PerHour(1), core.OnFailure(core.FailClosed))
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
	if o := check("closed", closed, core.ResultError, 0); !errors.Is(o.Err, errStore) {
		t.Errorf("told %+v", o)
	}
	store.fail(nil)
	before := len(first)
	if _, err := l.Peek(t.Context(), p, "k"); err != nil || len(first) != before {
		t.Error("told of a peek")
	}
	if _, err := l.AllowAll(t.Context(), core.Ask{Policy: p, Key: "k2"}, core.Ask{Policy: p, Key: "k3"}); err != nil || len(first) != before+2 {
		t.Errorf("told of %d of 2 decisions, %v", len(first)-before, err)
	}
	for i, o := range first {
		if o.Context != t.Context() {
			t.Errorf("decision %d: told of another context than the question's", i)
		}
	}
	if len(second) != len(first) {
		t.Errorf("the second observer was told of %d decisions, the first of %d", len(second), len(first))
	}
	panics(t, "leave the option out", func() { core.WithObserver(nil) })
}

// The order is that of the numbers which processes send each other.
func TestResultString(t *testing.T) {
	for i, want := range []string{"allowed", "denied", "shadow_denied", "fallback", "error"} {
		if got := core.Result(i).String(); got != want {
			t.Errorf("%d is %q, want %q", i, got, want)
		}
	}
}

// A decision without the store counts as that, and an error as an error.
func TestCountedAs(t *testing.T) {
	results := []core.Result{core.ResultAllowed, core.ResultDenied, core.ResultShadowDenied}
	for _, c := range []struct {
		source   core.Source
		reason   core.Reason
		fallback bool
	}{
		{core.SourceRedis, core.ReasonLimits, false},
		{core.SourceMemory, core.ReasonLimits, false},
		{core.SourceFallback, core.ReasonLimits, true},
		{core.SourceNone, core.ReasonFailOpen, true},
		{core.SourceNone, core.ReasonExempt, false}, // a rule needs no store
		{core.SourceNone, core.ReasonBlocked, false},
		{core.SourceNone, core.ReasonBanned, false},
	} {
		for _, result := range results {
			o := core.Observation{Result: result, Source: c.source, Reason: c.reason}
			want := result
			if c.fallback {
				want = core.ResultFallback
			}
			if got := o.CountedAs(); got != want || o.Result != result {
				t.Errorf("%v by %v, %v: counts as %v, want %v", result, c.source, c.reason, got, want)
			}
		}
	}
	for _, source := range []core.Source{0, core.SourceFallback} {
		o := core.Observation{Result: core.ResultError, Source: source}
		if got := o.CountedAs(); got != core.ResultError {
			t.Errorf("an error counts as %v", got)
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
