package policyfile

import (
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

func TestConcurrency(t *testing.T) {
	policies, err := Parse("p.yaml", []byte("policies:\n  uploads:\n    concurrency: {max: 5, hold: 30s}\n    shadow: true\n"))
	if err != nil || show(policies) != "uploads: 5 in flight, hold 30s, shadow" || !policies[0].Concurrency() {
		t.Errorf("%s, %v", show(policies), err)
	}
	known := core.NewConcurrency("uploads", 2, time.Minute, core.FieldName("up"))
	policies, err = Parse("p.yaml", []byte("policies: {uploads: {concurrency: {max: 7, hold: 20s}}}"), known)
	if err != nil || show(policies) != "uploads: 7 in flight, hold 20s, header up" || !policies[0].Concurrency() {
		t.Errorf("%s, %v", show(policies), err)
	}
	for _, c := range []struct {
		text, want string
		known      []*core.Policy
	}{
		{"{concurrency: 5}", `p.yaml:1: uploads: concurrency: "5": write requests in flight and how long a crashed process holds them, such as {max: 5, hold: 30s}`, nil},
		{"{concurrency: {max: 5}}", "p.yaml:1: uploads: concurrency: write requests in flight and how long a crashed process holds them, such as {max: 5, hold: 30s}", nil},
		{"{concurrency: {max: 0, hold: 30s}}", `p.yaml:1: uploads: concurrency: max: "0": write a whole number of requests, such as 5`, nil},
		{"{concurrency: {max: 5, hold: 30}}", `p.yaml:1: uploads: concurrency: hold: "30": write a time such as 30s`, nil},
		{"{concurrency: {max: 5, hold: 30s, min: 1}}", `p.yaml:1: uploads: concurrency: unknown setting "min": there are max, hold`, nil},
		{"{concurrency: {max: 5, hold: 10ms}}", "p.yaml:1: a hold of 10ms: use 1s to 24h0m0s, such as 30s", nil},
		{"{concurrency: {max: 5, hold: 30s}, limits: 5/s}", "p.yaml:1: uploads: limits: a policy of requests in flight has none: write concurrency alone, or another policy", nil},
		{"{concurrency: {max: 5, hold: 30s}, lease: 1s}", "p.yaml:1: uploads: lease: a concurrency policy has no use for it: leave it out, or make another policy and give both to the route", nil},
		{"5/s", "p.yaml:1: uploads: limits: a policy of requests in flight has none: write concurrency alone, or another policy", []*core.Policy{known}},
		{"{concurrency: {max: 5, hold: 30s}}", "p.yaml:1: uploads: concurrency: the program's policy has limits in a window: write limits, or use another policy", []*core.Policy{core.NewPolicy("uploads", core.PerSecond(1))}},
	} {
		_, err := Parse("p.yaml", []byte("policies: {uploads: "+c.text+"}"), c.known...)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s:\ngot  %v\nwant %s", c.text, err, c.want)
		}
	}
}
