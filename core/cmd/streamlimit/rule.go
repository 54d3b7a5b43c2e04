package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// line returns a rule in words.
func line(r core.Rule) string {
	words := string(r.Kind) + " " + about(r)
	if !r.Until.IsZero() {
		words += " until " + moment(r.Until)
	}
	return words
}

// about returns the client or policy that a rule is about.
func about(r core.Rule) string {
	switch {
	case r.Kind == core.RuleOverride:
		return r.Policy + ": " + limits(r.Limits)
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

func limits(all []core.Limit) string {
	texts := make([]string, len(all))
	for i, l := range all {
		texts[i] = l.String()
	}
	return strings.Join(texts, ", ")
}

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
