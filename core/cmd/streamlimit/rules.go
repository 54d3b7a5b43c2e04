package main

import (
	"context"
	"flag"
	"fmt"

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
			limiter, _, err := t.limiter(ctx)
			if err != nil {
				return err
			}
			defer limiter.Close()
			rules, err := limiter.Rules(ctx)
			if err != nil {
				return err
			}
			return listRules(s, t, rules)
		}
	},
}

func listRules(s streams, t *target, rules []core.Rule) error {
	if t.json {
		shown := []monitor.Rule{}
		for _, r := range rules {
			shown = append(shown, monitor.ShowRule(r))
		}
		return writeJSON(s.out, shown)
	}
	if len(rules) == 0 {
		_, err := fmt.Fprintln(s.out, "No rule holds.")
		return err
	}
	rows := [][]string{{"ID", "TO", "UNTIL"}}
	for _, r := range rules {
		until := "-"
		if !r.Until.IsZero() {
			until = moment(r.Until)
		}
		rows = append(rows, []string{clean(r.ID()), limits(r.Limits) + string(r.Mode), until})
	}
	return table(s.out, rows)
}
