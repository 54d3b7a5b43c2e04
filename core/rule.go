package core

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// RuleKind is what a [Rule] does.
type RuleKind string

// The kinds of rules.
const (
	Block    RuleKind = "block"    // denies a client everything
	Ban      RuleKind = "ban"      // denies a client everything until a time
	Exempt   RuleKind = "exempt"   // lets a client pass, uncounted
	Override RuleKind = "override" // gives a policy other limits
)

// Rule is something that a limiter heeds before it asks a log. Rules are kept in
// the store and may change at any time: all processes on the same store follow
// within a second. Block comes before Ban, and Ban before Exempt.
type Rule struct {
	Kind RuleKind `json:"kind"`

	// Key or Network is the client that a Block, Ban or Exempt is about: by the
	// key that it is counted by under any policy, or by its address.
	Key     string       `json:"key,omitempty"`
	Network netip.Prefix `json:"network,omitzero"`

	// Policy and Limits are the name of the policy that an Override is about,
	// and its limits meanwhile. What was counted stays if the longest window
	// does, and if there is one limit before and after, or several.
	Policy string  `json:"policy,omitempty"`
	Limits []Limit `json:"limits,omitempty"`

	// Until is when the rule ends; the zero Time is never. A Ban needs one.
	Until time.Time `json:"until,omitzero"`
}

// ID names the rule: there is one of each kind for a key, network or policy.
func (r Rule) ID() string {
	switch {
	case r.Kind == Override:
		return "override policy " + r.Policy
	case r.Network.IsValid():
		return string(r.Kind) + " network " + plainPrefix(r.Network).String()
	}
	return string(r.Kind) + " key " + boundedKey(r.Key)
}

// ended is whether the rule is over at a time.
func (r Rule) ended(now time.Time) bool { return !r.Until.IsZero() && !now.Before(r.Until) }

// normalize brings the rule into the one form in which it is kept, or says
// what is wrong with it.
func (r Rule) normalize() (Rule, error) {
	if r.Kind == Override {
		if r.Key != "" || r.Network.IsValid() {
			return r, errors.New("core: rule: an override is about a policy: leave out Key and Network")
		}
		if _, err := newPolicy(r.Policy, limitOptions(r.Limits)); err != nil {
			return r, fmt.Errorf("core: rule: %w", err)
		}
		r.Limits = slices.Clone(r.Limits)
		return r, nil
	}
	switch {
	case r.Kind != Block && r.Kind != Ban && r.Kind != Exempt:
		return r, fmt.Errorf("core: rule: unknown kind %q: use core.Block, core.Ban, core.Exempt or core.Override", r.Kind)
	case r.Policy != "" || len(r.Limits) > 0:
		return r, fmt.Errorf("core: rule: a rule of kind %s is about a client: leave out Policy and Limits", r.Kind)
	case (r.Key == "") == !r.Network.IsValid():
		return r, fmt.Errorf("core: rule: a rule of kind %s is about a Key or a Network: set one of them", r.Kind)
	case r.Kind == Ban && r.Until.IsZero():
		return r, errors.New("core: rule: a ban needs a time when it ends: set Until, or use core.Block")
	}
	if r.Network.IsValid() {
		r.Network = plainPrefix(r.Network)
	} else {
		r.Key = boundedKey(r.Key)
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
