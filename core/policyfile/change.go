package policyfile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/streamlimit/streamlimit/core"
)

// changes lists the policies that have changed, each with its old and new settings. It
// returns "none" if nothing has changed. The old or new settings of a policy that is
// missing in before or after are the known ones.
func changes(known, before, after []*core.Policy) string {
	var texts []string
	for _, p := range latest(slices.Concat(before, after)) {
		name := p.Name()
		was, is := named(name, before, known), named(name, after, known)
		switch {
		case is == nil:
			texts = append(texts, name+": removed")
		case was == nil:
			texts = append(texts, name+": new, "+describe(is))
		case describe(was) != describe(is):
			text := name + ": " + describe(was) + " -> " + describe(is)
			if was.Log().Name != is.Log().Name {
				text += " (new logs)"
			}
			texts = append(texts, text)
		}
	}
	if len(texts) == 0 {
		return "none"
	}
	return strings.Join(texts, "; ")
}

// named returns the policy called name from the first list that has it, or nil.
func named(name string, lists ...[]*core.Policy) *core.Policy {
	for _, policies := range lists {
		for _, p := range policies {
			if p.Name() == name {
				return p
			}
		}
	}
	return nil
}

// describe returns all settings of a policy.
func describe(p *core.Policy) string {
	var parts []string
	for _, l := range p.Limits() {
		if p.Concurrency() {
			parts = append(parts, fmt.Sprintf("%d in flight, hold %v", l.Max, l.Window))
			continue
		}
		parts = append(parts, l.String())
	}
	if p.Log().Shadow {
		parts = append(parts, "shadow")
	}
	if p.FieldName() != p.Name() {
		parts = append(parts, "header "+p.FieldName())
	}
	if unit := p.Unit(); unit != "requests" && unit != "units" {
		parts = append(parts, "unit "+unit)
	}
	if mode := p.FailureMode(); mode != "" {
		parts = append(parts, "failure "+string(mode))
	}
	if p.Log().VariableCost {
		parts = append(parts, "cost")
	}
	if grace := p.Log().Grace; grace > 0 {
		parts = append(parts, fmt.Sprintf("refund %v", grace))
	}
	if s := p.Log().Slice; s != 0 {
		parts = append(parts, fmt.Sprintf("slices of %v", s))
	}
	if d := p.Log().Lease; d != 0 {
		parts = append(parts, fmt.Sprintf("lease %v", d))
	}
	return strings.Join(parts, ", ")
}
