package main

import (
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
	"github.com/streamlimit/streamlimit/core/redistest"
)

func TestResetGivesAllUnitsBack(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := newService(t, server)
	s.ask(t, api, client, 4)
	s.tell()
	tool(t, server, "reset", "-policy", "api", "-key", client).want(t, exitOK, client+" has all its units of api back")
	if d := s.ask(t, api, client, 1); d.Remaining != 4 {
		t.Errorf("%d remain, want 4 of 5", d.Remaining)
	}
	if again := tool(t, server, "reset", "-policy", "api", "-key", client); again.code != exitOK || again.err != "" {
		t.Errorf("exit code %d, and of a key with a log the note %s", again.code, again.err)
	}
	var done map[string]any
	tool(t, server, "reset", "-policy", "costs", "-limits", "100/minute,1000/hour", "-costs", "-refundable", "-key", client, "-json").decode(t, &done)
	if done["policy"] != "costs" || done["reset"] != true {
		t.Errorf("%v", done)
	}
}

func TestBanAndUnban(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := newService(t, server)
	var ban monitor.Rule
	r := tool(t, server, "ban", "-key", client, "-for", "1h", "-json")
	r.want(t, exitOK)
	r.decode(t, &ban)
	if left := time.Until(time.UnixMilli(ban.Until)); ban.Kind != core.RuleBan || ban.Key != client || left < 50*time.Minute || left > time.Hour {
		t.Errorf("%+v", ban)
	}
	if rules, err := s.Rules(t.Context()); err != nil || len(rules) != 1 || rules[0].ID() != ban.ID {
		t.Errorf("rules %v, %v", rules, err)
	}
	if d := s.ask(t, api, client, 1); d.Reason != core.ReasonBanned {
		t.Errorf("reason %v", d.Reason)
	}
	tool(t, server, "unban", "-key", client).want(t, exitOK, "is not banned any more")
	tool(t, server, "unban", "-key", client).want(t, exitFailure, client+" was not banned")
	var found struct{ Found bool }
	r = tool(t, server, "unban", "-key", client, "-json")
	r.want(t, exitFailure)
	if r.decode(t, &found); found.Found {
		t.Error("found a ban that is over")
	}
}

func TestPoliciesAreThoseOfAllProcesses(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	tool(t, server, "policies").want(t, exitOK, "No process has published a policy")
	a, b := newService(t, server), newService(t, server)
	a.ask(t, api, client, 7)
	b.ask(t, costs, client, 1)
	if err := a.SetRule(t.Context(), core.Rule{Kind: core.RuleOverride, Policy: "costs", Limits: []core.Limit{core.PerMinute(9), core.PerHour(10)}}); err != nil {
		t.Fatal(err)
	}
	a.tell()
	b.tell()
	var all []monitor.Policy
	r := tool(t, server, "policies", "-json")
	r.want(t, exitOK)
	r.decode(t, &all)
	if len(all) != 2 || all[0].Name != "api" || all[0].Allowed != 5 || all[0].Denied != 2 || all[0].Overridden || all[0].Failure != "local" || all[0].By.Redis != 7 {
		t.Fatalf("%+v", all)
	}
	if c := all[1]; !c.Overridden || c.Limits[0] != core.PerMinute(9) || !c.Cost || c.Refundable == 0 {
		t.Errorf("%+v", c)
	}
	tool(t, server, "policies").want(t, exitOK, "FAILURE", "5/minute", "local", "29 %", "9/minute, 10/hour", "overridden")
}
