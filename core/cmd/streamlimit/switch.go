package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
)

var switchCommand = command{
	name:  "switch",
	about: "switches a policy, or all, off, to shadow, or on again",
	help: `
It holds in all processes within a second, or by their next request. Off lets requests
pass uncounted. Shadow counts requests and denies none. On ends the switch. Banned and
blocked clients are still denied. The switch replaces an earlier one, and a switch of
one policy takes precedence over a switch of all. A note is written for a policy that
no process publishes: check its name.

	streamlimit switch -policy search -to off -for 10m
	streamlimit switch -all -to shadow
	streamlimit switch -all -to on`,
	flags: func(f *flag.FlagSet) action {
		t, name := targetFlags(f), nameFlag(f)
		all := f.Bool("all", false, "all policies")
		to := f.String("to", "", "the `mode`: off, shadow or on")
		length := f.Duration("for", 0, "how long, such as 10m; without it, until it is switched on")
		return func(ctx context.Context, s streams) error {
			rule, err := switchOf(*name, *all, *to)
			if err != nil {
				return err
			}
			if *length != 0 && (*length < time.Millisecond || rule.Mode == core.ModeOn) {
				return usage("-for must be 1ms at least, and needs -to off or -to shadow")
			}
			if rule.Mode == core.ModeOn {
				still := ""
				if !*all {
					still = core.Rule{Kind: core.RuleSwitch, Policy: core.AllPolicies}.ID()
				}
				return deletion{
					still:  still,
					rule:   rule.ID(),
					answer: map[string]any{"policy": rule.Policy},
					done:   "on again: " + policies(rule.Policy),
					none:   "not switched: " + policies(rule.Policy),
				}.run(ctx, s, t)
			}
			limiter, store, err := t.limiter(ctx)
			if err != nil {
				return err
			}
			defer limiter.Close()
			if rule.Until, err = ending(ctx, limiter, *length); err != nil {
				return err
			}
			if !*all {
				found, others, err := tellOf(ctx, store, rule.Policy)
				if err != nil {
					return err
				}
				if found == nil {
					noteUnknown(s.err, rule.Policy, "switch", others)
				}
			}
			if err := limiter.SetRule(ctx, rule); err != nil {
				return err
			}
			if t.json {
				return writeJSON(s.out, monitor.ShowRule(rule))
			}
			_, err = fmt.Fprintln(s.out, "switched: "+line(rule, false))
			return err
		}
	},
}

// switchOf returns the rule for the flags.
func switchOf(name string, all bool, to string) (core.Rule, error) {
	switch {
	case all && name != "":
		return core.Rule{}, usage("-all and -policy are both given: leave one out")
	case all:
		name = core.AllPolicies
	case name == "":
		return core.Rule{}, usage("-policy is missing, or -all")
	}
	switch mode := core.Mode(to); mode {
	case core.ModeOn, core.ModeShadow, core.ModeOff:
		return core.Rule{Kind: core.RuleSwitch, Policy: name, Mode: mode}, nil
	}
	return core.Rule{}, usage("-to must be off, shadow or on")
}

// ending returns the end of a rule that lasts for a time, by the server's clock. For 0
// the rule has no end.
func ending(ctx context.Context, limiter *core.Limiter, length time.Duration) (time.Time, error) {
	if length == 0 {
		return time.Time{}, nil
	}
	now, err := limiter.Now(ctx)
	return now.Add(length).Truncate(time.Millisecond), err
}
