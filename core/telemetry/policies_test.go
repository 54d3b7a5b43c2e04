package telemetry_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/telemetry"
)

func policy(i int) *core.Policy { return core.NewPolicy(fmt.Sprintf("p%d", i), core.PerHour(1)) }

// The first policies have metrics of their own. The others share one set.
func TestMaxPolicies(t *testing.T) {
	for _, c := range []struct {
		name    string
		options []telemetry.Option
		max     int
	}{
		{"as set", []telemetry.Option{telemetry.WithMaxPolicies(3)}, 3},
		{"unless set", nil, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMeter(t)
			l, _ := newLimiter(t, m.observer(c.options...))
			for i := range c.max + 50 {
				for range 3 {
					if _, err := l.Allow(t.Context(), policy(i), "k"); err != nil {
						t.Fatal(err)
					}
				}
			}
			counts := m.requests()
			for i := range c.max {
				name := policy(i).Name()
				if a, d := counts[label{name, "allowed", "memory"}], counts[label{name, "denied", "memory"}]; a != 1 || d != 2 {
					t.Errorf("%s: %d allowed and %d denied, want 1 and 2", name, a, d)
				}
			}
			if a, d := counts[label{"other", "allowed", "memory"}], counts[label{"other", "denied", "memory"}]; a != 50 || d != 100 {
				t.Errorf("other: %d allowed and %d denied, want 50 and 100", a, d)
			}
			// Memory and fallback have three results each, and decisions without a log
			// have four.
			if want := 10 * (c.max + 1); len(counts) != want {
				t.Errorf("%d label sets, want %d", len(counts), want)
			}
		})
	}
}

// Many goroutines use new policies at once. No decision is lost, and at most max policies
// get metrics of their own.
func TestConcurrent(t *testing.T) {
	const goroutines, each, policies, most = 16, 400, 40, 25
	m := newMeter(t)
	o := m.observer(telemetry.WithMaxPolicies(most))
	l, _ := newLimiter(t, o)
	o.Watch(l)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				_, _ = l.Allow(context.Background(), policy((g+i)%policies), "k")
				if i%100 == 0 {
					m.collect()
				}
			}
		})
	}
	wg.Wait()
	sums, total := map[string]int64{}, int64(0)
	for label, n := range m.requests() {
		sums[label.policy] += n
		total += n
	}
	if want := int64(goroutines * each); total != want {
		t.Errorf("counted %d of %d decisions", total, want)
	}
	if len(sums) != most+1 {
		t.Errorf("%d policies, want %d and other: %v", len(sums), most, sums)
	}
	for name, n := range sums {
		if want := int64(goroutines * each / policies); name != "other" && n != want {
			t.Errorf("%s: counted %d of %d decisions", name, n, want)
		}
	}
}
