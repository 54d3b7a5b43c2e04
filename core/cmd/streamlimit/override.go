package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
)

var overrideCommand = command{
	name:  "override",
	about: "gives a policy other limits, until restore",
	help: `
They replace all its limits, in all processes within a second, even those of a file.
The override replaces an earlier override of the policy.

Counted requests still count. With another longest window, or one limit instead of
several, new logs begin. The units in the earlier logs count until they leave their
windows. restore uses the earlier logs again.

The limit of a concurrency policy is written with its hold, such as 10/30s.

	streamlimit override -policy search -limits 5/second,1000/hour`,
	flags: func(f *flag.FlagSet) action {
		t, name := targetFlags(f), nameFlag(f)
		texts := f.String("limits", "", "all its `limits` during the override, such as 5/second,1000/hour")
		return func(ctx context.Context, s streams) error {
			rule, err := overrideOf(*name, *texts)
			if err != nil {
				return err
			}
			limiter, store, err := t.limiter(ctx)
			if err != nil {
				return err
			}
			defer limiter.Close()
			slots, err := setOverride(ctx, s.err, limiter, store, rule)
			if err != nil {
				return err
			}
			if t.json {
				return writeJSON(s.out, monitor.ShowRule(rule))
			}
			_, err = fmt.Fprintln(s.out, told(rule.Policy, "is limited to %s until it is restored", limits(rule.Limits, slots)))
			return err
		}
	},
}

var restoreCommand = command{
	name:  "restore",
	about: "ends an override: a policy has its own limits again",
	help: `
It fails when there is none.

	streamlimit restore -policy search`,
	flags: func(f *flag.FlagSet) action {
		t, name := targetFlags(f), nameFlag(f)
		return func(ctx context.Context, s streams) error {
			if *name == "" {
				return errNoName
			}
			return deletion{
				rule:   core.Rule{Kind: core.RuleOverride, Policy: *name}.ID(),
				answer: map[string]any{"policy": *name},
				done:   told(*name, "has its own limits again"),
				none:   told(*name, "had no override"),
			}.run(ctx, s, t)
		}
	},
}

// overrideOf returns the rule for the policy and limits in the flags.
func overrideOf(name, texts string) (core.Rule, error) {
	switch {
	case name == "":
		return core.Rule{}, errNoName
	case texts == "":
		return core.Rule{}, usage("-limits is missing: write them as -limits 5/second,1000/hour")
	}
	p, err := core.ParsePolicy(name, strings.Split(texts, ","))
	if err != nil {
		return core.Rule{}, usageError{err.Error()}
	}
	return core.Rule{Kind: core.RuleOverride, Policy: name, Limits: p.Limits()}, nil
}

// setOverride sets the rule, and notes its less expected effects. slots reports whether
// the policy is a published concurrency policy.
func setOverride(ctx context.Context, notes io.Writer, limiter *core.Limiter, store core.Store, rule core.Rule) (slots bool, err error) {
	found, others, err := tellOf(ctx, store, rule.Policy)
	if err != nil {
		return false, err
	}
	if found == nil {
		noteUnknown(notes, rule.Policy, "override", others)
		return false, limiter.SetRule(ctx, rule)
	}
	before, err := current(ctx, limiter, found)
	if err != nil {
		return false, err
	}
	if err := limiter.SetRule(ctx, rule); err != nil {
		return false, err
	}
	after, err := current(ctx, limiter, found)
	if err == nil && before.Log().Name != after.Log().Name {
		fmt.Fprintf(notes, "New logs of %s begin. Units in the earlier logs count until they leave their windows.\n", rule.Policy)
	}
	return found.Concurrency(), err
}
