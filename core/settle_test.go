package core_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

func TestSettle(t *testing.T) {
	p := core.NewPolicy("p", core.PerMinute(10), core.VariableCost(), core.Refundable(20*time.Second))
	for name, c := range map[string]struct {
		used int64
		left int64 // of 10, 6 of which were taken
		want error
	}{
		"refund":      {0, 10, nil},
		"less":        {2, 8, nil},
		"as taken":    {6, 4, nil},
		"more":        {9, 1, nil},
		"all":         {10, 0, nil},
		"beyond":      {25, 0, nil},
		"at the most": {store.MaxUnits, 0, nil},
		"negative":    {-1, 4, core.ErrCost},
		"too much":    {store.MaxUnits + 1, 4, core.ErrCost},
	} {
		t.Run(name, func(t *testing.T) {
			l, clock := newLimiter(t)
			d := allow(t, l, p, "k", 6)
			clock.advance(time.Second)
			err := l.Settle(t.Context(), d, c.used)
			if !errors.Is(err, c.want) {
				t.Fatalf("Settle(%d): %v, want %v", c.used, err, c.want)
			}
			if got := left(t, l, p, "k"); got != c.left {
				t.Errorf("%d left, want %d", got, c.left)
			}
			// A wrong number settles nothing; anything else is settled once.
			again := core.ErrNotRefundable
			if c.want != nil {
				again = nil
			}
			if err := l.Refund(t.Context(), d); !errors.Is(err, again) {
				t.Errorf("a refund after it: %v, want %v", err, again)
			}
			clock.advance(time.Minute)
			if got := left(t, l, p, "k"); got != 10 {
				t.Errorf("a window later: %d left, want 10", got)
			}
		})
	}
}

// What was used beyond the limit counts against what comes after.
func TestSettleBeyondLimit(t *testing.T) {
	l, clock := newLimiter(t)
	p := core.NewPolicy("p", core.PerMinute(10), core.VariableCost(), core.Refundable(0))
	d := allow(t, l, p, "k", 1)
	clock.advance(time.Second)
	if err := l.Settle(t.Context(), d, 25); err != nil {
		t.Fatal(err)
	}
	over := allow(t, l, p, "k", 1)
	if over.Allowed || over.Remaining != 0 || over.RetryAfter != time.Minute {
		t.Errorf("%+v, want a denial until what was charged leaves the window", over)
	}
	clock.advance(time.Minute)
	if d := allow(t, l, p, "k", 10); !d.Allowed {
		t.Errorf("a window later: %+v", d)
	}
}

func TestNotRefundable(t *testing.T) {
	l, _ := newLimiter(t)
	p := core.NewPolicy("p", core.PerMinute(2), core.Refundable(0))
	blocked := core.Rule{Kind: core.RuleBlock, Key: "blocked"}
	setRules(t, l, blocked, core.Rule{Kind: core.RuleExempt, Key: "exempt"})
	peek, err := l.Peek(t.Context(), p, "k")
	if err != nil {
		t.Fatal(err)
	}
	taken := allow(t, l, p, "k", 1)
	allow(t, l, p, "k", 1)
	together := allowAll(t, l, core.Charge{Policy: p, Key: "k"}, core.Charge{Policy: p, Key: "other"})
	for name, d := range map[string]core.Decision{
		"none":                {},
		"a peek":              peek,
		"denied":              allow(t, l, p, "k", 1),
		"another has denied":  together[1],
		"blocked":             allow(t, l, p, "blocked", 1),
		"exempt":              allow(t, l, p, "exempt", 1),
		"not refundable":      allow(t, l, core.NewPolicy("q", core.PerMinute(2)), "k", 1),
		"made of one by hand": {Policy: p, Key: "k", Cost: 1, Allowed: true, Counted: true},
	} {
		if err := l.Refund(t.Context(), d); !errors.Is(err, core.ErrNotRefundable) {
			t.Errorf("%s: %v, want ErrNotRefundable", name, err)
		}
	}
	if got := left(t, l, p, "k"); got != 0 {
		t.Errorf("%d left, want 0", got)
	}
	// Requests are counted, so there is no settling at 2.
	if err := l.Settle(t.Context(), taken, 2); !errors.Is(err, core.ErrCost) {
		t.Errorf("2 units of a policy that counts requests: %v, want ErrCost", err)
	}
	if err := l.Refund(t.Context(), taken); err != nil || left(t, l, p, "k") != 1 {
		t.Errorf("refund: %v, %d left", err, left(t, l, p, "k"))
	}
}

func TestTooLate(t *testing.T) {
	const grace = 20 * time.Second
	p := core.NewPolicy("p", core.PerMinute(10), core.VariableCost(), core.Refundable(grace))
	for name, c := range map[string]struct {
		between func(l *core.Limiter, clock *testClock)
		used    int64
		want    error
		left    int64
	}{
		"in time":               {func(_ *core.Limiter, c *testClock) { c.advance(grace) }, 0, nil, 10},
		"too late":              {func(_ *core.Limiter, c *testClock) { c.advance(grace + time.Millisecond) }, 0, core.ErrTooLate, 7},
		"too late for a part":   {func(_ *core.Limiter, c *testClock) { c.advance(grace + time.Millisecond) }, 2, core.ErrTooLate, 7},
		"never too late to pay": {func(_ *core.Limiter, c *testClock) { c.advance(2 * grace) }, 5, nil, 5},
		"after the window":      {func(_ *core.Limiter, c *testClock) { c.advance(time.Minute) }, 0, core.ErrTooLate, 10},
		"pays after the window": {func(_ *core.Limiter, c *testClock) { c.advance(time.Minute) }, 5, nil, 8}, // 2 more than 3
		"after a reset":         {func(l *core.Limiter, _ *testClock) { l.Reset(context.Background(), p, "k") }, 0, core.ErrTooLate, 10},
		"after a reset, and new": {func(l *core.Limiter, _ *testClock) {
			l.Reset(context.Background(), p, "k")
			l.AllowN(context.Background(), p, "k", 3)
		}, 0, core.ErrTooLate, 7},
	} {
		t.Run(name, func(t *testing.T) {
			l, clock := newLimiter(t)
			d := allow(t, l, p, "k", 3)
			c.between(l, clock)
			if err := l.Settle(t.Context(), d, c.used); !errors.Is(err, c.want) {
				t.Errorf("Settle: %v, want %v", err, c.want)
			}
			if got := left(t, l, p, "k"); got != c.left {
				t.Errorf("%d left, want %d", got, c.left)
			}
			if err := l.Settle(t.Context(), d, c.used); !errors.Is(err, core.ErrNotRefundable) {
				t.Errorf("once more: %v, want ErrNotRefundable", err)
			}
		})
	}
}

// Copies of a decision are settled together, by whoever comes first.
func TestSettledOnce(t *testing.T) {
	l, _ := newLimiter(t)
	p := core.NewPolicy("p", core.PerMinute(10), core.VariableCost(), core.Refundable(0))
	allow(t, l, p, "k", 5)
	d := allow(t, l, p, "k", 5)
	var settled, refused atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		same := d
		wg.Go(func() {
			switch err := l.Refund(context.Background(), same); {
			case err == nil:
				settled.Add(1)
			case errors.Is(err, core.ErrNotRefundable):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if settled.Load() != 1 || refused.Load() != 19 || left(t, l, p, "k") != 5 {
		t.Errorf("%d settled, %d refused, %d left", settled.Load(), refused.Load(), left(t, l, p, "k"))
	}
}

// A refund goes to the log that took the units, whatever the policy is by then.
func TestSettleAfterChange(t *testing.T) {
	l, _ := newLimiter(t)
	p := core.NewPolicy("p", core.PerMinute(10), core.Refundable(0))
	d := allow(t, l, p, "k", 1)
	if err := l.SetRule(t.Context(), core.Rule{Kind: core.RuleOverride, Policy: "p", Limits: []core.Limit{core.PerHour(100)}}); err != nil {
		t.Fatal(err)
	}
	if err := l.Refund(t.Context(), d); err != nil {
		t.Error(err)
	}
	deleteRules(t, l, "override policy p")
	if got := left(t, l, p, "k"); got != 10 {
		t.Errorf("%d left, want 10", got)
	}
}

// After a failure nobody knows whether the store has done it, so it is not asked
// once more.
func TestSettleFails(t *testing.T) {
	store := newFailingStore()
	l := core.New(store)
	defer l.Close()
	p := core.NewPolicy("p", core.PerMinute(10), core.Refundable(0))
	d := allow(t, l, p, "k", 1)
	store.fail(errStore)
	if err := l.Refund(t.Context(), d); !errors.Is(err, errStore) {
		t.Errorf("%v, want the store's error", err)
	}
	store.fail(nil)
	if err := l.Refund(t.Context(), d); !errors.Is(err, core.ErrNotRefundable) {
		t.Errorf("%v, want ErrNotRefundable", err)
	}
}
