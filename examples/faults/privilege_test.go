package faults

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// An ACL user with only the commands that package redisstream documents can make all
// calls of a limiter.
func TestRow27_LeastPrivilege(t *testing.T) {
	r := row(t, 27)
	commands := documentedCommands(t)
	server := redistest.Start(t)
	server.AddUser("limiter", "pw", redisstream.DefaultPrefix+"*", commands...)
	o := server.Options()
	o.Username, o.Password = "limiter", "pw"
	rdb := patient(o)
	defer rdb.Close()
	l := core.New(redisstream.New(rdb, redisstream.WithTimeout(patience)), core.WithFailureMode(core.FailClosed))
	calls := everything(t, l)
	l.Close()
	if denied := server.Denied(); len(denied) > 0 {
		t.Errorf("ACL LOG: %q", denied)
	}
	r.Figure("%d denials in %d calls with %d commands", len(server.Denied()), calls, len(commands))
}

// documentedCommands reads the commands from the package's documentation.
func documentedCommands(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../core/redisstream/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?s)needs the keys streamlimit:\* and the commands (.*?)\.`).FindSubmatch(text)
	if m == nil {
		t.Fatal("the documentation lists no commands")
	}
	return regexp.MustCompile(`[a-z]+`).FindAllString(strings.ReplaceAll(string(m[1]), " and", " "), -1)
}

// everything makes each call of a limiter to its store, on each layout, and returns the
// number of calls.
func everything(t *testing.T, l *core.Limiter) (calls int) {
	t.Helper()
	ctx := t.Context()
	do := func(what string, err error) {
		t.Helper()
		calls++
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	policies := layouts("acl", core.PerHour(3))
	for _, p := range policies {
		var d core.Decision
		for i := range 5 {
			var err error
			d, err = l.Allow(ctx, p, "k")
			do("Allow", err)
			if d.Allowed != (i < 3) {
				t.Errorf("%s: request %d: allowed %v", p, i, d.Allowed)
			}
			if p.Log().Refundable() && i == 0 {
				other, err := l.Allow(ctx, p, "other")
				do("Allow", err)
				do("Refund", l.Refund(ctx, other))
			}
		}
		_, err := l.Peek(ctx, p, "k")
		do("Peek", err)
		_, err = l.Entries(ctx, p, "k", 10)
		do("Entries", err)
		do("Reset", l.Reset(ctx, p, "k"))
	}
	_, err := l.AllowAll(ctx, core.Charge{Policy: policies[0], Key: "k"}, core.Charge{Policy: policies[2], Key: "k2"}, core.Charge{Policy: policies[3], Key: "k"})
	do("AllowAll", err)
	do("Override", l.SetRule(ctx, core.Rule{Kind: core.RuleOverride, Policy: policies[0].Name(), Limits: []core.Limit{core.PerHour(5)}}))
	do("Ban", l.Ban(ctx, "k", time.Minute))
	_, err = l.Unban(ctx, "k")
	do("Unban", err)
	do("SetRule", l.SetRule(ctx, core.Rule{Kind: core.RuleBlock, Key: "k"}))
	rules, err := l.Rules(ctx)
	do("Rules", err)
	for _, rule := range rules {
		_, err := l.DeleteRule(ctx, rule.ID())
		do("DeleteRule", err)
	}
	do("Ping", l.Ping(ctx))
	return calls
}
