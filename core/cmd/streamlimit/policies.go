package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
)

var policiesCommand = command{
	name:  "policies",
	about: "lists the policies of all processes, and what they decided in the last minute",
	help: `
It lists the policies that processes with a recorder of package monitor have published
within the last hour. Policies that deny most come first. Failure is the mode while
Redis does not respond: local (each process's memory), open or closed. Further has the
numbers of requests that a shadow would have denied, that were decided without Redis
(they also count as allowed or denied), and that were not decided.

	streamlimit policies`,
	flags: func(f *flag.FlagSet) action {
		t := targetFlags(f)
		return func(ctx context.Context, s streams) error {
			limiter, store, err := t.limiter(ctx)
			if err != nil {
				return err
			}
			defer limiter.Close()
			picture, err := monitor.Read(ctx, store)
			if err != nil {
				return err
			}
			rules, err := limiter.Rules(ctx)
			if err != nil {
				return err
			}
			override(picture.Policies, rules)
			if t.json {
				return writeJSON(s.out, picture.Policies)
			}
			if len(picture.Policies) == 0 {
				_, err := fmt.Fprintln(s.out, "No process has published a policy within the last hour: processes need a recorder of package monitor.")
				return err
			}
			rows := [][]string{{"POLICY", "LIMITS", "FAILURE", "ALLOWED", "DENIED", "SHARE", "FURTHER"}}
			for _, p := range byDenials(picture.Policies) {
				rows = append(rows, []string{
					clean(p.Name), limits(p.Limits, hasSlots(p)), clean(p.Failure), decimal(p.Allowed), decimal(p.Denied),
					share(p.Denied, p.Total()), further(p),
				})
			}
			return table(s.out, rows)
		}
	},
}

// byDenials returns the policies, the most denied first.
func byDenials(policies []monitor.Policy) []monitor.Policy {
	return slices.SortedStableFunc(slices.Values(policies), func(a, b monitor.Policy) int { return cmp.Compare(b.Denied, a.Denied) })
}

// override marks a policy whose limits a rule overrides.
func override(policies []monitor.Policy, rules []core.Rule) {
	for _, r := range rules {
		for i := range policies {
			if r.Kind == core.RuleOverride && r.Policy == policies[i].Name {
				policies[i].Overridden, policies[i].Limits = true, r.Limits
			}
		}
	}
}

// further returns further facts about a policy, besides its limits and counts.
func further(p monitor.Policy) string {
	var words []string
	add := func(n int64, format string) {
		if n > 0 {
			words = append(words, fmt.Sprintf(format, n))
		}
	}
	if p.Unit != "" {
		words = append(words, "counts "+clean(p.Unit))
	}
	if p.Shadow {
		words = append(words, "shadow")
	}
	if p.Off {
		words = append(words, "off")
	}
	if p.Overridden {
		words = append(words, "overridden")
	}
	add(p.ShadowDenied, "%d would be denied")
	add(p.By.Lease, "%d from leases")
	add(p.By.Fallback, "%d by a process alone")
	add(p.By.Open, "%d let pass without Redis")
	add(p.Overloaded, "%d overloaded")
	add(p.Error, "%d not decided")
	add(p.NearLimit, "%d near a limit")
	return strings.Join(words, ", ")
}
