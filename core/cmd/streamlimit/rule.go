package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/streamlimit/streamlimit/core"
)

// shownRule is a rule in JSON.
type shownRule struct {
	ID      string        `json:"id"`
	Kind    core.RuleKind `json:"kind"`
	Key     string        `json:"key,omitempty"`
	Network string        `json:"network,omitempty"`
	Policy  string        `json:"policy,omitempty"`
	Limits  []core.Limit  `json:"limits,omitempty"`
	Until   int64         `json:"until,omitempty"`
}

func showRule(r core.Rule) shownRule {
	shown := shownRule{ID: r.ID(), Kind: r.Kind, Key: r.Key, Policy: r.Policy, Limits: r.Limits}
	if r.Network.IsValid() {
		shown.Network = r.Network.String()
	}
	if !r.Until.IsZero() {
		shown.Until = r.Until.UnixMilli()
	}
	return shown
}

// line is a rule in words.
func line(r core.Rule) string {
	words := string(r.Kind) + " " + about(r)
	if !r.Until.IsZero() {
		words += " until " + r.Until.Local().Format("2006-01-02 15:04:05")
	}
	return words
}

// about is who or what a rule is about.
func about(r core.Rule) string {
	switch {
	case r.Kind == core.Override:
		return r.Policy + ": " + limits(r.Limits)
	case r.Network.IsValid():
		return r.Network.String()
	default:
		return clean(r.Key)
	}
}

func limits(all []core.Limit) string {
	texts := make([]string, len(all))
	for i, l := range all {
		texts[i] = l.String()
	}
	return strings.Join(texts, ", ")
}

// concerns is whether a rule changes what becomes of a key, as far as the key
// tells.
func concerns(r core.Rule, policy, key string) bool {
	switch {
	case r.Kind == core.Override:
		return r.Policy == policy
	case !r.Network.IsValid():
		return r.Key == key
	}
	prefix, err := netip.ParsePrefix(key)
	if address, bad := netip.ParseAddr(key); bad == nil {
		prefix, err = address.Prefix(address.BitLen())
	}
	return err == nil && prefix.Bits() >= r.Network.Bits() && r.Network.Contains(prefix.Addr())
}

func errNoKey(key string) error {
	if key == "" {
		return usage("-key is missing")
	}
	return nil
}

// told is what was done to a key.
func told(key, format string, args ...any) string {
	return clean(key) + " " + fmt.Sprintf(format, args...)
}
