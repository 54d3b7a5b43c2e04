package core_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

func TestCalendarLimits(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]core.Limit{
		"50/day@UTC":                  core.PerCalendarDay(50, time.UTC),
		"300/week@Europe/Berlin":      core.PerCalendarWeek(300, berlin),
		"1000000/month@Europe/Berlin": core.PerCalendarMonth(1_000_000, berlin),
		"1000000/month(15)@UTC":       core.PerBillingMonth(1_000_000, 15, time.UTC),
		"7/month(31)@UTC":             core.PerBillingMonth(7, 31, time.UTC),
	} {
		got, err := core.ParseLimit(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("ParseLimit(%q) = %v, %v, want %v", text, got, err, want)
		}
		marshaled, err := json.Marshal(want)
		if err != nil || string(marshaled) != `"`+text+`"` {
			t.Errorf("%v is %s as JSON, %v", want, marshaled, err)
		}
	}
	if first := core.PerBillingMonth(7, 1, time.UTC); first != core.PerCalendarMonth(7, time.UTC) {
		t.Errorf("months that begin on day 1 are %v", first)
	}
	for text, want := range map[string]string{
		"5/month":             "needs a time zone",
		"5/week":              "needs a time zone",
		"5/year@UTC":          "not a calendar period",
		"5/month(32)@UTC":     "from 1 to 31",
		"5/month@Local":       "differs between machines",
		"5/month@Mars/Crater": "import time/tzdata",
		"0/day@UTC":           "at least 1 unit",
	} {
		if _, err := core.ParseLimit(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseLimit(%q): %v, want %q", text, err, want)
		}
	}
	for name, f := range map[string]func(){
		"nil location":             func() { core.PerCalendarDay(1, nil) },
		"differs between machines": func() { core.PerCalendarDay(1, time.Local) },
		"from 1 to 31":             func() { core.PerBillingMonth(1, 0, time.UTC) },
		"leave one out":            func() { core.NewPolicy("p", core.Limit{Max: 1, Window: time.Hour, Period: "day@UTC"}) },
		"write the period as":      func() { core.NewPolicy("p", core.Limit{Max: 1, Period: "month(1)@UTC"}) },
		"two limits for one":       func() { core.NewPolicy("p", core.PerCalendarDay(1, time.UTC), core.PerCalendarDay(2, time.UTC)) },
		"can't be leased":          func() { core.NewPolicy("p", core.PerCalendarDay(100, time.UTC), core.Lease(time.Second)) },
		"leave the slices out":     func() { core.NewPolicy("p", core.PerCalendarDay(100, time.UTC), core.Coarse(8)) },
	} {
		func() {
			defer func() {
				if got, _ := recover().(string); !strings.Contains(got, name) {
					t.Errorf("panic %q, want %q", got, name)
				}
			}()
			f()
		}()
	}
}

// The order of limits names no other logs, and neither does their Max.
func TestCalendarLogs(t *testing.T) {
	name := func(limits ...core.PolicyOption) string { return core.NewPolicy("p", limits...).Log().Name }
	day, month := core.PerCalendarDay(5, time.UTC), core.PerBillingMonth(50, 15, time.UTC)
	if got := name(month, core.PerMinute(3), day); got != "p:p1m,day@UTC,month(15)@UTC" {
		t.Errorf("the log's name is %s", got)
	}
	if a, b := name(day, month), name(month, core.PerCalendarDay(6, time.UTC)); a != b {
		t.Errorf("%s and %s: want one name", a, b)
	}
}

func TestCalendarFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter := core.New(core.NewMemory())
		defer limiter.Close()
		time.Sleep(23 * time.Hour) // since midnight
		p := core.NewPolicy("quota", core.PerCalendarDay(1, time.UTC), core.PerCalendarMonth(100, time.UTC))
		if got := p.Fields().Text; got != `"quota";q=1, "quota-month";q=100` {
			t.Errorf("RateLimit-Policy: %s", got)
		}
		if _, err := limiter.Allow(t.Context(), p, "k"); err != nil {
			t.Fatal(err)
		}
		d, err := limiter.Allow(t.Context(), p, "k")
		if err != nil || d.Allowed || d.RetryAfter != time.Hour {
			t.Fatalf("%+v, %v", d, err)
		}
		problem := core.ProblemFor(d.Err())
		if problem.Detail != "1 request per day; retry in 3600s" || problem.RetryAfter != 3600 {
			t.Errorf("%+v", problem)
		}
	})
}

// Another Max takes over what was counted. Other periods are refused after the first
// decision, and then no policy is replaced.
func TestCalendarChanges(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	p, q := core.NewPolicy("p", core.PerHour(9)), core.NewPolicy("q", core.PerHour(9))
	limiter.Register(p, q)
	if err := limiter.Replace(core.NewPolicy("p", core.PerCalendarMonth(1, time.UTC))); err != nil {
		t.Fatalf("before the first decision: %v", err)
	}
	if d, err := limiter.Allow(t.Context(), p, "k"); err != nil || !d.Allowed || d.Limit.Max != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	for _, other := range []core.Limit{core.PerCalendarDay(9, time.UTC), core.PerHour(9)} {
		err := limiter.Replace(core.NewPolicy("q", core.PerHour(1)), core.NewPolicy("p", other))
		if err == nil || !strings.Contains(err.Error(), "policy p: its calendar periods") {
			t.Errorf("a change to %v: %v", other, err)
		}
		if d, err := limiter.Allow(t.Context(), p, "k"); err != nil || d.Allowed || d.Limit.Max != 1 {
			t.Errorf("after a change to %v: %+v, %v", other, d, err)
		}
		if d, err := limiter.Peek(t.Context(), q, "k"); err != nil || d.Limit.Max != 9 {
			t.Errorf("another policy after a change to %v: %+v, %v", other, d, err)
		}
	}
	if err := limiter.Replace(core.NewPolicy("p", core.PerCalendarMonth(3, time.UTC))); err != nil {
		t.Fatal(err)
	}
	if d, err := limiter.Allow(t.Context(), p, "k"); err != nil || !d.Allowed || d.Remaining != 1 {
		t.Errorf("after a change of Max: %+v, %v", d, err)
	}
}

func TestUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter := core.New(core.NewMemory())
		defer limiter.Close()
		midnight := time.Now() // 2000-01-01 in UTC
		time.Sleep(23 * time.Hour)
		p := core.NewPolicy("quota", core.PerCalendarDay(5, time.UTC), core.PerHour(3))
		for range 4 {
			if _, err := limiter.Allow(t.Context(), p, "k"); err != nil {
				t.Fatal(err)
			}
		}
		check := func(units int64, since time.Time) {
			t.Helper()
			used, err := limiter.Used(t.Context(), p, "k")
			if err != nil || len(used) != 2 {
				t.Fatalf("%+v, %v", used, err)
			}
			if u := used[0]; u.Limit != p.Limits()[0] || u.Units != units || !u.Since.Equal(since) || !u.Until.Equal(since.Add(24*time.Hour)) {
				t.Errorf("of the day: %+v", u)
			}
			if u := used[1]; u.Units != 3 || !u.Since.Equal(time.Now().Add(-time.Hour)) || !u.Until.IsZero() {
				t.Errorf("of the hour: %+v", u)
			}
		}
		check(3, midnight)
		time.Sleep(time.Hour - time.Millisecond)
		check(3, midnight)
	})
}

// Tenants pay for months that begin on the 15th. A page shows them what they have used.
func ExampleLimiter_Used() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	quota := core.NewPolicy("quota", core.PerBillingMonth(1_000_000, 15, time.UTC), core.VariableCost(), core.Refundable(0))

	ctx := context.Background()
	if _, err := limiter.AllowN(ctx, quota, "tenant-7", 1200); err != nil {
		fmt.Println(err)
		return
	}
	used, err := limiter.Used(ctx, quota, "tenant-7")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, u := range used {
		fmt.Println(u.Limit, u.Units, "units since day", u.Since.UTC().Day())
	}
	// Output: 1000000/month(15)@UTC 1200 units since day 15
}
