package main

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
)

// policyFlag is a policy: a published one, or one from the flags.
type policyFlag struct {
	name        string
	limits      string
	concurrency bool
	costs       bool
	refundable  bool
	slices      int
	lease       time.Duration
}

func policyFlags(f *flag.FlagSet) *policyFlag {
	p := &policyFlag{}
	f.StringVar(&p.name, "policy", "", policyUsage)
	f.StringVar(&p.limits, "limits", "", "its `limits`, such as 20/second,200/minute, if no process publishes it")
	f.BoolVar(&p.concurrency, "concurrency", false, "with -limits max/hold, such as 5/30s: the service's policy is made by core.NewConcurrency")
	f.BoolVar(&p.costs, "costs", false, "with -limits: the service's policy has core.VariableCost")
	f.BoolVar(&p.refundable, "refundable", false, "with -limits: the service's policy is core.Refundable")
	f.IntVar(&p.slices, "slices", 0, "with -limits: the service's policy has core.Coarse of `n`")
	f.DurationVar(&p.lease, "lease", 0, "with -limits: the service's policy has core.Lease of this `time`")
	return p
}

func (p *policyFlag) check() error {
	switch {
	case p.name == "":
		return errNoName
	case p.limits != "":
		_, err := p.given()
		return err
	case p.concurrency || p.costs || p.refundable || p.slices != 0 || p.lease != 0:
		return usage("-concurrency, -costs, -refundable, -slices and -lease need -limits")
	}
	return nil
}

// on returns the policy on the target, and a limiter there. The caller closes the
// limiter.
func (p *policyFlag) on(ctx context.Context, t *target) (*core.Limiter, *core.Policy, error) {
	limiter, store, err := t.limiter(ctx)
	if err != nil {
		return nil, nil, err
	}
	found, err := p.find(ctx, limiter, store)
	if err != nil {
		_ = limiter.Close()
		return nil, nil, err
	}
	return limiter, found, nil
}

// find returns the policy under the current rules.
func (p *policyFlag) find(ctx context.Context, limiter *core.Limiter, store core.Store) (*core.Policy, error) {
	found, err := p.base(ctx, store)
	if err != nil {
		return nil, err
	}
	return current(ctx, limiter, found)
}

// current applies the current rules to a policy.
func current(ctx context.Context, limiter *core.Limiter, p *core.Policy) (*core.Policy, error) {
	if _, err := limiter.Rules(ctx); err != nil {
		return nil, err
	}
	limiter.Register(p)
	if now, ok := limiter.Policy(p.Name()); ok {
		p = now
	}
	return p, nil
}

// base returns the policy as it was made, but never as a shadow, since inspecting needs
// its limits. It makes no decision while Redis does not respond.
func (p *policyFlag) base(ctx context.Context, store core.Store) (*core.Policy, error) {
	if p.limits != "" {
		return p.given()
	}
	found, others, err := tellOf(ctx, store, p.name)
	switch {
	case err != nil:
		return nil, err
	case found == nil:
		return nil, fmt.Errorf("no process has published a policy %q within the last hour (%s): "+
			"give its limits, such as -limits 20/second,200/minute, and -concurrency, -costs, -refundable, -slices or -lease if it has them", p.name, list(others))
	}
	return found.With(core.Enforce())
}

// tellOf returns the published policy of a name. If there is none, it returns nil and the
// names of the published ones.
func tellOf(ctx context.Context, store core.Store, name string) (found *core.Policy, others []string, err error) {
	picture, err := monitor.Read(ctx, store)
	if err != nil {
		return nil, nil, err
	}
	for _, one := range picture.Policies {
		if len(one.Limits) == 0 {
			continue
		}
		if one.Name == name {
			found, err = one.Policy(name)
			return found, nil, err
		}
		others = append(others, one.Name)
	}
	return nil, others, nil
}

func list(names []string) string {
	if len(names) == 0 {
		return "nor any other"
	}
	return "only " + strings.Join(names, ", ")
}

func (p *policyFlag) given() (*core.Policy, error) {
	var options []core.PolicyOption
	if p.costs {
		options = append(options, core.VariableCost())
	}
	if p.refundable {
		options = append(options, core.Refundable(0))
	}
	if p.slices != 0 {
		options = append(options, core.Coarse(p.slices))
	}
	if p.lease != 0 {
		options = append(options, core.Lease(p.lease))
	}
	policy, err := p.parse(options)
	if err != nil {
		return nil, usageError{err.Error()}
	}
	return policy, nil
}

func (p *policyFlag) parse(options []core.PolicyOption) (*core.Policy, error) {
	if !p.concurrency {
		return core.ParsePolicy(p.name, strings.Split(p.limits, ","), options...)
	}
	l, err := core.ParseLimit(p.limits)
	switch {
	case err != nil:
		return nil, err
	case l.Period != "":
		return nil, usage("-limits is %s: with -concurrency, write it as 5/30s", p.limits)
	}
	return core.ParseConcurrency(p.name, l.Max, l.Window, options...)
}

// nameFlag adds the flag for the name of a policy.
func nameFlag(f *flag.FlagSet) *string { return f.String("policy", "", policyUsage) }

const policyUsage = "the `name` of the policy"

var errNoName = usage("-policy is missing")

// keyFlag adds the flag for a key.
func keyFlag(f *flag.FlagSet) *string {
	return f.String("key", "", "the `key`, as decisions show it, such as 192.0.2.1")
}
