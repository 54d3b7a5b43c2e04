package policyfile

import (
	"strconv"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/streamlimit/streamlimit/core"
)

const settingNames = "limits, concurrency, shadow, header, unit, failure, cost, refund, slices, lease"

// settings sets the settings of a policy in the long form.
func (c *change) settings(mapping *ast.MappingNode) error {
	pairs, err := c.pairs(mapping, c.name+": ")
	if err != nil {
		return err
	}
	c.lines = make(map[string]int, len(pairs))
	for _, p := range pairs {
		c.lines[p.key] = p.line
		if err := c.setting(p); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) setting(p pair) error {
	switch p.key {
	case "limits":
		return c.limits(p, "limits: write a limit such as 100/minute, or a list of them")
	case "concurrency":
		return c.concurrency(p)
	case "shadow":
		on, err := c.toggle(p)
		if on {
			c.add(core.Shadow())
		} else {
			c.add(core.Enforce())
		}
		return err
	case "header":
		return c.header(p)
	case "unit":
		return c.unit(p)
	case "failure":
		return c.failure(p)
	case "cost":
		return c.cost(p)
	case "refund":
		return c.refund(p)
	case "slices":
		return c.slices(p)
	case "lease":
		return c.lease(p)
	}
	return c.wrong(p.line, "unknown setting %q: the settings are %s", clip(p.key), settingNames)
}

func (c *change) add(o core.PolicyOption) { c.options = append(c.options, o) }

// advise returns the error for a value that is not valid for a setting.
func (c *change) advise(p pair, what string) error {
	return c.wrong(p.line, "%s: %swrite %s%s", p.key, quoted(p.value), what, unread(p.value))
}

func (c *change) toggle(p pair) (bool, error) {
	if b, ok := p.value.(*ast.BoolNode); ok {
		return b.Value, nil
	}
	if text, _ := scalar(p.value); text == "true" || text == "false" {
		return false, c.advise(p, text+" without quotes")
	}
	return false, c.advise(p, "true or false")
}

// needed returns the error for removing a setting that the program needs.
func (c *change) needed(p pair) error {
	return c.wrong(p.line, "%s: the program needs this setting: write true, or leave it out", p.key)
}

func (c *change) header(p pair) error {
	name, ok := scalar(p.value)
	if !ok || name == "" {
		return c.advise(p, "the name that response fields give the policy, such as "+c.name)
	}
	c.add(core.FieldName(name))
	return nil
}

func (c *change) unit(p pair) error {
	name, ok := scalar(p.value)
	if !ok || name == "" {
		return c.advise(p, "the name of the policy's units, such as tokens")
	}
	c.add(core.Unit(name))
	return nil
}

func (c *change) failure(p pair) error {
	text, _ := scalar(p.value)
	for _, mode := range []core.FailureMode{core.FailOpen, core.FailClosed, core.FailLocal} {
		if text == string(mode) {
			c.add(core.OnStoreFailure(mode))
			return nil
		}
	}
	return c.advise(p, "open, closed or local")
}

func (c *change) cost(p pair) error {
	on, err := c.toggle(p)
	switch {
	case err != nil:
		return err
	case on:
		c.add(core.VariableCost())
	case c.known != nil && c.known.Log().VariableCost:
		return c.needed(p)
	}
	return nil
}

func (c *change) refund(p pair) error {
	if _, ok := p.value.(*ast.BoolNode); ok {
		on, _ := c.toggle(p)
		if on {
			c.add(core.Refundable(0))
		} else if c.known != nil {
			if c.known.Log().Refundable() {
				return c.needed(p)
			}
		}
		return nil
	}
	text, _ := scalar(p.value)
	grace, err := time.ParseDuration(text)
	if err != nil || grace <= 0 {
		return c.advise(p, "how long units can be given back, such as 10s or 1m30s, or true for half the longest window")
	}
	c.add(core.Refundable(grace))
	return nil
}

func (c *change) slices(p pair) error {
	text, _ := scalar(p.value)
	n, err := strconv.Atoi(text)
	if err != nil || strconv.Itoa(n) != text { // YAML allows other forms of a number
		return c.advise(p, "a whole number from 2 to 1000, such as 64, or 0 for none")
	}
	c.add(core.Coarse(n))
	return nil
}

func (c *change) lease(p pair) error {
	text, _ := scalar(p.value)
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return c.advise(p, "how long a process hands out units that it took ahead, such as 1s or 50ms, or 0 for no leases")
	}
	c.add(core.Lease(d))
	return nil
}
