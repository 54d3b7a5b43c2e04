package core_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
	"github.com/streamlimit/streamlimit/core/store"
)

// testClock is a clock that moves when told to.
type testClock struct{ ms atomic.Int64 }

func newTestClock() *testClock {
	c := &testClock{}
	c.ms.Store(1_900_000_000_000)
	return c
}

func (c *testClock) Now() time.Time          { return time.UnixMilli(c.ms.Load()) }
func (c *testClock) advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

func newLimiter(t *testing.T, options ...core.Option) (*core.Limiter, *testClock) {
	clock := newTestClock()
	l := core.New(core.NewMemory(core.WithClock(clock.Now)), options...)
	t.Cleanup(func() { l.Close() })
	return l, clock
}

func allow(t *testing.T, l *core.Limiter, p *core.Policy, key string, cost int64) core.Decision {
	t.Helper()
	d, err := l.AllowN(t.Context(), p, key, cost)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// states returns the states of a decision's limits.
func states(d core.Decision) (all []core.LimitState) {
	for _, s := range d.States() {
		all = append(all, s)
	}
	return all
}

func TestDecision(t *testing.T) {
	l, clock := newLimiter(t)
	p := core.NewPolicy("search", core.PerSecond(3), core.PerMinute(4))
	for i, want := range []struct {
		limit     core.Limit
		remaining int64
	}{{core.PerSecond(3), 2}, {core.PerSecond(3), 1}, {core.PerSecond(3), 0}} {
		d := allow(t, l, p, "k", 1)
		if !d.Allowed || d.Policy != p || d.Key != "k" || d.Cost != 1 || d.Source != core.SourceMemory ||
			d.Limit != want.limit || d.Remaining != want.remaining || d.RetryAfter != 0 || d.ResetAfter != time.Minute || d.Err() != nil {
			t.Errorf("request %d: %+v", i, d)
		}
		clock.advance(100 * time.Millisecond)
	}
	d := allow(t, l, p, "k", 1)
	found := states(d)
	want := []core.LimitState{
		{Limit: core.PerSecond(3), Remaining: 0, Reset: 700 * time.Millisecond, Violated: true},
		{Limit: core.PerMinute(4), Remaining: 1, Reset: 59700 * time.Millisecond},
	}
	if d.Allowed || d.RetryAfter != 700*time.Millisecond || !slices.Equal(found, want) {
		t.Errorf("denied: %+v, states %+v, want %+v", d, found, want)
	}
	var limited *core.LimitedError
	if !errors.As(d.Err(), &limited) || limited.Decision.RetryAfter != d.RetryAfter {
		t.Errorf("Err of a denial: %v", d.Err())
	}
	if got, want := d.Err().Error(), "streamlimit: policy search: 3 requests per second; retry in 1s"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
	clock.advance(700 * time.Millisecond)
	if d := allow(t, l, p, "k", 1); !d.Allowed || d.Limit != core.PerMinute(4) || d.Remaining != 0 {
		t.Errorf("the limit with the least left: %+v", d)
	}
}

func TestPeekAndReset(t *testing.T) {
	l, _ := newLimiter(t)
	p := core.NewPolicy("p", core.PerMinute(2))
	for want := int64(2); want >= 0; want-- {
		for range 3 {
			d, err := l.Peek(t.Context(), p, "k")
			if err != nil || d.Remaining != want || d.Allowed != (want > 0) {
				t.Fatalf("Peek: %+v, %v, want %d left", d, err, want)
			}
		}
		if want > 0 {
			allow(t, l, p, "k", 1)
		}
	}
	if err := l.Reset(t.Context(), p, "k"); err != nil {
		t.Fatal(err)
	}
	if d, _ := l.Peek(t.Context(), p, "k"); d.Remaining != 2 {
		t.Errorf("after Reset: %+v", d)
	}
}

func TestArgumentsAreErrors(t *testing.T) {
	l, _ := newLimiter(t)
	counted := core.NewPolicy("counted", core.PerMinute(10))
	costly := core.NewPolicy("costly", core.PerMinute(10), core.PerHour(5), core.VariableCost())
	for _, c := range []struct {
		p    *core.Policy
		key  string
		cost int64
		want error
		text string
	}{
		{nil, "k", 1, core.ErrNoPolicy, "core.NewPolicy"},
		{counted, "", 1, core.ErrNoKey, "policy counted"},
		{counted, "k", 2, core.ErrCost, "core.VariableCost()"},
		{counted, "k", 0, core.ErrCost, "policy counted: 0 is below 1"},
		{costly, "k", 0, core.ErrCost, "policy costly: 0 is below 1"},
		{costly, "k", -1, core.ErrCost, "policy costly: -1 is below 1"},
		{costly, "k", 6, core.ErrCost, "above the limit 5/hour"},
	} {
		_, err := l.AllowN(t.Context(), c.p, c.key, c.cost)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("cost %d, key %q: %v, want %v that says %q", c.cost, c.key, err, c.want, c.text)
		}
	}
	if err := l.Reset(t.Context(), nil, "k"); !errors.Is(err, core.ErrNoPolicy) {
		t.Errorf("Reset without a policy: %v", err)
	}
	if err := l.Reset(t.Context(), counted, ""); !errors.Is(err, core.ErrNoKey) {
		t.Errorf("Reset without a key: %v", err)
	}
	if d := allow(t, l, costly, "k", 5); !d.Allowed || d.Remaining != 0 {
		t.Errorf("wrong costs were taken: %+v", d)
	}
}

// A limit that was lowered below what is used leaves nothing, not less.
func TestRemainingIsNeverNegative(t *testing.T) {
	l, _ := newLimiter(t)
	for range 5 {
		allow(t, l, core.NewPolicy("p", core.PerMinute(5)), "k", 1)
	}
	d := allow(t, l, core.NewPolicy("p", core.PerMinute(2)), "k", 1)
	if d.Allowed || d.Remaining != 0 || states(d)[0].Remaining != 0 {
		t.Errorf("%+v", d)
	}
}

// The limit that a denial names is one that denied, and the one that lasts.
func TestDenialNamesLimitThatLasts(t *testing.T) {
	l, clock := newLimiter(t)
	p := core.NewPolicy("p", core.PerSecond(3), core.PerMinute(4), core.PerHour(1), core.VariableCost())
	p2 := core.NewPolicy("p2", core.PerSecond(10), core.PerMinute(4), core.PerHour(100), core.VariableCost())
	allow(t, l, p, "k", 1)
	if d := allow(t, l, p, "k", 1); d.Limit != core.PerHour(1) {
		t.Errorf("limit %v, want 1/hour", d.Limit)
	}
	allow(t, l, p2, "k", 2)
	clock.advance(2 * time.Second)
	allow(t, l, p2, "k", 1)
	// Nothing denies but the minute, of which 1 is left.
	if d := allow(t, l, p2, "k", 3); d.Allowed || d.Limit != core.PerMinute(4) || d.Remaining != 1 {
		t.Errorf("limit %v, remaining %d, want 4/minute and 1", d.Limit, d.Remaining)
	}
}

// The zero values of policies and decisions are not valid, and panic nowhere.
func TestZeroValues(t *testing.T) {
	l, _ := newLimiter(t)
	for _, p := range []*core.Policy{nil, new(core.Policy)} {
		_, allow := l.Allow(t.Context(), p, "k")
		_, peek := l.Peek(t.Context(), p, "k")
		for _, err := range []error{allow, peek, l.Reset(t.Context(), p, "k")} {
			if !errors.Is(err, core.ErrNoPolicy) {
				t.Errorf("policy %v: %v, want ErrNoPolicy", p, err)
			}
		}
	}
	var d core.Decision
	if states(d) != nil || d.Err() != nil {
		t.Errorf("the zero Decision says %v, %v", states(d), d.Err())
	}
	denied := &core.LimitedError{}
	if got := core.ProblemFor(denied); denied.Error() == "" || got.Status != 503 {
		t.Errorf("the zero LimitedError: %q, %+v", denied.Error(), got)
	}
	adapter.SetHeaders([]core.Decision{d}, []core.HeaderForm{core.HeadersIETF, core.HeadersX}, 0, setter(func(name, value string) {
		t.Errorf("the zero Decision sets %s: %s", name, value)
	}))
}

// Keys are bounded, and none can pass for the digest of a longer one.
func TestLongKeys(t *testing.T) {
	l, _ := newLimiter(t)
	p := core.NewPolicy("p", core.PerMinute(1))
	long := strings.Repeat("x", 1<<20)
	d := allow(t, l, p, long, 1)
	if len(d.Key) > 128 || !d.Allowed {
		t.Fatalf("a key of 1 MB: %d bytes, allowed %v", len(d.Key), d.Allowed)
	}
	if allow(t, l, p, long, 1).Allowed {
		t.Error("the long key was forgotten")
	}
	for _, key := range []string{d.Key, long[:1<<20-1], long + "x", long[:129], "sha256=", "\xff", "\xfe", "\ufffd", "a\xffb", "a\ufffdb"} {
		if !allow(t, l, p, key, 1).Allowed {
			t.Errorf("a key of %d bytes shares the log of another", len(key))
		}
	}
}

func TestStoreErrorsNamePolicy(t *testing.T) {
	l, _ := newLimiter(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := l.Allow(ctx, core.NewPolicy("api", core.PerMinute(1)), "very-private")
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "policy api") || strings.Contains(err.Error(), "private") {
		t.Errorf("error %v, want one that names the policy and not the key", err)
	}
	l.Close()
	if _, err := l.Allow(t.Context(), core.NewPolicy("api", core.PerMinute(1)), "k"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := l.Ping(t.Context()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Ping after Close: %v", err)
	}
}

// A decision is of use as JSON: names instead of numbers.
func TestDecisionAsJSON(t *testing.T) {
	l, _ := newLimiter(t)
	p := core.NewPolicy("api", core.PerMinute(2))
	check := func(fields ...string) {
		t.Helper()
		text, err := json.Marshal(allow(t, l, p, "k", 1))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range append(fields, `"Policy":"api"`, `"Key":"k"`, `"Limit":"2/minute"`) {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s lacks %s", text, want)
			}
		}
	}
	check(`"Reason":"limits"`, `"Source":"memory"`, `"Remaining":1`)
	setRules(t, l, core.Rule{Kind: core.RuleBlock, Key: "k"})
	check(`"Reason":"blocked"`, `"Source":"none"`)
}
