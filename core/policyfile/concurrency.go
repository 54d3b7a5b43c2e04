package policyfile

import (
	"strconv"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/streamlimit/streamlimit/core"
)

const concurrencyAdvice = "requests in flight and how long a crashed process holds them, such as {max: 5, hold: 30s}"

// concurrency takes over the one limit of a concurrency policy.
func (c *change) concurrency(p pair) error {
	mapping, ok := p.value.(*ast.MappingNode)
	if !ok {
		return c.advise(p, concurrencyAdvice)
	}
	if c.known != nil && !c.known.Concurrency() {
		return c.wrong(p.line, "%s: the program's policy has limits in a window: write limits, or use another policy", p.key)
	}
	pairs, err := c.pairs(mapping, c.name+": "+p.key+": ")
	if err != nil {
		return err
	}
	var l core.Limit
	for _, part := range pairs {
		text, _ := scalar(part.value)
		switch part.key {
		case "max":
			if l.Max, err = strconv.ParseInt(text, 10, 64); err != nil || l.Max < 1 {
				return c.wrong(part.line, "%s: max: %swrite a whole number of requests, such as 5", p.key, quoted(part.value))
			}
		case "hold":
			if l.Window, err = time.ParseDuration(text); err != nil || l.Window <= 0 {
				return c.wrong(part.line, "%s: hold: %swrite a time such as 30s", p.key, quoted(part.value))
			}
		default:
			return c.wrong(part.line, "%s: unknown setting %q: there are max, hold", p.key, clip(part.key))
		}
	}
	if l.Max == 0 || l.Window == 0 {
		return c.advise(p, concurrencyAdvice)
	}
	c.slots, c.hasLimits = &l, true
	return nil
}

// mixed returns an error for limits in a window beside a limit of requests in flight.
func (c *change) mixed() error {
	concurrent := c.slots != nil || c.known != nil && c.known.Concurrency()
	if concurrent && c.hasWindow {
		return c.wrong(c.line, "limits: a policy of requests in flight has none: write concurrency alone, or another policy")
	}
	return nil
}
