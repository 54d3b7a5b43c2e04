package redisstream

import (
	"context"
	"encoding/json"
	"math"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
)

// oddKeys are texts that some part of the way could take for something else.
var oddKeys = []string{
	"version", "0 {}", " ", "a b", "{rules}", "}{", `"quoted" \ back`, "<&>", "\x00\x01\x1f", "line\r\nbreak",
	"\u2028 \u00e9 \U0001f600", "203.0.113.7", "2001:db8::/64", strings.Repeat("k", 128),
}

func rulesOf(t *testing.T, s *Store) map[string]store.Rule {
	t.Helper()
	rules, err := s.Rules(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]store.Rule)
	for _, r := range rules.Set {
		found[r.ID] = r
	}
	return found
}

// Rules come back as they were set.
func TestRulesRoundTrip(t *testing.T) {
	s := New(redistest.Start(t).Client(), patient)
	limiter := core.New(s)
	until := time.Now().Add(time.Hour)
	var rules []core.Rule
	for _, key := range oddKeys {
		rules = append(rules, core.Rule{Kind: core.RuleBlock, Key: key}, core.Rule{Kind: core.RuleBan, Key: key, Until: until}, core.Rule{Kind: core.RuleExempt, Key: key})
	}
	for _, network := range []string{"203.0.113.0/24", "::/0", "2001:db8::/32", "0.0.0.0/0", "::1/128"} {
		rules = append(rules, core.Rule{Kind: core.RuleBlock, Network: netip.MustParsePrefix(network), Until: until})
	}
	rules = append(rules,
		core.Rule{Kind: core.RuleOverride, Policy: "api", Limits: []core.Limit{core.PerSecond(2), core.Per(7, 1500*time.Millisecond)}},
		core.Rule{Kind: core.RuleOverride, Policy: "big", Limits: []core.Limit{core.Per(store.MaxUnits, store.MaxWindow)}, Until: until})
	for _, r := range rules {
		if err := limiter.SetRule(t.Context(), r); err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
	}
	normal := time.UnixMilli(until.UnixMilli()).UTC()
	found := rulesOf(t, s)
	if len(found) != len(rules) {
		t.Errorf("%d rules, want %d", len(found), len(rules))
	}
	for _, want := range rules {
		if !want.Until.IsZero() {
			want.Until = normal
		}
		if got := found[want.ID()]; !reflect.DeepEqual(got, kept(want)) {
			t.Errorf("rule %s: %+v, want %+v", want.ID(), got, want)
		}
	}
	// A process that starts has them from Redis.
	other := core.New(New(s.transport.rdb, patient))
	defer other.Close()
	listed, err := other.Rules(t.Context())
	if err != nil || len(listed) != len(rules) {
		t.Fatalf("another process has %d rules, %v, want %d", len(listed), err, len(rules))
	}
	for _, r := range listed {
		if found, err := other.DeleteRule(t.Context(), r.ID()); err != nil || !found {
			t.Errorf("delete %s: found %v, %v", r.ID(), found, err)
		}
	}
	if left := rulesOf(t, s); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	limiter.Close()
}

// The keys of the rules name their format. Rules in another format are left alone.
func TestRulesFormat(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := New(rdb, patient)
	if keys := s.ruleKeys(); keys[0] != "streamlimit:{rules}:1:all" {
		t.Errorf("the rules are in %q: is that another format?", keys[0])
	}
	for _, key := range []string{"streamlimit:{rules}", "streamlimit:{rules}:2:all"} {
		must(t, rdb.HSet(t.Context(), key, "block key old", "0 old").Err())
	}
	must(t, s.SetRule(t.Context(), kept(core.Rule{Kind: core.RuleBlock, Key: "k"})))
	if rules := rulesOf(t, s); len(rules) != 1 {
		t.Errorf("%d rules, want 1", len(rules))
	}
	if keys := rdb.Keys(t.Context(), "*").Val(); len(keys) != 2+4 {
		t.Errorf("keys %q", keys)
	}
}

// A rule can be deleted on a server that is at its maxmemory, and none can be set.
func TestRulesOutOfMemory(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := New(rdb, patient)
	block := core.Rule{Kind: core.RuleBlock, Key: "k"}
	must(t, s.SetRule(t.Context(), kept(block)))
	must(t, rdb.ConfigSet(t.Context(), "maxmemory", "1").Err())
	if err := s.SetRule(t.Context(), kept(core.Rule{Kind: core.RuleBlock, Key: "other"})); !redis.HasErrorPrefix(err, "OOM") {
		t.Errorf("set: %v, want OOM", err)
	}
	if found, err := s.DeleteRule(t.Context(), block.ID()); err != nil || !found {
		t.Errorf("deleted: %v, %v", found, err)
	}
	if rules := rulesOf(t, s); len(rules) != 0 {
		t.Errorf("left: %v", rules)
	}
}

// Each change has a version of its own, and what changes nothing has none. That
// holds also for rules that were lost and made anew.
func TestRulesVersion(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := New(rdb, patient)
	seen := make(map[string]bool)
	version := func() string {
		t.Helper()
		c, err := s.Rules(t.Context(), "")
		must(t, err)
		if again, err := s.Rules(t.Context(), c.Version); err != nil || again.All || again.Set != nil || again.Version != c.Version {
			t.Fatalf("asked again: %v, %v", again, err)
		}
		return c.Version
	}
	changed := func(what string) {
		t.Helper()
		if v := version(); seen[v] {
			t.Errorf("%s: a version that was there before", what)
		} else {
			seen[v] = true
		}
	}
	changed("none")
	for range 3 {
		must(t, s.SetRule(t.Context(), kept(core.Rule{Kind: core.RuleBlock, Key: "k"})))
		changed("set")
	}
	before := version()
	found, err := s.DeleteRule(t.Context(), "block key other")
	if err != nil || found || version() != before {
		t.Errorf("deleting none: found %v, %v", found, err)
	}
	found, err = s.DeleteRule(t.Context(), "block key k")
	if err != nil || !found {
		t.Errorf("deleting: found %v, %v", found, err)
	}
	changed("deleted")
	if found, err = s.DeleteRule(t.Context(), versionField); err != nil || found {
		t.Errorf("the version is taken for a rule: %v, %v", found, err)
	}
	must(t, rdb.FlushAll(t.Context()).Err())
	must(t, s.SetRule(t.Context(), kept(core.Rule{Kind: core.RuleBlock, Key: "k"})))
	changed("lost and set")
}

// Rules that have ended are deleted with the next change.
func TestEndedRulesAreDeleted(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := New(rdb, patient)
	must(t, s.SetRule(t.Context(), kept(core.Rule{Kind: core.RuleBan, Key: "short", Until: time.Now().Add(time.Millisecond)})))
	time.Sleep(5 * time.Millisecond)
	if found, err := s.DeleteRule(t.Context(), "ban key short"); err != nil || found {
		t.Errorf("an ended rule is found: %v, %v", found, err)
	}
	keys := s.ruleKeys()
	if left := rdb.HKeys(t.Context(), keys[0]).Val(); len(left) != 1 || left[0] != versionField {
		t.Errorf("left: %v", left)
	}
	if left := rdb.Exists(t.Context(), keys[1], keys[2]).Val(); left != 0 {
		t.Errorf("%d of the sorted sets are left", left)
	}
}

// Rules that have ended are not read, and the next changes delete 100 each.
func TestEndedRulesAreNotRead(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := New(rdb, patient)
	begun, err := s.Rules(t.Context(), "")
	must(t, err)
	keys := s.ruleKeys()
	const ended = 150
	for i := range ended {
		must(t, s.SetRule(t.Context(), kept(core.Rule{Kind: core.RuleBan, Key: strconv.Itoa(i), Until: s.RuleTime().Add(time.Hour)})))
	}
	must(t, s.SetRule(t.Context(), kept(core.Rule{Kind: core.RuleBlock, Key: "k"})))
	must(t, rdb.ScriptFlush(t.Context()).Err())
	late := New(redis.NewClient(rdb.Options()), patient)
	defer late.transport.rdb.Close()
	late.transport.rdb.AddHook(hoursOff{2 * time.Hour})
	for _, known := range []string{"", begun.Version} {
		c, err := late.Rules(t.Context(), known)
		if must(t, err); len(c.Set) != 1 {
			t.Errorf("since %q: %d rules, want the one that has not ended", known, len(c.Set))
		}
	}
	for _, want := range []int64{ended + 3 - 100, 4} {
		must(t, late.SetRule(t.Context(), kept(core.Rule{Kind: core.RuleBlock, Key: strconv.FormatInt(want, 10)})))
		if left := rdb.HLen(t.Context(), keys[0]).Val(); left != want {
			t.Errorf("the hash has %d fields, want %d", left, want)
		}
	}
}

// A rule that can't be read, such as one of a newer version, stands in no other's
// way and is logged once for each change.
func TestUnreadableRules(t *testing.T) {
	rdb := redistest.Start(t).Client()
	var lines logBuffer
	s := New(rdb, patient)
	keys := s.ruleKeys()
	must(t, rdb.HSet(t.Context(), keys[0], versionField, "1-1").Err())
	must(t, rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: keys[3], ID: "1-1", Values: []string{"id", ""}}).Err())
	for id, value := range map[string]string{
		"no JSON":      "0 {",
		"no value":     "",
		"new field":    `0 {"kind":"block","key":"unread","method":"POST"}`,
		"no limit":     `0 {"kind":"override","policy":"p","limits":["many"]}`,
		"no network":   `0 {"kind":"block","network":"anywhere"}`,
		"another's ID": `0 {"kind":"block","key":"unread"}`,

		"tarpit key unknown": `0 {"kind":"tarpit","key":"unknown"}`,
		"ban key unknown":    `0 {"kind":"ban","key":"unknown"}`,
	} {
		must(t, rdb.HSet(t.Context(), keys[0], id, value).Err())
		must(t, rdb.ZAdd(t.Context(), keys[1], redis.Z{Score: 1, Member: id}).Err())
		must(t, rdb.ZAdd(t.Context(), keys[2], redis.Z{Score: math.Inf(1), Member: id}).Err())
	}
	limiter := core.New(s, core.WithLogger(lines.logger()))
	defer limiter.Close()
	if rules, err := limiter.Rules(t.Context()); err != nil || len(rules) != 0 {
		t.Fatalf("rules: %v, %v", rules, err)
	}
	p := core.NewPolicy("p", core.PerMinute(1000))
	for range 2 {
		if _, err := s.Rules(t.Context(), ""); err != nil { // as another limiter does
			t.Fatal(err)
		}
		must(t, limiter.SetRule(t.Context(), core.Rule{Kind: core.RuleBlock, Key: "blocked"}))
		if rules, err := limiter.Rules(t.Context()); err != nil || len(rules) != 1 {
			t.Fatalf("rules: %v, %v", rules, err)
		}
		if log := lines.String(); strings.Count(log, "passed over") != 1 || !strings.Contains(log, "rules=7") {
			t.Errorf("%s\nwant one line about 7 rules", log)
		}
	}
	for key, want := range map[string]bool{"unread": true, "unknown": true, "blocked": false} {
		if d, err := limiter.Allow(t.Context(), p, key); err != nil || d.Allowed != want {
			t.Errorf("%s: %+v, %v", key, d, err)
		}
	}
}

// Processes on one Redis follow each other's rules within a second.
func TestRulesReachOtherProcesses(t *testing.T) {
	server := redistest.Start(t)
	process := func() *core.Limiter {
		rdb := redis.NewClient(server.Options())
		limiter := core.New(New(rdb, patient))
		t.Cleanup(func() {
			limiter.Close()
			rdb.Close()
		})
		return limiter
	}
	one, two := process(), process()
	p := core.NewPolicy("api", core.PerHour(1_000_000))
	ctx := context.Background()
	within := func(what string, held func(d core.Decision) bool) {
		t.Helper()
		start := time.Now()
		for {
			d, err := two.Peek(ctx, p, "203.0.113.7")
			must(t, err)
			if held(d) {
				return
			}
			if time.Since(start) > 5*time.Second { // a second, and what a busy machine adds
				t.Fatalf("%s: %+v", what, d)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	two.Register(p)
	must(t, one.Ban(ctx, "203.0.113.7", time.Hour))
	within("ban", func(d core.Decision) bool { return d.Reason == core.ReasonBanned && !d.Allowed })
	must(t, one.SetRule(ctx, core.Rule{Kind: core.RuleBlock, Network: netip.MustParsePrefix("203.0.113.0/24")}))
	within("block", func(d core.Decision) bool { return d.Reason == core.ReasonBlocked })
	for _, id := range []string{"ban key 203.0.113.7", "block network 203.0.113.0/24"} {
		if found, err := one.DeleteRule(ctx, id); err != nil || !found {
			t.Errorf("delete %s: %v, %v", id, found, err)
		}
	}
	must(t, one.SetRule(ctx, core.Rule{Kind: core.RuleOverride, Policy: "api", Limits: []core.Limit{core.PerHour(7)}}))
	within("override", func(d core.Decision) bool { return d.Allowed && d.Limit == core.PerHour(7) })
	// The rules stay when processes end.
	one.Close()
	three := process()
	if rules, err := three.Rules(ctx); err != nil || len(rules) != 1 {
		t.Errorf("rules of a process that starts: %v, %v", rules, err)
	}
	if d, err := three.Allow(ctx, p, "k"); err != nil || d.Limit != core.PerHour(7) {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := three.DeleteRule(ctx, "override policy api"); err != nil {
		t.Error(err)
	}
	within("restored", func(d core.Decision) bool { return d.Limit == core.PerHour(1_000_000) })
}

// kept returns the rule in the form that a limiter gives to a store.
func kept(r core.Rule) store.Rule {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return store.Rule{ID: r.ID(), Text: string(text), Until: r.Until}
}

// rulesInterval is how often a limiter looks for changed rules, unless an option says
// otherwise.
const rulesInterval = 400 * time.Millisecond
