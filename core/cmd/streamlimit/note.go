package main

import (
	"context"
	"fmt"

	"github.com/streamlimit/streamlimit/core"
)

const keyHint = "Keys are as decisions show them, such as x-api-key=<digest>, which streamlimit digest makes; a service with a prefix needs -prefix."

// noteEmpty says that a key has no log, for it may be counted by another form of
// it. A log that can't be read is not for a note to say.
func noteEmpty(ctx context.Context, s streams, limiter *core.Limiter, p *core.Policy, key string) {
	if entries, err := limiter.Entries(ctx, p, key, 1); err == nil && len(entries) == 0 {
		fmt.Fprintln(s.err, told(key, "has nothing in its log of %s. %s", p.Name(), keyHint))
	}
}
