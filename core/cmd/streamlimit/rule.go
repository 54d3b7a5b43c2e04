package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
)

// line returns a rule in words. slots reports whether its policy is a concurrency policy.
func line(r core.Rule, slots bool) string {
	words := string(r.Kind) + " " + about(r, slots)
	if !r.Until.IsZero() {
		words += " until " + moment(r.Until)
	}
	return words
}

// about returns the client or policy that a rule is about. slots reports whether the policy
// is a concurrency policy.
func about(r core.Rule, slots bool) string {
	switch {
	case r.Kind == core.RuleOverride:
		return r.Policy + ": " + limits(r.Limits, slots)
	case r.Kind == core.RuleSwitch:
		return policies(r.Policy) + ": " + string(r.Mode)
	case r.Network.IsValid():
		return r.Network.String()
	default:
		return clean(r.Key)
	}
}

// policies returns the name of the policy of a rule, or all policies.
func policies(name string) string {
	if name == core.AllPolicies {
		return "all policies"
	}
	return name
}

// limits returns the limits of a policy as text. slots reports whether it is a concurrency
// policy.
func limits(all []core.Limit, slots bool) string {
	texts := make([]string, len(all))
	for i, l := range all {
		texts[i] = limitText(l, slots)
	}
	return strings.Join(texts, ", ")
}

func limitText(l core.Limit, slots bool) string {
	if slots {
		return decimal(l.Max) + " in flight, hold " + short(l.Window)
	}
	return l.String()
}

// concurrency reports whether a policy is a published concurrency policy.
func concurrency(published []monitor.Policy, name string) bool {
	return slices.ContainsFunc(published, func(p monitor.Policy) bool { return p.Name == name && hasSlots(p) })
}

func hasSlots(p monitor.Policy) bool { return p.Layout == "slots" }

// moment returns a time in the format of the output.
func moment(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

func errNoKey(key string) error {
	if key == "" {
		return usage("-key is missing")
	}
	return nil
}

// told returns the result of a command for a key or a policy.
func told(key, format string, args ...any) string {
	return clean(key) + " " + fmt.Sprintf(format, args...)
}
