package core_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// A switch that has ended by a clock that stepped ahead holds again when the clock has
// stepped back.
func TestSwitchOutlastsAClockThatStepsForthAndBack(t *testing.T) {
	var ahead atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	limiter := core.New(core.NewMemory(core.WithClock(clock)), core.WithRulesInterval(time.Millisecond))
	defer limiter.Close()
	p := core.NewPolicy("p", core.PerMinute(100))
	rule := core.Rule{Kind: core.RuleSwitch, Policy: "p", Mode: core.ModeOff, Until: clock().Add(30 * time.Minute).Truncate(time.Millisecond)}
	if err := limiter.SetRule(t.Context(), rule); err != nil {
		t.Fatal(err)
	}
	await := func(want core.Mode) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
			d, err := limiter.Allow(t.Context(), p, "k")
			switch {
			case err != nil:
				t.Fatal(err)
			case d.Policy.Mode() == want:
				return
			case time.Now().After(end):
				t.Fatalf("mode %s, want %s", d.Policy.Mode(), want)
			}
		}
	}
	await(core.ModeOff)
	ahead.Store(int64(2 * time.Hour))
	await(core.ModeOn)
	ahead.Store(0)
	await(core.ModeOff)
}
