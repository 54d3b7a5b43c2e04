package main

import (
	"context"
	"errors"
	"fmt"
)

// deletion ends a rule. A missing rule is an error.
type deletion struct {
	rule       string         // its ID
	answer     map[string]any // JSON output, besides whether the rule was found
	done, none string         // text output
	still      string         // the ID of another rule that still holds, or ""
}

func (d deletion) run(ctx context.Context, s streams, t *target) error {
	limiter, _, err := t.limiter(ctx)
	if err != nil {
		return err
	}
	defer limiter.Close()
	found, err := limiter.DeleteRule(ctx, d.rule)
	if err != nil {
		return err
	}
	if t.json {
		d.answer["found"] = found
		if err := writeJSON(s.out, d.answer); err != nil {
			return err
		}
	}
	switch {
	case !found:
		return errors.New(d.none)
	case t.json:
		return nil
	}
	if d.still != "" {
		rules, err := limiter.Rules(ctx)
		if err != nil {
			return err
		}
		for _, r := range rules {
			if r.ID() == d.still {
				d.done += "; still " + line(r, false)
			}
		}
	}
	_, err = fmt.Fprintln(s.out, d.done)
	return err
}
