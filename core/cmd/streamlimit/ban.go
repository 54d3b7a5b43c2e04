package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
)

var banCommand = command{
	name:  "ban",
	about: "denies a key everything for a time",
	help: `
All policies deny the key, in all processes within a second. The ban replaces an
earlier ban of the key. Write the key as decisions and top show it: for an API key
x-api-key=<digest>.

	streamlimit ban -key 192.0.2.1 -for 10m`,
	flags: func(f *flag.FlagSet) action {
		t, key := targetFlags(f), keyFlag(f)
		length := f.Duration("for", 0, "how long, such as 10m")
		return func(ctx context.Context, s streams) error {
			if err := errNoKey(*key); err != nil {
				return err
			}
			if *length < time.Millisecond {
				return usage("-for is missing, or less than 1ms: write it as -for 10m")
			}
			limiter, _, err := t.limiter(ctx)
			if err != nil {
				return err
			}
			defer limiter.Close()
			until, err := ending(ctx, limiter, *length)
			if err != nil {
				return err
			}
			ban := core.Rule{Kind: core.RuleBan, Key: *key, Until: until}
			if err := limiter.SetRule(ctx, ban); err != nil {
				return err
			}
			noteForm(s.err, *key)
			if t.json {
				return writeJSON(s.out, monitor.ShowRule(ban))
			}
			_, err = fmt.Fprintln(s.out, told(*key, "is banned until %s. %s", moment(ban.Until), keyHint))
			return err
		}
	},
}

var unbanCommand = command{
	name:  "unban",
	about: "ends a ban",
	help: `
It fails if the key is not banned.

	streamlimit unban -key 192.0.2.1`,
	flags: func(f *flag.FlagSet) action {
		t, key := targetFlags(f), keyFlag(f)
		return func(ctx context.Context, s streams) error {
			if err := errNoKey(*key); err != nil {
				return err
			}
			return deletion{
				rule:   core.Rule{Kind: core.RuleBan, Key: *key}.ID(),
				answer: map[string]any{"key": *key},
				done:   told(*key, "is not banned any more"),
				none:   told(*key, "was not banned"),
			}.run(ctx, s, t)
		}
	},
}
