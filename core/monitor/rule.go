package monitor

import (
	"net/netip"

	"github.com/streamlimit/streamlimit/core"
)

// Rule is a [core.Rule] as JSON shows it.
type Rule struct {
	ID      string        `json:"id"` // of [core.Rule.ID]
	Kind    core.RuleKind `json:"kind"`
	Key     string        `json:"key,omitempty"`
	Network string        `json:"network,omitempty"` // a prefix, such as "192.0.2.0/24"
	Policy  string        `json:"policy,omitempty"`
	Limits  []core.Limit  `json:"limits,omitempty"`
	Mode    core.Mode     `json:"mode,omitempty"`
	Until   int64         `json:"until,omitempty"` // Unix milliseconds; 0 is never
}

// ShowRule returns the rule as a Rule.
func ShowRule(r core.Rule) Rule {
	shown := Rule{ID: r.ID(), Kind: r.Kind, Key: r.Key, Policy: r.Policy, Limits: r.Limits, Mode: r.Mode}
	if r.Network.IsValid() {
		shown.Network = r.Network.String()
	}
	if !r.Until.IsZero() {
		shown.Until = r.Until.UnixMilli()
	}
	return shown
}

// Concerns reports whether the rule changes the decisions on a key under the policy of
// that name, as far as the key shows. A rule for a network concerns keys that are an
// address or a prefix in it.
func (r Rule) Concerns(policy, key string) bool {
	switch r.Kind {
	case core.RuleOverride:
		return r.Policy == policy
	case core.RuleSwitch:
		return r.Policy == policy || r.Policy == core.AllPolicies
	}
	if r.Network == "" {
		return r.Key == key
	}
	network, err := netip.ParsePrefix(r.Network)
	if err != nil {
		return false
	}
	if address, err := netip.ParseAddr(key); err == nil {
		return network.Contains(address)
	}
	prefix, err := netip.ParsePrefix(key)
	return err == nil && prefix.Bits() >= network.Bits() && network.Contains(prefix.Addr())
}
