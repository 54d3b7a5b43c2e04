package monitor_test

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
)

// Programs read this.
func TestRuleAsJSON(t *testing.T) {
	for want, rule := range map[string]core.Rule{
		`{"id":"ban key user=ann","kind":"ban","key":"user=ann","until":1700000000123}`: {
			Kind: core.Ban, Key: "user=ann", Until: time.UnixMilli(1_700_000_000_123),
		},
		`{"id":"block network 192.0.2.0/24","kind":"block","network":"192.0.2.0/24"}`: {
			Kind: core.Block, Network: netip.MustParsePrefix("192.0.2.0/24"),
		},
		`{"id":"override policy api","kind":"override","policy":"api","limits":["9/minute"]}`: {
			Kind: core.Override, Policy: "api", Limits: []core.Limit{core.PerMinute(9)},
		},
		`{"id":"switch policy *","kind":"switch","policy":"*","mode":"off"}`: {
			Kind: core.Switch, Policy: core.AllPolicies, Mode: core.ModeOff,
		},
	} {
		if got, err := json.Marshal(monitor.ShowRule(rule)); err != nil || string(got) != want {
			t.Errorf("%s, %v\nwant %s", got, err, want)
		}
	}
}

func TestRuleConcerns(t *testing.T) {
	network := core.Rule{Kind: core.Block, Network: netip.MustParsePrefix("192.0.2.0/24")}
	key := core.Rule{Kind: core.Exempt, Key: "192.0.2.1"}
	override := core.Rule{Kind: core.Override, Policy: "api"}
	for _, c := range []struct {
		rule        core.Rule
		policy, key string
		want        bool
	}{
		{network, "api", "192.0.2.1", true},
		{network, "api", "192.0.3.1", false},
		{network, "api", "192.0.2.128/25", true},
		{network, "api", "192.0.0.0/16", false}, // not all of it
		{network, "api", "2001:db8::/64", false},
		{network, "api", "user=192.0.2.1", false},
		{key, "api", "192.0.2.1", true},
		{key, "api", "192.0.2.2", false},
		{override, "api", "192.0.2.1", true},
		{override, "search", "192.0.2.1", false},
		{core.Rule{Kind: core.Switch, Policy: "api"}, "api", "192.0.2.1", true},
		{core.Rule{Kind: core.Switch, Policy: "api"}, "search", "192.0.2.1", false},
		{core.Rule{Kind: core.Switch, Policy: core.AllPolicies}, "search", "192.0.2.1", true},
	} {
		if got := monitor.ShowRule(c.rule).Concerns(c.policy, c.key); got != c.want {
			t.Errorf("%s concerns %s under %s: %v, want %v", c.rule.ID(), c.key, c.policy, got, c.want)
		}
	}
}
