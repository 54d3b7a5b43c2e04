package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
)

var resetCommand = command{
	name:  "reset",
	about: "gives a key all its units of a policy back",
	help: `
It deletes the log of the key. Processes that have cached a denial admit the key again
within a second. Under a concurrency policy, the requests in flight lose their slots:
they continue, and do not count any more.

	streamlimit reset -policy search -key 192.0.2.1`,
	flags: func(f *flag.FlagSet) action {
		t, p, key := targetFlags(f), policyFlags(f), keyFlag(f)
		return func(ctx context.Context, s streams) error {
			if err := cmp.Or(p.check(), errNoKey(*key)); err != nil {
				return err
			}
			limiter, policy, err := p.on(ctx, t)
			if err != nil {
				return err
			}
			defer limiter.Close()
			noteEmpty(ctx, s, limiter, policy, *key)
			if err := limiter.Reset(ctx, policy, *key); err != nil {
				return err
			}
			if t.json {
				return writeJSON(s.out, map[string]any{"policy": policy.Name(), "key": *key, "reset": true})
			}
			what := "units"
			if policy.Concurrency() {
				what = "slots"
			}
			_, err = fmt.Fprintln(s.out, told(*key, "has all its %s of %s back", what, policy.Name()))
			return err
		}
	},
}
