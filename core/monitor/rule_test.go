package monitor_test

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
	"github.com/streamlimit/streamlimit/core/store"
)

// Programs read this JSON.
func TestRuleAsJSON(t *testing.T) {
	for want, rule := range map[string]core.Rule{
		`{"id":"ban key user=ann","kind":"ban","key":"user=ann","until":1700000000123}`: {
			Kind: core.RuleBan, Key: "user=ann", Until: time.UnixMilli(1_700_000_000_123),
		},
		`{"id":"block network 192.0.2.0/24","kind":"block","network":"192.0.2.0/24"}`: {
			Kind: core.RuleBlock, Network: netip.MustParsePrefix("192.0.2.0/24"),
		},
		`{"id":"override policy api","kind":"override","policy":"api","limits":["9/minute"]}`: {
			Kind: core.RuleOverride, Policy: "api", Limits: []core.Limit{core.PerMinute(9)},
		},
		`{"id":"switch policy *","kind":"switch","policy":"*","mode":"off"}`: {
			Kind: core.RuleSwitch, Policy: core.AllPolicies, Mode: core.ModeOff,
		},
	} {
		if got, err := json.Marshal(monitor.ShowRule(rule)); err != nil || string(got) != want {
			t.Errorf("%s, %v\nwant %s", got, err, want)
		}
	}
}

func TestRuleConcerns(t *testing.T) {
	network := core.Rule{Kind: core.RuleBlock, Network: netip.MustParsePrefix("192.0.2.0/24")}
	key := core.Rule{Kind: core.RuleExempt, Key: "192.0.2.1"}
	override := core.Rule{Kind: core.RuleOverride, Policy: "api"}
	for _, c := range []struct {
		rule        core.Rule
		policy, key string
		want        bool
	}{
		{network, "api", "192.0.2.1", true},
		{network, "api", "192.0.3.1", false},
		{network, "api", "192.0.2.128/25", true},
		{network, "api", "192.0.0.0/16", false}, // the rule covers only a part of it
		{network, "api", "2001:db8::/64", false},
		{network, "api", "user=192.0.2.1", false},
		{key, "api", "192.0.2.1", true},
		{key, "api", "192.0.2.2", false},
		{override, "api", "192.0.2.1", true},
		{override, "search", "192.0.2.1", false},
		{core.Rule{Kind: core.RuleSwitch, Policy: "api"}, "api", "192.0.2.1", true},
		{core.Rule{Kind: core.RuleSwitch, Policy: "api"}, "search", "192.0.2.1", false},
		{core.Rule{Kind: core.RuleSwitch, Policy: core.AllPolicies}, "search", "192.0.2.1", true},
	} {
		if got := monitor.ShowRule(c.rule).Concerns(c.policy, c.key); got != c.want {
			t.Errorf("%s concerns %s under %s: %v, want %v", c.rule.ID(), c.key, c.policy, got, c.want)
		}
	}
}

// The page gets only some of many rules: those on policies, and those on the keys that it
// shows. The page of a key has all rules that concern the key.
func TestManyRules(t *testing.T) {
	const many, shown = 20_000, 300
	shared := core.NewMemory()
	for i := range many {
		key := "client-" + strconv.Itoa(i)
		if err := shared.SetRule(t.Context(), store.Rule{ID: "block key " + key, Text: `{"kind":"block","key":"` + key + `"}`}); err != nil {
			t.Fatal(err)
		}
	}
	s := newSite(t, shared)
	const listed, hidden = "client-19998", "client-19999" // by ID, both are among the last
	s.allow(t, api, listed, 3)
	if err := s.limiter.SetRule(t.Context(), core.Rule{Kind: core.RuleSwitch, Policy: core.AllPolicies, Mode: core.ModeShadow}); err != nil {
		t.Fatal(err)
	}
	var now state
	eventually(t, "the rules on policies and on the keys shown", func() bool {
		now = state{}
		s.get(t, "api/state", &now)
		return len(now.Rules) == shown && now.Rules[0].ID == "switch policy *" && now.Rules[1].Key == listed
	})
	if now.MoreRules != many+1-shown {
		t.Errorf("%d more rules, want %d", now.MoreRules, many+1-shown)
	}
	for _, r := range now.Rules {
		if r.Key == hidden {
			t.Error("the rule that was to be left out is shown")
		}
	}
	var k key
	s.get(t, "api/key?policy=api&key="+hidden, &k)
	if len(k.Rules) != 2 || k.Rules[0].Kind != "block" || k.Rules[1].Kind != "switch" {
		t.Errorf("rules on a key: %+v", k.Rules)
	}
	if _, err := s.limiter.DeleteRule(t.Context(), core.Rule{Kind: core.RuleSwitch, Policy: core.AllPolicies}.ID()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "that the switch has ended", func() bool {
		now = state{}
		s.get(t, "api/state", &now)
		return len(now.Rules) == shown && now.Rules[0].Key == listed
	})
}
