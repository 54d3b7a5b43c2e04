package main

import (
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
	"github.com/streamlimit/streamlimit/core/redistest"
)

func TestOverrideAndRestore(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := newService(t, server)
	s.ask(t, api, client, 2)
	s.tell()
	limits := func(want ...core.Limit) {
		t.Helper()
		if _, err := s.Rules(t.Context()); err != nil { // starts the first read of the rules
			t.Fatal(err)
		}
		p, _ := s.Policy("api")
		if got := p.Limits(); len(got) != len(want) || got[0] != want[0] {
			t.Errorf("the service has %v, want %v", got, want)
		}
	}

	var rule monitor.Rule
	r := tool(t, server, "override", "-policy", "api", "-limits", "3/minute", "-json")
	r.want(t, exitOK)
	if r.decode(t, &rule); rule.ID != "override policy api" || rule.Kind != core.RuleOverride || len(rule.Limits) != 1 || rule.Until != 0 || r.err != "" {
		t.Errorf("%+v, and the note %q", rule, r.err)
	}
	limits(core.PerMinute(3))
	if d := s.ask(t, api, client, 1); d.Remaining != 0 {
		t.Errorf("%d remain, want 0 of 3", d.Remaining)
	}

	// A policy with several limits uses another log. The earlier log still counts.
	tool(t, server, "override", "-policy", "api", "-limits", "6/minute,9/hour").want(t, exitOK,
		"api is limited to 6/minute, 9/hour until it is restored", "New logs of api begin")
	limits(core.PerMinute(6), core.PerHour(9))
	if d := s.ask(t, api, client, 1); d.Remaining != 2 {
		t.Errorf("%d remain, want 2 of 6", d.Remaining)
	}

	tool(t, server, "restore", "-policy", "api").want(t, exitOK, "api has its own limits again")
	limits(core.PerMinute(5))
	if d := s.ask(t, api, client, 1); !d.Allowed || d.Remaining != 0 {
		t.Errorf("%d remain, want 0 of 5, with the units of both logs", d.Remaining)
	}
	var found struct {
		Policy string
		Found  bool
	}
	r = tool(t, server, "restore", "-policy", "api", "-json")
	r.want(t, exitFailure, "api had no override")
	if r.decode(t, &found); found.Policy != "api" || found.Found {
		t.Errorf("%+v", found)
	}
}

func TestOverrideOfAnUnknownPolicyWaits(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := newService(t, server)
	s.Register(costs)
	s.tell()
	tool(t, server, "override", "-policy", "apis", "-limits", "4/second").want(t, exitOK,
		`No process has published a policy "apis" within the last hour (only costs)`, "apis is limited to 4/second until")
	if rules, err := s.Rules(t.Context()); err != nil || len(rules) != 1 || rules[0].Policy != "apis" {
		t.Errorf("rules %v, %v", rules, err)
	}
}

func TestOverrideThatCannotHoldIsRefused(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := newService(t, server)
	s.Register(core.NewPolicy("bulk", core.PerDay(1000), core.Coarse(64)))
	s.tell()
	tool(t, server, "override", "-policy", "bulk", "-limits", "4/second,9/hour").want(t, exitFailure, "a coarse log has one limit")
	if rules, err := s.Rules(t.Context()); err != nil || len(rules) != 0 {
		t.Errorf("rules %v, %v", rules, err)
	}
}

func TestRulesAreListedAndDeleted(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	tool(t, server, "rules").want(t, exitOK, "No rule holds.")
	s := newService(t, server)
	if err := s.SetRule(t.Context(), core.Rule{Kind: core.RuleOverride, Policy: "api", Limits: []core.Limit{core.PerMinute(6), core.PerHour(7)}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Ban(t.Context(), "a\x1bb", time.Hour); err != nil {
		t.Fatal(err)
	}
	var all []monitor.Rule
	r := tool(t, server, "rules", "-json")
	r.want(t, exitOK)
	r.decode(t, &all)
	if len(all) != 2 || all[0].ID != "ban key a\x1bb" || all[0].Until == 0 || all[1].ID != "override policy api" || len(all[1].Limits) != 2 {
		t.Fatalf("%+v", all)
	}
	r = tool(t, server, "rules")
	r.want(t, exitOK, "ban key a?b", "override policy api  6/minute, 7/hour  -", moment(time.UnixMilli(all[0].Until)))
	if strings.Contains(r.out, "\x1b") {
		t.Errorf("%q", r.out)
	}

	tool(t, server, "rules", "-delete", all[0].ID).want(t, exitOK, "ended: ban key a?b")
	tool(t, server, "rules", "-delete", all[0].ID).want(t, exitFailure, "no rule has the ID")
	tool(t, server, "rules", "-delete", all[1].ID, "-json").want(t, exitOK, `{"found":true,"id":"override policy api"}`)
	tool(t, server, "rules", "-json").want(t, exitOK, "[]")
}
