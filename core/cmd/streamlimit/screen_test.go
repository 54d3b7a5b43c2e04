package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
)

// manyPolicies returns a reading of n policies.
func manyPolicies(n int) reading {
	r := reading{at: time.Now()}
	for i := range n {
		r.picture.Policies = append(r.picture.Policies, monitor.Policy{Name: "policy-" + string(rune('a'+i))})
	}
	return r
}

func TestScrollingEndsWithTheTable(t *testing.T) {
	t.Parallel()
	s := newScreen("localhost:6379", false)
	s.take(manyPolicies(20))
	text := func() string { return strings.Join(s.rows(80, 24), "\n") }
	if got := text(); !strings.Contains(got, "policy-i") || strings.Contains(got, "policy-j") || !strings.Contains(got, "22 more") {
		t.Errorf("%s", got)
	}
	for range 100 {
		s.press("\x1b[B")
	}
	if got := text(); !strings.Contains(got, "policy-t") || strings.Contains(got, "policy-k") || strings.Contains(got, "more") {
		t.Errorf("%s", got)
	}
	s.press("\x1b[A")
	if got := text(); !strings.Contains(got, "1 more") {
		t.Errorf("one up from the end\n%s", got)
	}
}

func TestAnySizeIsDrawn(t *testing.T) {
	t.Parallel()
	s := newScreen("localhost:6379", true)
	r := manyPolicies(3)
	r.picture.Top.Denied = []monitor.TopKey{{Policy: "api", Key: client, Count: 3, Error: 1}}
	r.picture.Processes = []monitor.Process{{Host: "a", PID: 7, Down: []monitor.Down{{Error: "gone"}}}}
	s.take(r)
	for range tabs {
		for _, size := range [][2]int{{0, 0}, {1, 1}, {5, 3}, {20, 6}, {500, 100}} {
			if n := len(s.rows(size[0], size[1])); n != size[1] {
				t.Errorf("%d rows at %v", n, size)
			}
		}
		s.press("\t")
	}
}

func TestLimitsOnTheScreen(t *testing.T) {
	t.Parallel()
	s := newScreen("localhost:6379", false)
	limit := core.Per(5, 30*time.Second)
	s.take(reading{
		at: time.Now(),
		picture: monitor.Picture{Policies: []monitor.Policy{
			{Name: "uploads", Traits: monitor.Traits{Limits: []core.Limit{limit}, Layout: "slots"}},
			{Name: "search", Traits: monitor.Traits{Limits: []core.Limit{limit}, Layout: "counted"}},
		}},
		rules: []core.Rule{
			{Kind: core.RuleOverride, Policy: "uploads", Limits: []core.Limit{limit}},
			{Kind: core.RuleOverride, Policy: "search", Limits: []core.Limit{limit}},
		},
	})
	for tab, want := range map[string][]string{"1": {"5 in flight, hold 30s", "5/30s"}, "4": {"uploads: 5 in flight, hold 30s", "search: 5/30s"}} {
		s.press(tab)
		text := strings.Join(s.rows(100, 24), "\n")
		for _, part := range want {
			if !strings.Contains(text, part) {
				t.Errorf("no %q in\n%s", part, text)
			}
		}
	}
}

func TestColoursCanBeOff(t *testing.T) {
	t.Parallel()
	for _, colour := range []bool{true, false} {
		s := newScreen("localhost:6379", colour)
		s.take(manyPolicies(1))
		if got := strings.Contains(strings.Join(s.rows(80, 24), ""), "\x1b[32m"); got != colour {
			t.Errorf("green is %v, want %v", got, colour)
		}
	}
}

func TestKeysThatArriveAtOnceAreToldApart(t *testing.T) {
	t.Parallel()
	got := splitKeys([]byte("\x1b[Bq\x1b[1;5C\t\x1b"))
	if want := []string{"\x1b[B", "q", "\x1b[1;5C", "\t", "\x1b"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestFigures(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		share(0, 0):                        "0 %",
		share(1, 1000):                     "<1 %",
		share(1, 2):                        "50 %",
		share(999, 1000):                   ">99 %",
		share(7, 7):                        "100 %",
		short(1500 * time.Microsecond):     "2ms",
		short(12345 * time.Millisecond):    "12.3s",
		short(70 * time.Second):            "1m10s",
		short(10 * time.Minute):            "10m",
		short(time.Hour):                   "1h",
		short(100 * time.Hour):             "100h",
		short(time.Hour + 10*time.Minute):  "1h10m",
		short(time.Hour + 10*time.Second):  "1h0m10s",
		bars([]int64{0, 1, 50, 100}, 100):  " ▁▄█",
		bar(1, 1000, 4):                    "█",
		cut("192.0.2.1", 5):                "192.…",
		clean("a\nb\x1b\u202e\u009bc ü 世"): "a?b???c ü 世",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
