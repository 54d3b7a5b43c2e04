package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
)

var rulesCommand = command{
	name:  "rules",
	about: "lists the rules that hold: overrides, switches, bans, blocks and exemptions",
	help: `
With -delete it ends the rule with that ID, and fails if there is no such rule.

	streamlimit rules
	streamlimit rules -delete "ban key 192.0.2.1"`,
	flags: func(f *flag.FlagSet) action {
		t := targetFlags(f)
		id := f.String("delete", "", "the `ID` of a rule to end")
		return func(ctx context.Context, s streams) error {
			if *id != "" {
				return deletion{
					rule:   *id,
					answer: map[string]any{"id": *id},
					done:   "ended: " + clean(*id),
					none:   fmt.Sprintf("no rule has the ID %q", *id),
				}.run(ctx, s, t)
			}
			limiter, store, err := t.limiter(ctx)
			if err != nil {
				return err
			}
			defer limiter.Close()
			rules, err := limiter.Rules(ctx)
			if err != nil {
				return err
			}
			if t.json {
				return writeRules(s.out, rules)
			}
			var published []monitor.Policy
			if slices.ContainsFunc(rules, func(r core.Rule) bool { return r.Kind == core.RuleOverride }) {
				picture, err := monitor.Read(ctx, store)
				if err != nil {
					return err
				}
				published = picture.Policies
			}
			return listRules(s.out, rules, published)
		}
	},
}

func writeRules(w io.Writer, rules []core.Rule) error {
	shown := []monitor.Rule{}
	for _, r := range rules {
		shown = append(shown, monitor.ShowRule(r))
	}
	return writeJSON(w, shown)
}

// listRules writes the rules as a table. published has the policies that they override.
func listRules(w io.Writer, rules []core.Rule, published []monitor.Policy) error {
	if len(rules) == 0 {
		_, err := fmt.Fprintln(w, "No rule holds.")
		return err
	}
	rows := [][]string{{"ID", "TO", "UNTIL"}}
	for _, r := range rules {
		until := "-"
		if !r.Until.IsZero() {
			until = moment(r.Until)
		}
		rows = append(rows, []string{clean(r.ID()), limits(r.Limits, concurrency(published, r.Policy)) + string(r.Mode), until})
	}
	return table(w, rows)
}
