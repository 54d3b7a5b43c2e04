package faults

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
)

const (
	month   = store.MaxWindow // 30 days
	million = 1_000_000
)

func TestRow19_Extremes(t *testing.T) {
	r := row(t, 19)
	exact := 0
	bothStores(t, func(t *testing.T, l *core.Limiter) {
		for _, p := range layouts("month", core.Per(1, month)) {
			oneAMonth(t, l, p)
			exact++
		}
		for _, p := range layouts("million", core.Per(million, month))[1:] { // those with costs
			aMillion(t, l, p)
			exact++
		}
		for _, limit := range []int64{1, 3} {
			for _, p := range layouts(fmt.Sprint("millisecond", limit), core.Per(limit, time.Millisecond)) {
				oneMillisecond(t, l, p)
				exact++
			}
		}
		costs(t, l)
	})
	countedMillion(t)
	exact++
	refused := construction(t)
	r.Figure("%d exact, %d refused", exact, refused)
}

func allow(t *testing.T, l *core.Limiter, p *core.Policy, cost int64) core.Decision {
	t.Helper()
	d, err := l.AllowN(t.Context(), p, "k", cost)
	if err != nil {
		t.Fatalf("%s, %v: %v", p, p.Limits(), err)
	}
	return d
}

func oneAMonth(t *testing.T, l *core.Limiter, p *core.Policy) {
	t.Helper()
	if d := allow(t, l, p, 1); !d.Allowed || d.Remaining != 0 {
		t.Errorf("%s: first of a month: %+v", p, d)
	}
	for range 3 {
		if d := allow(t, l, p, 1); d.Allowed || d.RetryAfter > month+p.Log().Slice || d.RetryAfter < month-time.Hour {
			t.Errorf("%s: second of a month: allowed %v, retry after %v", p, d.Allowed, d.RetryAfter)
		}
	}
}

// aMillion takes all units at once, and the last ones one by one.
func aMillion(t *testing.T, l *core.Limiter, p *core.Policy) {
	t.Helper()
	if d := allow(t, l, p, million-2); !d.Allowed || d.Remaining != 2 {
		t.Errorf("%s: all but two: allowed %v, %d left", p, d.Allowed, d.Remaining)
	}
	if d := allow(t, l, p, 3); d.Allowed {
		t.Errorf("%s: three of two", p)
	}
	for range 2 {
		if d := allow(t, l, p, 1); !d.Allowed {
			t.Errorf("%s: one of what is left is denied", p)
		}
	}
	if d := allow(t, l, p, 1); d.Allowed || d.Remaining != 0 {
		t.Errorf("%s: one above the limit: allowed %v, %d left", p, d.Allowed, d.Remaining)
	}
}

// oneMillisecond sends requests for a while. At most the units of the windows since then
// can be admitted.
func oneMillisecond(t *testing.T, l *core.Limiter, p *core.Policy) {
	t.Helper()
	admitted, start := int64(0), time.Now()
	for time.Since(start) < 100*time.Millisecond {
		d := allow(t, l, p, 1)
		if d.Allowed {
			admitted++
		} else if d.RetryAfter > time.Millisecond {
			t.Errorf("%s: retry after %v in a window of 1ms", p, d.RetryAfter)
		}
	}
	windows := time.Since(start).Milliseconds() + 1 + 1 // those that it began and ended in
	if limit := p.Limits()[0].Max; admitted < 2 || admitted > windows*limit {
		t.Errorf("%s: %d admitted in %d windows of %d", p, admitted, windows, limit)
	}
}

func costs(t *testing.T, l *core.Limiter) {
	t.Helper()
	p := core.NewPolicy("costs", core.PerHour(10), core.VariableCost())
	for _, cost := range []int64{-1 << 63, -1, 0, 11, million, 1<<63 - 1} {
		if _, err := l.AllowN(t.Context(), p, "k", cost); !errors.Is(err, core.ErrCost) {
			t.Errorf("cost %d: %v, want ErrCost", cost, err)
		}
	}
	if d := allow(t, l, p, 10); !d.Allowed {
		t.Error("what was refused was counted")
	}
}

// countedMillion fills a log with one entry for each request. It adds all but the last
// entries directly on the server.
func countedMillion(t *testing.T) {
	t.Helper()
	server := redistest.Start(t)
	l := core.New(connect(t, server), core.WithFailureMode(core.FailClosed))
	defer l.Close()
	p := core.NewPolicy("many", core.Per(million, month))
	allow(t, l, p, 1)
	log := server.Client().Keys(t.Context(), "*{*}:many:*").Val()
	if len(log) != 1 {
		t.Fatalf("logs %q, want one", log)
	}
	const fill = `for i = 1, tonumber(ARGV[1]) do redis.call('XADD', KEYS[1], '*', '', '') end return 1`
	// Each call adds only as many entries as a client waits for.
	for range 9 {
		if err := server.Client().Eval(t.Context(), fill, log, (million-10)/9).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for left := int64(8); left >= 0; left-- {
		if d := allow(t, l, p, 1); !d.Allowed || d.Remaining != left {
			t.Fatalf("allowed %v with %d left, want %d", d.Allowed, d.Remaining, left)
		}
	}
	if d := allow(t, l, p, 1); d.Allowed || d.RetryAfter < month-time.Hour || d.RetryAfter > month {
		t.Errorf("one above a million: allowed %v, retry after %v", d.Allowed, d.RetryAfter)
	}
}

// construction tries invalid limits, in text and in code.
func construction(t *testing.T) (refused int) {
	t.Helper()
	for _, text := range []string{
		"0/s", "-1/s", "1000000000001/s", "9223372036854775808/s", "1e3/s", "1.5/s", "NaN/s", "1/0s", "1/-1s", "1/1us", "1/1.5ms",
		"1/31d", "1/999999999999h", "1/", "/s", "1", "",
	} {
		if l, err := core.ParseLimit(text); err == nil {
			t.Errorf("%q is the limit %v", text, l)
		}
		refused++
	}
	second := core.PerSecond(1)
	for name, make := range map[string]func(){
		"0 units":            func() { core.Per(0, time.Second) },
		"below 0":            func() { core.Per(-5, time.Second) },
		"no window":          func() { core.Per(1, 0) },
		"a nanosecond":       func() { core.Per(1, 1) },
		"1.5 ms":             func() { core.Per(1, 1500*time.Microsecond) },
		"longer than 30 d":   func() { core.Per(1, month+time.Millisecond) },
		"too many units":     func() { core.Per(store.MaxUnits+1, time.Second) },
		"a literal":          func() { core.NewPolicy("p", core.Limit{}) },
		"no limit":           func() { core.NewPolicy("p") },
		"one window twice":   func() { core.NewPolicy("p", second, core.PerSecond(2)) },
		"slices below 1 ms":  func() { core.NewPolicy("p", core.Per(1, time.Millisecond), core.Coarse(2)) },
		"1 slice":            func() { core.NewPolicy("p", second, core.Coarse(1)) },
		"a million slices":   func() { core.NewPolicy("p", second, core.Coarse(million)) },
		"grace above window": func() { core.NewPolicy("p", second, core.Refundable(time.Second)) },
	} {
		if !panics(make) {
			t.Errorf("%s: made", name)
		}
		refused++
	}
	return refused
}

func panics(f func()) (panicked bool) {
	defer func() { panicked = recover() != nil }()
	f()
	return false
}
