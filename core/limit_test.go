package core_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

func TestParseLimit(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]core.Limit{
		"5/10s":        {Max: 5, Window: 10 * time.Second},
		"100/minute":   {Max: 100, Window: time.Minute},
		"100/m":        {Max: 100, Window: time.Minute},
		"1/s":          {Max: 1, Window: time.Second},
		"7/seconds":    {Max: 7, Window: time.Second},
		" 7 / hour ":   {Max: 7, Window: time.Hour},
		"3/d":          {Max: 3, Window: day},
		"3/7d":         {Max: 3, Window: 7 * day},
		"3/30d":        {Max: 3, Window: store.MaxWindow},
		"20/1m30s":     {Max: 20, Window: 90 * time.Second},
		"1/1ms":        {Max: 1, Window: time.Millisecond},
		"9/24h":        {Max: 9, Window: day},
		"1000000000/h": {Max: 1e9, Window: time.Hour},
	} {
		got, err := core.ParseLimit(text)
		if err != nil || got != want {
			t.Errorf("ParseLimit(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestParseLimitRefuses(t *testing.T) {
	for text, advice := range map[string]string{
		"":                        "units/window",
		"100":                     "units/window",
		"x/minute":                "not a whole number",
		"1.5/minute":              "not a whole number",
		"99999999999999999999/m":  "not a whole number",
		"20/fortnight":            "unknown unit, use s, m, h, d or a Go duration",
		"20/":                     "unknown unit",
		"0/minute":                "at least 1 unit",
		"-1/minute":               "at least 1 unit",
		"1000000000001/minute":    "larger units",
		"1/0s":                    "at least 1ms",
		"1/-1s":                   "at least 1ms",
		"1/-1d":                   "at least 1ms",
		"1/999us":                 "at least 1ms",
		"1/1500us":                "whole milliseconds",
		"1/31d":                   "at most 30d",
		"1/2147483647d":           "a window of 2147483647d is too long: use at most 30d",
		"5/213504d":               "a window of 213504d is too long: use at most 30d", // 1m25s if it wraps around
		"1/99999999999999999999d": "at most 30d",
		"1/-213504d":              "at least 1ms",
		"1/0d":                    "at least 1ms",
		"1/99999999h":             "a window of 99999999h is too long: use at most 30d",
		"1/1h99999999999999999m":  "at most 30d",
		"1/-99999999h":            "at least 1ms",
		"1/99999999 h":            "unknown unit",
		"1/1000h":                 "at most 30d",
	} {
		_, err := core.ParseLimit(text)
		if err == nil || !strings.Contains(err.Error(), advice) || !strings.HasPrefix(err.Error(), "core: limit ") {
			t.Errorf("ParseLimit(%q): error %v, want one that says %q", text, err, advice)
		}
	}
}

func TestLimitString(t *testing.T) {
	for want, l := range map[string]core.Limit{
		"100/minute":   core.PerMinute(100),
		"1/second":     core.PerSecond(1),
		"3/hour":       core.PerHour(3),
		"2/day":        core.PerDay(2),
		"5/10s":        core.Per(5, 10*time.Second),
		"5/10m":        core.Per(5, 10*time.Minute),
		"5/2h":         core.Per(5, 2*time.Hour),
		"5/1h30m":      core.Per(5, 90*time.Minute),
		"5/7d":         core.Per(5, 7*24*time.Hour),
		"5/36h":        core.Per(5, 36*time.Hour),
		"5/1.5s":       core.Per(5, 1500*time.Millisecond),
		"5/250ms":      core.Per(5, 250*time.Millisecond),
		"5/1h0m0.001s": core.Per(5, time.Hour+time.Millisecond),
	} {
		if got := l.String(); got != want {
			t.Errorf("String of %d per %v: %q, want %q", l.Max, l.Window, got, want)
		}
	}
}

func TestLimitRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := rapid.OneOf(
			rapid.Int64Range(1, int64(store.MaxWindow/time.Millisecond)),
			rapid.SampledFrom([]int64{1, 1000, 60_000, 3_600_000, 86_400_000, 7_200_000, 5_400_000, 86_400_000 * 3}),
		).Draw(t, "window")
		want := core.Per(rapid.Int64Range(1, store.MaxUnits).Draw(t, "max"), time.Duration(window)*time.Millisecond)
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got core.Limit
		if err := json.Unmarshal(text, &got); err != nil || got != want {
			t.Fatalf("%s reads back as %v, %v", text, got, err)
		}
	})
}

// Days are in bounds or an error, however many there are.
func TestParseLimitDays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		days := rapid.OneOf(rapid.Int64Range(-1, 32), rapid.Int64()).Draw(t, "days")
		l, err := core.ParseLimit(fmt.Sprintf("1/%dd", days))
		if valid := 1 <= days && days <= 30; valid != (err == nil) || valid && l.Window != time.Duration(days)*24*time.Hour {
			t.Fatalf("%d days: %v, %v", days, l.Window, err)
		}
	})
}

func TestLimitText(t *testing.T) {
	var l core.Limit
	if text, err := l.MarshalText(); err != nil || len(text) > 0 {
		t.Errorf("the zero Limit: %q, %v, want the empty text", text, err)
	}
	if err := l.UnmarshalText(nil); err == nil {
		t.Error("the empty text is a limit")
	}
	for _, l := range []core.Limit{{Max: 1}, {Window: time.Second}, {Max: -1, Window: time.Second}} {
		if _, err := l.MarshalText(); err == nil {
			t.Errorf("%+v marshals", l)
		}
	}
	l = core.PerMinute(7)
	if err := l.UnmarshalText([]byte("7/never")); err == nil || l != core.PerMinute(7) {
		t.Errorf("a failed UnmarshalText: %v, limit now %v", err, l)
	}
}
