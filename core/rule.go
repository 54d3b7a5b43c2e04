package core

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/streamlimit/streamlimit/core/internal/clientip"
	"github.com/streamlimit/streamlimit/core/store"
)

// RuleKind is what a [Rule] does.
type RuleKind string

// The kinds of rules.
const (
	RuleBlock    RuleKind = "block"    // denies a client everything
	RuleBan      RuleKind = "ban"      // denies a client everything until a time
	RuleExempt   RuleKind = "exempt"   // lets a client pass, uncounted
	RuleOverride RuleKind = "override" // gives a policy other limits
	RuleSwitch   RuleKind = "switch"   // switches a policy, or all, to another [Mode]
)

// Mode is how a policy's limits are enforced.
type Mode string

// The modes of a policy. A [Rule] of kind [RuleSwitch] changes it while a program runs.
const (
	ModeOn     Mode = "on"     // requests over a limit are denied
	ModeShadow Mode = "shadow" // requests are counted and none is denied: see [Shadow]
	ModeOff    Mode = "off"    // requests pass and are not counted
)

// AllPolicies stands for all policies in a [Rule] of kind [RuleSwitch].
const AllPolicies = "*"

// Rule is an instruction that a limiter follows before it checks a log. Rules are kept
// in the store and may change at any time. All processes on the same store follow a
// change within a second, unless [WithRulesInterval] sets another time. So does a process
// that starts. While the store does not respond, the rules that were read last hold.
//
// Block takes precedence over Ban, and Ban over Exempt. A client that a rule denies is
// denied by all policies, whatever their [Mode].
type Rule struct {
	Kind RuleKind `json:"kind"`

	// Key or Network is the client of a Block, Ban or Exempt. Key is the whole key that
	// the client is counted by under any policy, as decisions show it. Network matches
	// the address of a request. Without an address, as for [Limiter.Allow] and
	// [Limiter.Peek], it matches keys that are an address or a prefix within it. It
	// does not find an address inside other keys. A client behind NAT64 is matched by
	// its IPv6 address and by the IPv4 address inside.
	Key     string       `json:"key,omitempty"`
	Network netip.Prefix `json:"network,omitzero"`

	// Policy and Limits are the name of the policy that an Override is about, and
	// its limits meanwhile. What was counted under the earlier limits continues
	// to count: see [Limiter.Replace]. An Override that a process can't apply,
	// such as two limits for a policy with [Coarse], changes nothing there.
	Policy string  `json:"policy,omitempty"`
	Limits []Limit `json:"limits,omitempty"`

	// Mode is what a Switch switches Policy to, [ModeShadow] or [ModeOff]. A switch of
	// one policy takes precedence over one of [AllPolicies]. While a policy is off or in
	// shadow mode, responses do not have its fields. Delete the rule to switch the policy
	// on.
	Mode Mode `json:"mode,omitempty"`

	// Until is when the rule ends, by the store's clock and in whole milliseconds. With
	// the zero Time the rule does not end. A Ban needs an end. [Limiter.Now] returns
	// the store's time, for processes whose own clock may be wrong.
	Until time.Time `json:"until,omitzero"`
}

// ID returns the name of the rule. There is one rule of each kind for a key, network or
// policy.
func (r Rule) ID() string {
	var about, name string
	switch {
	case r.aboutPolicy():
		about, name = aboutPolicy, r.Policy
	case r.Network.IsValid():
		about, name = aboutNetwork, clientip.PlainPrefix(r.Network).String()
	default:
		about, name = aboutKey, shownKey(r.Key)
	}
	return string(r.Kind) + " " + about + " " + name
}

// aboutPolicy reports whether the rule is about a policy, and not about a client.
func (r *Rule) aboutPolicy() bool { return r.Kind == RuleOverride || r.Kind == RuleSwitch }

// ended reports whether the rule is over at a time.
func (r *Rule) ended(now time.Time) bool { return !r.Until.IsZero() && !now.Before(r.Until) }

// stored returns the rule as a store keeps it.
func (r Rule) stored() (store.Rule, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return store.Rule{}, err
	}
	return store.Rule{ID: r.ID(), Text: string(text), Until: r.Until}, nil
}

// parseRule returns the rule that a store keeps, or says why this version can't read it.
func parseRule(kept store.Rule) (Rule, error) {
	r, err := readRule(kept.Text)
	if err == nil && r.ID() != kept.ID {
		err = errors.New("its ID is another's")
	}
	if err != nil {
		return r, err
	}
	return r.normalize()
}

// readRule reads the text of a rule. A field that this version does not know is an error,
// since it may exclude clients from the rule.
func readRule(text string) (r Rule, err error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return r, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return r, errors.New("more follows the rule")
	}
	return r, nil
}

// The years that a rule's end can be in: those of the stores' clocks, and which
// have a form in JSON.
const (
	firstYear = 1970
	lastYear  = 9999
)

// normalize brings the rule into the one form in which it is kept, or says
// what is wrong with it.
func (r Rule) normalize() (Rule, error) {
	if !r.Until.IsZero() {
		r.Until = r.Until.UTC()
		if year := r.Until.Year(); year < firstYear || year > lastYear {
			return r, fmt.Errorf("core: rule: it ends in the year %d: leave out Until for a rule without end", year)
		}
		r.Until = time.UnixMilli(r.Until.UnixMilli()).UTC()
	}
	if r.Network != (netip.Prefix{}) && !r.Network.IsValid() {
		return r, errors.New(`core: rule: an invalid Network: write netip.MustParsePrefix("203.0.113.0/24")`)
	}
	if r.aboutPolicy() && (r.Key != "" || r.Network.IsValid()) {
		return r, fmt.Errorf("core: rule: a rule of kind %s is about a policy: leave out Key and Network", r.Kind)
	}
	if r.Kind == RuleSwitch {
		return r.normalizeSwitch()
	}
	if r.Mode != "" {
		return r, fmt.Errorf("core: rule: a rule of kind %s has no mode: leave out Mode, or use core.RuleSwitch", r.Kind)
	}
	if r.Kind == RuleOverride {
		if _, err := newPolicy(r.Policy, limitOptions(r.Limits)); err != nil {
			return r, fmt.Errorf("core: rule: %w", err)
		}
		r.Limits = slices.Clone(r.Limits)
		return r, nil
	}
	switch {
	case r.Kind != RuleBlock && r.Kind != RuleBan && r.Kind != RuleExempt:
		return r, fmt.Errorf("core: rule: unknown kind %q: use core.RuleBlock, core.RuleBan, core.RuleExempt, core.RuleOverride or core.RuleSwitch", r.Kind)
	case r.Policy != "" || len(r.Limits) > 0:
		return r, fmt.Errorf("core: rule: a rule of kind %s is about a client: leave out Policy and Limits", r.Kind)
	case (r.Key == "") == !r.Network.IsValid():
		return r, fmt.Errorf("core: rule: a rule of kind %s is about a Key or a Network: set one of them", r.Kind)
	case r.Kind == RuleBan && r.Until.IsZero():
		return r, errors.New("core: rule: a ban needs a time when it ends: set Until, or use core.RuleBlock")
	}
	r.Limits = nil
	if r.Network.IsValid() {
		r.Network = clientip.PlainPrefix(r.Network)
	} else {
		r.Key = shownKey(r.Key)
	}
	return r, nil
}

func (r Rule) normalizeSwitch() (Rule, error) {
	switch {
	case len(r.Limits) > 0:
		return r, errors.New("core: rule: a switch has no limits: leave out Limits, or use core.RuleOverride")
	case r.Mode != ModeShadow && r.Mode != ModeOff:
		return r, fmt.Errorf("core: rule: a switch to mode %q: use core.ModeShadow or core.ModeOff, and delete the rule to switch a policy on", r.Mode)
	}
	r.Limits = nil
	if r.Policy == AllPolicies {
		return r, nil
	}
	if err := validateName(r.Policy); err != nil {
		return r, fmt.Errorf("core: rule: %w", err)
	}
	return r, nil
}

func limitOptions(limits []Limit) []PolicyOption {
	options := make([]PolicyOption, len(limits))
	for i, l := range limits {
		options[i] = l
	}
	return options
}
