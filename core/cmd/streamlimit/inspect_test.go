package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
)

const client = "192.0.2.1"

func TestInspectShowsUseRefundsAndBans(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := newService(t, server)
	s.ask(t, costs, client, 2)
	d, err := s.AllowN(t.Context(), costs, client, 7)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(t.Context(), d, 3); err != nil {
		t.Fatal(err)
	}
	if err := s.Ban(t.Context(), client, time.Hour); err != nil {
		t.Fatal(err)
	}
	s.tell()

	var found inspection
	r := tool(t, server, "inspect", "-policy", "costs", "-key", client, "-json")
	r.want(t, exitOK)
	r.decode(t, &found)
	if found.Policy != "costs" || found.Key != client || found.Allowed || found.Reason != "banned" || found.RetryAfter <= 0 {
		t.Errorf("%+v", found)
	}
	if len(found.Rules) != 1 || found.Rules[0].Kind != core.RuleBan || found.Rules[0].Until <= found.Now {
		t.Errorf("rules %+v", found.Rules)
	}
	var cost, refund int64
	for _, e := range found.Entries {
		cost += e.Cost
		refund += e.Refund
	}
	if cost-refund != 5 || refund != 4 || len(found.Entries) != 4 {
		t.Errorf("entries %+v: want 3 of cost 9, and a refund of 4", found.Entries)
	}
	if l := found.Limits[0]; l.Used != 5 || l.Left != 95 || l.FreeIn <= 0 {
		t.Errorf("%+v: want the use in the log, though the key is banned", l)
	}
	tool(t, server, "inspect", "-policy", "costs", "-key", client).want(t, exitOK,
		"a request is denied for", "(banned)", "ban "+client+" until", "LIMIT OF TOKENS", "100/minute", "1000/hour", "REFUND")
	tool(t, server, "policies").want(t, exitOK, "counts tokens")
}

func TestInspectSaysWhenUnitsComeFree(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := newService(t, server)
	s.ask(t, api, client, 6)
	var found inspection
	r := tool(t, server, "inspect", "-policy", "api", "-limits", "5/minute", "-key", client, "-entries", "3", "-json")
	r.want(t, exitOK)
	r.decode(t, &found)
	if len(found.Limits) != 1 || len(found.Entries) != 3 || found.Allowed {
		t.Fatalf("%+v", found)
	}
	l := found.Limits[0]
	if l.Used != 5 || l.Left != 0 || l.Limit != core.PerMinute(5) || l.FreeIn < 1 || l.FreeIn > 60_000 || found.RetryAfter != l.FreeIn {
		t.Errorf("%+v, retry after %d", l, found.RetryAfter)
	}
	if again := s.ask(t, api, "other", 1); again.Remaining != 4 {
		t.Errorf("inspecting has counted: %d remain", again.Remaining)
	}
}

func TestPrefixIsTheStores(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := newService(t, server, redisstream.WithPrefix("shop:"))
	s.ask(t, api, client, 2)
	s.tell()
	var found inspection
	r := tool(t, server, "inspect", "-policy", "api", "-key", client, "-prefix", "shop:", "-json")
	r.want(t, exitOK)
	r.decode(t, &found)
	if found.Limits[0].Used != 2 {
		t.Errorf("%+v", found.Limits)
	}
	tool(t, server, "inspect", "-policy", "api", "-key", client).want(t, exitFailure, `no process has published a policy "api"`, "-limits")
}

func TestUnknownPolicyNamesThoseKnown(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := newService(t, server)
	s.Register(api, costs)
	s.tell()
	tool(t, server, "inspect", "-policy", "apis", "-key", client).want(t, exitFailure, "only api, costs")
}

func TestOverrideIsWhatHolds(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := newService(t, server)
	s.ask(t, api, client, 2)
	if err := s.SetRule(t.Context(), core.Rule{Kind: core.RuleOverride, Policy: "api", Limits: []core.Limit{core.PerMinute(3)}}); err != nil {
		t.Fatal(err)
	}
	var found inspection
	tool(t, server, "inspect", "-policy", "api", "-limits", "5/minute", "-key", client, "-json").decode(t, &found)
	if l := found.Limits; len(l) != 1 || l[0].Limit != core.PerMinute(3) || l[0].Left != 1 || len(found.Rules) != 1 {
		t.Errorf("%+v", found)
	}
}

func TestKeysThatNobodyIsCountedByAreNoted(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	newService(t, server).ask(t, api, "x-api-key=5f2b", 1)
	for _, command := range []string{"inspect", "inspect -json", "inspect -entries 0", "reset", "reset -json"} {
		args := append(strings.Fields(command), "-policy", "api", "-limits", "5/minute", "-key")
		r := tool(t, server, append(args, "s\x1becret")...)
		r.want(t, exitOK)
		if want := "s?ecret has nothing in its log of api. " + keyHint + "\n"; r.err != want {
			t.Errorf("%s notes %q, want %q", command, r.err, want)
		}
		if strings.HasPrefix(command, "inspect") {
			if r := tool(t, server, append(args, "x-api-key=5f2b")...); r.code != exitOK || r.err != "" {
				t.Errorf("%s of a key with a log: exit code %d, and it notes %s", command, r.code, r.err)
			}
		}
	}
	tool(t, server, "ban", "-key", "secret", "-for", "1m").want(t, exitOK, keyHint)
	for key, noted := range map[string]bool{
		"sk_live_51Hn8": true, "x-api-key=sk_live_51Hn8": true, "bearer=eyJ.a.b": true, "shop": true, "address=203.0.113.7": true,
		"203.0.113.7": false, "2001:db8::/64": false, "user=ann": false, "x-api-key=" + strings.Repeat("5f2b", 8): false,
		"11:203.0.113.7,8:user=ann": false, "address=" + strings.Repeat("5f2b", 8): false,
	} {
		r := tool(t, server, "ban", "-key", key, "-for", "1m")
		if r.code != exitOK || strings.Contains(r.err, "streamlimit digest") != noted || noted != (r.err != "") {
			t.Errorf("ban of %q: exit code %d, and it notes %q", key, r.code, r.err)
		}
	}
}

func TestKeysDoNothingToTerminals(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := tool(t, server, "ban", "-key", "a\x1b[2Jb", "-for", "1m")
	r.want(t, exitOK, "a?[2Jb is banned")
	r = tool(t, server, "inspect", "-policy", "api", "-limits", "5/minute", "-key", "a\x1b[2Jb")
	r.want(t, exitOK, "(banned)")
	if strings.Contains(r.out, "\x1b") {
		t.Errorf("%q", r.out)
	}
}

// The requests in flight are counted as such, whether a process publishes the policy or
// the flags describe it.
func TestRequestsInFlight(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := newService(t, server)
	uploads := core.NewConcurrency("uploads", 2, 90*time.Second)
	for range 2 {
		slot, err := s.Acquire(t.Context(), uploads, client)
		if err != nil {
			t.Fatal(err)
		}
		defer slot.Release()
	}
	given := []string{"-policy", "uploads", "-key", client, "-limits", "2/90s", "-concurrency"}
	full := []string{"a request is denied until one in flight ends\n", "2 in flight, hold 1m30s  2     0     when a request ends", "RENEWED"}
	r := tool(t, server, append([]string{"inspect"}, given...)...)
	r.want(t, exitOK, full...)
	if strings.Contains(r.out, "COST") || r.err != "" {
		t.Errorf("%s%s", r.out, r.err)
	}

	s.tell()
	tool(t, server, "inspect", "-policy", "uploads", "-key", client).want(t, exitOK, full...)
	var found inspection
	tool(t, server, "inspect", "-policy", "uploads", "-key", client, "-json").decode(t, &found)
	if !found.Slots || found.Allowed || found.RetryAfter != 0 || len(found.Entries) != 2 || found.Limits[0].Used != 2 {
		t.Errorf("%+v", found)
	}
	tool(t, server, "policies").want(t, exitOK, "uploads  2 in flight, hold 1m30s  local")

	tool(t, server, "override", "-policy", "uploads", "-limits", "3/30s").want(t, exitOK, "uploads is limited to 3 in flight, hold 30s until it is restored\n")
	tool(t, server, "rules").want(t, exitOK, "override policy uploads  3 in flight, hold 30s  -")
	tool(t, server, "inspect", "-policy", "uploads", "-key", client).want(t, exitOK,
		"a request is allowed\n", "override uploads: 3 in flight, hold 30s\n", "3 in flight, hold 30s  2     1 ")
	tool(t, server, append([]string{"reset"}, given...)...).want(t, exitOK, client+" has all its slots of uploads back")
	tool(t, server, append([]string{"inspect"}, given...)...).want(t, exitOK, client+" has no slot of uploads", "3 in flight, hold 30s  0     3     -\n")
}

// The table shows when the calendar period began.
func TestUsedSince(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := newService(t, server)
	month := core.NewPolicy("month", core.PerMinute(100), core.PerCalendarMonth(1000, time.UTC))
	s.ask(t, month, client, 3)
	s.tell()
	var found inspection
	tool(t, server, "inspect", "-policy", "month", "-key", client, "-json").decode(t, &found)
	now := time.UnixMilli(found.Now).UTC()
	since := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	if len(found.Limits) != 2 || found.Limits[0].Since != 0 || found.Limits[1].Since != since.UnixMilli() {
		t.Errorf("%+v, want the period since %v", found.Limits, since)
	}
	r := tool(t, server, "inspect", "-policy", "month", "-key", client)
	r.want(t, exitOK, "USED SINCE", "100/minute", "1000/month@UTC  3     997", moment(since)+"\n")
	tool(t, server, "policies").want(t, exitOK, "month   100/minute, 1000/month@UTC  local")
}

// skewed is a store with a clock that differs from the test's.
type skewed struct {
	core.Store
	monitor.Feed
	ahead time.Duration
}

func (s *skewed) now() time.Time                         { return time.Now().Add(s.ahead) }
func (s *skewed) Now(context.Context) (time.Time, error) { return s.now(), nil }

func TestInspectGoesByTheStoresClock(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{-3 * time.Hour, -10 * time.Second, 10 * time.Second, 3 * time.Hour} {
		s := &skewed{ahead: ahead}
		s.Store = core.NewMemory(core.WithClock(s.now))
		limiter := core.New(s.Store)
		defer limiter.Close()
		if _, err := limiter.Allow(t.Context(), api, client); err != nil {
			t.Fatal(err)
		}
		found, err := inspect(t.Context(), limiter, s, api, client, 9)
		if err != nil {
			t.Fatal(err)
		}
		if age := found.Now - found.Entries[0].Time; age < 0 || age > 5000 {
			t.Errorf("%v: the entry is %d ms old", ahead, age)
		}
	}
}
