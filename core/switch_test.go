package core_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// What becomes of a policy by the switches and overrides that hold.
func TestSwitch(t *testing.T) {
	on := func(name string, mode core.Mode) core.Rule {
		return core.Rule{Kind: core.RuleSwitch, Policy: name, Mode: mode}
	}
	lower := core.Rule{Kind: core.RuleOverride, Policy: "p", Limits: []core.Limit{core.PerMinute(1)}}
	for name, c := range map[string]struct {
		rules  []core.Rule
		option core.PolicyOption
		want   core.Mode
		max    int64
	}{
		"none":                    {nil, nil, core.ModeOn, 2},
		"of another":              {[]core.Rule{on("q", core.ModeOff)}, nil, core.ModeOn, 2},
		"off":                     {[]core.Rule{on("p", core.ModeOff)}, nil, core.ModeOff, 2},
		"shadow":                  {[]core.Rule{on("p", core.ModeShadow)}, nil, core.ModeShadow, 2},
		"the last one holds":      {[]core.Rule{on("p", core.ModeOff), on("p", core.ModeShadow)}, nil, core.ModeShadow, 2},
		"all off":                 {[]core.Rule{on(core.AllPolicies, core.ModeOff)}, nil, core.ModeOff, 2},
		"its own before all":      {[]core.Rule{on("p", core.ModeShadow), on(core.AllPolicies, core.ModeOff)}, nil, core.ModeShadow, 2},
		"off and overridden":      {[]core.Rule{on("p", core.ModeOff), lower}, nil, core.ModeOff, 1},
		"shadow and overridden":   {[]core.Rule{lower, on("p", core.ModeShadow)}, nil, core.ModeShadow, 1},
		"a shadow off":            {[]core.Rule{on("p", core.ModeOff)}, core.Shadow(), core.ModeOff, 2},
		"off, with refunds":       {[]core.Rule{on("p", core.ModeOff)}, core.Refundable(0), core.ModeOff, 2},
		"off, that fails closed":  {[]core.Rule{on("p", core.ModeOff)}, core.OnStoreFailure(core.FailClosed), core.ModeOff, 2},
		"off, with slices, unfit": {[]core.Rule{on("p", core.ModeOff)}, core.Coarse(8), core.ModeOff, 2},
	} {
		t.Run(name, func(t *testing.T) {
			var seen observed
			l, _ := newLimiter(t, core.WithObserver(&seen))
			options := []core.PolicyOption{core.PerMinute(2)}
			if c.option != nil {
				options = append(options, c.option)
			}
			p := core.NewPolicy("p", options...)
			setRules(t, l, c.rules...)
			denied := 0
			for range 4 {
				d := allow(t, l, p, "k", 1)
				if !d.Allowed {
					denied++
				}
				if got := d.Policy.Mode(); got != c.want || d.Limit.Max != c.max {
					t.Errorf("mode %s and limit %v, want %s and %d", got, d.Limit, c.want, c.max)
				}
				if off := c.want == core.ModeOff; off != (d.Reason == core.ReasonOff) || off != (d.Source == core.SourceNone) || off && d.Counted {
					t.Errorf("%+v", d)
				}
				if c.want != core.ModeOn {
					if got := fields([]core.Decision{d}, core.HeadersIETF, core.HeadersX); got != "" {
						t.Errorf("fields %s", got)
					}
				}
				if o := seen[len(seen)-1]; o.Reason != d.Reason || o.Source != d.Source || o.Policy.Mode() != c.want {
					t.Errorf("observed %+v", o)
				}
			}
			if want := map[core.Mode]int{core.ModeOn: 2}[c.want]; denied != want {
				t.Errorf("%d denied, want %d", denied, want)
			}
			// All that is left of it ends with the rule.
			for _, r := range c.rules {
				if _, err := l.DeleteRule(t.Context(), r.ID()); err != nil {
					t.Error(err)
				}
			}
			if now, _ := l.Policy("p"); now != p {
				t.Errorf("the policy is another: %v %s", now.Limits(), now.Mode())
			}
			if d, err := l.Peek(t.Context(), p, "k"); err != nil || c.want == core.ModeOff && d.Remaining != 2 {
				t.Errorf("counted while it was off: %+v, %v", d, err)
			}
		})
	}
}

// A switch by one limiter reaches the others, and ends by itself.
func TestSwitchReachesOthersAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := core.NewMemory()
		one, two := core.New(store), core.New(store)
		defer two.Close()
		defer one.Close()
		p := core.NewPolicy("p", core.PerMinute(1))
		defer busy(two, p)()
		mode := func(want core.Mode) {
			t.Helper()
			time.Sleep(time.Second)
			for _, l := range []*core.Limiter{one, two} {
				d, err := l.Peek(t.Context(), p, "k")
				if err != nil || d.Policy.Mode() != want {
					t.Errorf("mode %s, %v, want %s", d.Policy.Mode(), err, want)
				}
			}
		}
		for _, to := range []core.Mode{core.ModeOff, core.ModeShadow} {
			setRules(t, one, core.Rule{Kind: core.RuleSwitch, Policy: core.AllPolicies, Mode: to})
			mode(to)
		}
		for _, found := range []bool{true, false} {
			got, err := one.DeleteRule(t.Context(), core.Rule{Kind: core.RuleSwitch, Policy: core.AllPolicies}.ID())
			if err != nil || got != found {
				t.Errorf("deleting the switch: %v, %v, want %v", got, err, found)
			}
			mode(core.ModeOn)
		}
		setRules(t, one, core.Rule{Kind: core.RuleSwitch, Policy: core.AllPolicies, Mode: core.ModeOff, Until: time.Now().Add(time.Minute)})
		mode(core.ModeOff)
		time.Sleep(59 * time.Second)
		mode(core.ModeOn)
	})
}

// A client that a rule keeps out stays out of a policy that is off, and a policy that
// is off does not hold up the others.
func TestSwitchedOffBesideOthers(t *testing.T) {
	l, _ := newLimiter(t)
	off, on := core.NewPolicy("off", core.PerMinute(1), core.VariableCost()), core.NewPolicy("on", core.PerMinute(1))
	setRules(t, l, core.Rule{Kind: core.RuleSwitch, Policy: "off", Mode: core.ModeOff}, core.Rule{Kind: core.RuleBlock, Key: "blocked"})
	if d := allow(t, l, off, "blocked", 1); d.Reason != core.ReasonBlocked {
		t.Errorf("a blocked client: %+v", d)
	}
	for i := range 2 {
		all, err := l.AllowAll(t.Context(), core.Charge{Policy: off, Key: "k", Cost: 100}, core.Charge{Policy: on, Key: "k"})
		if err != nil || all[0].Reason != core.ReasonOff || !all[0].Allowed || all[1].Allowed != (i == 0) || all[1].Counted != (i == 0) {
			t.Errorf("request %d: %+v, %v", i, all, err)
		}
	}
}

// A policy that is switched to shadow keeps nobody out while the store fails.
func TestSwitchWhileStoreFails(t *testing.T) {
	store := newFailingStore()
	store.fail(errStore)
	l := core.New(store, core.WithFailureMode(core.FailClosed))
	defer l.Close()
	p := core.NewPolicy("p", core.PerMinute(1))
	for _, mode := range []core.Mode{core.ModeShadow, core.ModeOff} {
		setRules(t, l, core.Rule{Kind: core.RuleSwitch, Policy: "p", Mode: mode})
		if d, err := l.Allow(t.Context(), p, "k"); err != nil || !d.Allowed {
			t.Errorf("%s: %+v, %v", mode, d, err)
		}
	}
}
