package core_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
	"github.com/streamlimit/streamlimit/core/store"
)

func setRules(t *testing.T, l *core.Limiter, rules ...core.Rule) {
	t.Helper()
	for _, r := range rules {
		if err := l.SetRule(t.Context(), r); err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
	}
}

func deleteRules(t *testing.T, l *core.Limiter, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if found, err := l.DeleteRule(t.Context(), id); err != nil || !found {
			t.Errorf("delete %q: found %v, %v", id, found, err)
		}
	}
}

func network(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// Each case is a limiter with rules, and what they decide on a key, which comes
// from an address or is only asked about.
func TestRulesOnClients(t *testing.T) {
	soon, late := newTestClock().Now().Add(time.Hour), newTestClock().Now().Add(2*time.Hour)
	long := strings.Repeat("x", 1000)
	compound, err := adapter.JoinKeys("203.0.113.7", "alice")
	if err != nil {
		t.Fatal(err)
	}
	block := func(key string) core.Rule { return core.Rule{Kind: core.RuleBlock, Key: key} }
	ban := func(key string, until time.Time) core.Rule {
		return core.Rule{Kind: core.RuleBan, Key: key, Until: until}
	}
	exempt := func(key string) core.Rule { return core.Rule{Kind: core.RuleExempt, Key: key} }
	on := func(kind core.RuleKind, prefix string) core.Rule {
		r := core.Rule{Kind: kind, Network: network(prefix)}
		if kind == core.RuleBan {
			r.Until = soon
		}
		return r
	}
	for name, c := range map[string]struct {
		rules   []core.Rule
		address string // of the request; "" for none
		key     string
		want    core.Reason
	}{
		"no rule on the key":                  {[]core.Rule{block("other")}, "", "k", core.ReasonLimits},
		"blocked":                             {[]core.Rule{block("k")}, "", "k", core.ReasonBlocked},
		"banned":                              {[]core.Rule{ban("k", soon)}, "", "k", core.ReasonBanned},
		"exempt":                              {[]core.Rule{exempt("k")}, "", "k", core.ReasonExempt},
		"block before ban":                    {[]core.Rule{ban("k", late), block("k")}, "", "k", core.ReasonBlocked},
		"block before exempt":                 {[]core.Rule{exempt("k"), block("k")}, "", "k", core.ReasonBlocked},
		"ban before exempt":                   {[]core.Rule{exempt("k"), ban("k", soon)}, "", "k", core.ReasonBanned},
		"blocked network, exempt key":         {[]core.Rule{exempt("k"), on(core.RuleBlock, "203.0.113.0/24")}, "203.0.113.7", "k", core.ReasonBlocked},
		"blocked key, exempt network":         {[]core.Rule{block("k"), on(core.RuleExempt, "203.0.113.0/24")}, "203.0.113.7", "k", core.ReasonBlocked},
		"wide block, narrow exempt":           {[]core.Rule{on(core.RuleBlock, "203.0.0.0/16"), on(core.RuleExempt, "203.0.113.7/32")}, "203.0.113.7", "k", core.ReasonBlocked},
		"narrow ban, wide exempt":             {[]core.Rule{on(core.RuleExempt, "0.0.0.0/0"), on(core.RuleBan, "203.0.113.7/32")}, "203.0.113.7", "k", core.ReasonBanned},
		"another address":                     {[]core.Rule{on(core.RuleBlock, "203.0.113.0/24")}, "203.0.114.7", "k", core.ReasonLimits},
		"the address, not the key":            {[]core.Rule{on(core.RuleBlock, "203.0.113.0/24")}, "198.51.100.1", "203.0.113.7", core.ReasonLimits},
		"IPv4 in IPv6 asks":                   {[]core.Rule{on(core.RuleBlock, "203.0.113.0/24")}, "::ffff:203.0.113.7", "k", core.ReasonBlocked},
		"IPv4 in IPv6 rule":                   {[]core.Rule{on(core.RuleBlock, "::ffff:203.0.113.0/120")}, "203.0.113.7", "k", core.ReasonBlocked},
		"inside NAT64":                        {[]core.Rule{on(core.RuleBlock, "203.0.113.0/24")}, "64:ff9b::203.0.113.7", "k", core.ReasonBlocked},
		"inside another's NAT64":              {[]core.Rule{on(core.RuleBlock, "203.0.113.0/24"), on(core.RuleBlock, "2001:db8::/32")}, "64:ff9b::203.0.114.7", "k", core.ReasonLimits},
		"the NAT64 itself":                    {[]core.Rule{on(core.RuleExempt, "203.0.113.0/24"), on(core.RuleBlock, "64:ff9b::/96")}, "64:ff9b::203.0.113.7", "k", core.ReasonBlocked},
		"inside NAT64, a private one":         {[]core.Rule{on(core.RuleBlock, "10.0.0.0/8")}, "64:ff9b::10.0.0.1", "k", core.ReasonLimits},
		"all of IPv4 is not IPv6":             {[]core.Rule{on(core.RuleBlock, "0.0.0.0/0")}, "2001:db8::1", "k", core.ReasonLimits},
		"all of IPv6 is not IPv4":             {[]core.Rule{on(core.RuleBlock, "::/0")}, "203.0.113.7", "k", core.ReasonLimits},
		"same bits, other family":             {[]core.Rule{on(core.RuleBlock, "203.0.0.0/16")}, "cb00::1", "k", core.ReasonLimits},
		"IPv6":                                {[]core.Rule{on(core.RuleBlock, "2001:db8::/32")}, "2001:db8:1::1", "k", core.ReasonBlocked},
		"one IPv6 address":                    {[]core.Rule{on(core.RuleBlock, "2001:db8::5/128")}, "2001:db8::5", "2001:db8::/64", core.ReasonBlocked},
		"its neighbour in the /64":            {[]core.Rule{on(core.RuleBlock, "2001:db8::5/128")}, "2001:db8::6", "2001:db8::/64", core.ReasonLimits},
		"a zone does not matter":              {[]core.Rule{on(core.RuleBlock, "fe80::/10")}, "fe80::1%eth0", "k", core.ReasonBlocked},
		"not masked":                          {[]core.Rule{on(core.RuleBlock, "203.0.113.99/24")}, "203.0.113.7", "k", core.ReasonBlocked},
		"no address at all":                   {[]core.Rule{on(core.RuleBlock, "0.0.0.0/0"), on(core.RuleBlock, "::/0")}, "", "k", core.ReasonLimits},
		"the key is an address":               {[]core.Rule{on(core.RuleBlock, "203.0.113.0/24")}, "", "203.0.113.7", core.ReasonBlocked},
		"the key is a prefix":                 {[]core.Rule{on(core.RuleBlock, "2001:db8::/32")}, "", "2001:db8:0:7::/64", core.ReasonBlocked},
		"the key is a wider prefix":           {[]core.Rule{on(core.RuleBlock, "2001:db8::/96")}, "", "2001:db8::/64", core.ReasonLimits},
		"the rule's key is an address":        {[]core.Rule{block("203.0.113.7")}, "", "203.0.113.7", core.ReasonBlocked},
		"an address in a compound key":        {[]core.Rule{block("203.0.113.7"), block("alice"), on(core.RuleBlock, "203.0.113.0/24")}, "", compound, core.ReasonLimits},
		"a compound key from a network":       {[]core.Rule{on(core.RuleBlock, "203.0.113.0/24")}, "203.0.113.7", compound, core.ReasonBlocked},
		"a compound key":                      {[]core.Rule{block(compound)}, "", compound, core.ReasonBlocked},
		"a long key":                          {[]core.Rule{block(long)}, "", long, core.ReasonBlocked},
		"a key that is no text":               {[]core.Rule{block("\xff\xfe")}, "", "\xff\xfe", core.ReasonBlocked},
		"another that is none":                {[]core.Rule{block("\xff\xfe")}, "", "\xff\xfd", core.ReasonLimits},
		"the text that such a one is in JSON": {[]core.Rule{block("\xff")}, "", "\ufffd", core.ReasonLimits},
	} {
		t.Run(name, func(t *testing.T) {
			l, _ := newLimiter(t)
			p := core.NewPolicy("p", core.PerMinute(10))
			setRules(t, l, c.rules...)
			decisions := make(map[string]core.Decision)
			if c.address == "" {
				decisions["Allow"] = allow(t, l, p, c.key, 1)
				d, err := l.Peek(t.Context(), p, c.key)
				if err != nil {
					t.Fatal(err)
				}
				decisions["Peek"] = d
			}
			var r core.Request
			if c.address != "" {
				r.Client = netip.MustParseAddr(c.address)
			}
			all, err := l.Decide(t.Context(), r, []core.Charge{{Policy: p, Key: c.key}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			decisions["Decide"] = all[0]
			for call, d := range decisions {
				if d.Reason != c.want || d.Allowed != (c.want == core.ReasonLimits || c.want == core.ReasonExempt) || d.Policy != p {
					t.Errorf("%s: %+v, want %v", call, d, c.want)
				}
				if ruled := c.want != core.ReasonLimits; ruled != (d.Source == core.SourceNone) || ruled && d.Counted {
					t.Errorf("%s: source %v, counted %v", call, d.Source, d.Counted)
				}
			}
			// Rules count nothing.
			for _, r := range c.rules {
				deleteRules(t, l, r.ID())
			}
			used := int64(0)
			for call, d := range decisions {
				if call != "Peek" && d.Counted {
					used++
				}
			}
			if d, err := l.Peek(t.Context(), p, c.key); err != nil || d.Remaining != 10-used {
				t.Errorf("without rules: %d left, %v, want %d", d.Remaining, err, 10-used)
			}
		})
	}
}

func TestBan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := core.New(core.NewMemory())
		defer l.Close()
		p := core.NewPolicy("p", core.PerMinute(10))
		ctx := t.Context()
		if err := l.Ban(ctx, "k", time.Minute); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		d := allow(t, l, p, "k", 1)
		if d.Allowed || d.Reason != core.ReasonBanned || d.RetryAfter != 40*time.Second || d.ResetAfter != 40*time.Second {
			t.Errorf("%+v, want a ban of 40s", d)
		}
		if got := core.ProblemFor(d.Err()); got.Status != 429 || got.RetryAfter != 40 || got.Detail != "this client is banned; retry in 40s" || got.Violated != nil {
			t.Errorf("problem %+v", got)
		}
		// The last ban holds, also when it is the shorter one.
		if err := l.Ban(ctx, "k", 10*time.Second); err != nil {
			t.Fatal(err)
		}
		if d := allow(t, l, p, "k", 1); d.RetryAfter != 10*time.Second {
			t.Errorf("banned again: %v, want 10s", d.RetryAfter)
		}
		// Of a ban by key and one by address, the longer one.
		setRules(t, l, core.Rule{Kind: core.RuleBan, Network: network("203.0.113.0/24"), Until: time.Now().Add(time.Minute)},
			core.Rule{Kind: core.RuleBan, Key: "203.0.113.7", Until: time.Now().Add(time.Second)})
		if d := allow(t, l, p, "203.0.113.7", 1); d.RetryAfter != time.Minute {
			t.Errorf("two bans: %v, want 1m", d.RetryAfter)
		}
		time.Sleep(10*time.Second - time.Millisecond)
		if allow(t, l, p, "k", 1).Allowed {
			t.Error("the ban has ended too early")
		}
		time.Sleep(time.Millisecond)
		if !allow(t, l, p, "k", 1).Allowed {
			t.Error("the ban has not ended")
		}
		if found, err := l.Unban(ctx, "k"); err != nil || found {
			t.Errorf("an ended ban is found: %v, %v", found, err)
		}
		if rules, err := l.Rules(ctx); err != nil || len(rules) != 1 || rules[0].ID() != "ban network 203.0.113.0/24" {
			t.Errorf("rules %v, %v", rules, err)
		}
	})
}

// A decision's key names the client, whether or not it is a digest.
func TestDecisionsKeyNamesClient(t *testing.T) {
	for name, key := range map[string]string{"short": "k", "long": strings.Repeat("x", 1000), "no text": "\xff", "like a digest": "sha256=x"} {
		t.Run(name, func(t *testing.T) {
			l, _ := newLimiter(t)
			p := core.NewPolicy("p", core.PerMinute(2))
			ctx := t.Context()
			shown := allow(t, l, p, key, 1).Key
			for _, k := range []string{key, shown} {
				if d, err := l.Peek(ctx, p, k); err != nil || d.Remaining != 1 || d.Key != shown {
					t.Errorf("Peek: %+v, %v", d, err)
				}
				if entries, err := l.Entries(ctx, p, k, 10); err != nil || len(entries) != 1 {
					t.Errorf("Entries: %v, %v", entries, err)
				}
				if err := l.Ban(ctx, k, time.Hour); err != nil {
					t.Error(err)
				}
				if allow(t, l, p, key, 1).Allowed {
					t.Error("not banned")
				}
				if found, err := l.Unban(ctx, k); err != nil || !found {
					t.Errorf("Unban: %v, %v", found, err)
				}
			}
			if err := l.Ban(ctx, key, time.Hour); err != nil {
				t.Error(err)
			}
			if found, err := l.Unban(ctx, shown); err != nil || !found {
				t.Errorf("Unban by the other: %v, %v", found, err)
			}
			if err := l.Reset(ctx, p, shown); err != nil {
				t.Error(err)
			}
			if d, err := l.Peek(ctx, p, key); err != nil || d.Remaining != 2 {
				t.Errorf("after Reset: %+v, %v", d, err)
			}
		})
	}
}

func TestRulesThatAreWrong(t *testing.T) {
	l, _ := newLimiter(t)
	coarse := core.NewPolicy("coarse", core.PerHour(1000), core.Coarse(64))
	l.Register(coarse)
	hour := newTestClock().Now().Add(time.Hour)
	for advice, r := range map[string]core.Rule{
		`unknown kind ""`:                            {Key: "k"},
		`unknown kind "tarpit"`:                      {Kind: "tarpit", Key: "k"},
		"about a Key or a Network: set one":          {Kind: core.RuleBlock},
		"of kind exempt is about a Key or a Network": {Kind: core.RuleExempt, Key: "k", Network: network("10.0.0.0/8")},
		"an invalid Network":                         {Kind: core.RuleBlock, Key: "k", Network: netip.PrefixFrom(netip.MustParseAddr("10.0.0.1"), 33)},
		"leave out Policy and Limits":                {Kind: core.RuleBlock, Key: "k", Policy: "p"},
		"of kind ban is about a client: leave out":   {Kind: core.RuleBan, Key: "k", Limits: []core.Limit{core.PerMinute(1)}, Until: hour},
		"set Until, or use core.RuleBlock":           {Kind: core.RuleBan, Key: "k"},
		"it ends in the past":                        {Kind: core.RuleBan, Key: "k", Until: newTestClock().Now().Add(-time.Second)},
		"leave out Until for a rule without end":     {Kind: core.RuleBlock, Key: "k", Until: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)},
		"leave out Key and Network":                  {Kind: core.RuleOverride, Key: "k", Policy: "p", Limits: []core.Limit{core.PerMinute(1)}},
		"of kind switch is about a policy":           {Kind: core.RuleSwitch, Network: network("10.0.0.0/8"), Mode: core.ModeOff},
		"and delete the rule to switch a policy on":  {Kind: core.RuleSwitch, Policy: "p", Mode: core.ModeOn},
		`a switch to mode "": use core.ModeShadow`:   {Kind: core.RuleSwitch, Policy: "p"},
		"leave out Limits, or use core.RuleOverride": {Kind: core.RuleSwitch, Policy: "p", Mode: core.ModeOff, Limits: []core.Limit{core.PerMinute(1)}},
		"'*' is not allowed":                         {Kind: core.RuleSwitch, Policy: "p*", Mode: core.ModeOff},
		"leave out Mode, or use core.RuleSwitch":     {Kind: core.RuleBlock, Key: "k", Mode: core.ModeOff},
		"a rule of kind override has no mode":        {Kind: core.RuleOverride, Policy: "p", Limits: []core.Limit{core.PerMinute(1)}, Mode: core.ModeOff},
		"a policy needs a name":                      {Kind: core.RuleOverride, Limits: []core.Limit{core.PerMinute(1)}},
		"has no limit":                               {Kind: core.RuleOverride, Policy: "p"},
		"a limit of 0 admits nothing":                {Kind: core.RuleOverride, Policy: "p", Limits: []core.Limit{{}}},
		"a coarse log has one limit":                 {Kind: core.RuleOverride, Policy: "coarse", Limits: []core.Limit{core.PerMinute(1), core.PerHour(2)}},
		"are shorter than 1ms":                       {Kind: core.RuleOverride, Policy: "coarse", Limits: []core.Limit{core.Per(1, 10*time.Millisecond)}},
	} {
		if err := l.SetRule(t.Context(), r); err == nil || !strings.Contains(err.Error(), advice) || !strings.HasPrefix(err.Error(), "core: ") {
			t.Errorf("%+v: %v, want an error that says %q", r, err, advice)
		}
	}
	for _, d := range []time.Duration{0, -time.Second, time.Microsecond} {
		if err := l.Ban(t.Context(), "k", d); err == nil || !strings.Contains(err.Error(), "at least 1ms") {
			t.Errorf("a ban for %v: %v", d, err)
		}
	}
	if rules, err := l.Rules(t.Context()); err != nil || len(rules) != 0 {
		t.Errorf("rules %v, %v", rules, err)
	}
}

func TestRulesAreListed(t *testing.T) {
	l, _ := newLimiter(t)
	setRules(t, l,
		core.Rule{Kind: core.RuleExempt, Key: "b"}, core.Rule{Kind: core.RuleBlock, Key: "z"}, core.Rule{Kind: core.RuleBlock, Key: "a"},
		core.Rule{Kind: core.RuleOverride, Policy: "p", Limits: []core.Limit{core.PerMinute(7)}},
		core.Rule{Kind: core.RuleBlock, Network: network("::ffff:10.1.2.3/104")})
	list := func() (ids []string) {
		t.Helper()
		rules, err := l.Rules(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rules {
			ids = append(ids, r.ID())
			for i := range r.Limits {
				r.Limits[i].Max = 1 // is the caller's
			}
		}
		return ids
	}
	want := "block key a, block key z, block network 10.0.0.0/8, exempt key b, override policy p"
	for range 2 {
		if got := strings.Join(list(), ", "); got != want {
			t.Errorf("rules %s, want %s", got, want)
		}
	}
	if d := allow(t, l, core.NewPolicy("p", core.PerMinute(100)), "k", 1); d.Limit.Max != 7 {
		t.Errorf("what Rules returned can change a limit: %v", d.Limit)
	}
	deleteRules(t, l, "block key z", "override policy p", "block network 10.0.0.0/8")
	if got, want := strings.Join(list(), ", "), "block key a, exempt key b"; got != want {
		t.Errorf("rules %s, want %s", got, want)
	}
	if found, err := l.DeleteRule(t.Context(), "block key z"); err != nil || found {
		t.Errorf("a deleted rule is found: %v, %v", found, err)
	}
}

func TestRulesAreBounded(t *testing.T) {
	shared := core.NewMemory()
	for i := range store.MaxRules - 1 {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		if err := shared.SetRule(t.Context(), core.Rule{Kind: core.RuleBlock, Network: netip.PrefixFrom(addr, 32)}.Stored()); err != nil {
			t.Fatal(err)
		}
	}
	l := core.New(shared)
	defer l.Close()
	setRules(t, l, core.Rule{Kind: core.RuleBlock, Key: "k"})
	err := l.SetRule(t.Context(), core.Rule{Kind: core.RuleBlock, Key: "one more"})
	if !errors.Is(err, store.ErrTooManyRules) {
		t.Errorf("one more: %v, want ErrTooManyRules", err)
	}
	setRules(t, l, core.Rule{Kind: core.RuleBlock, Key: "k"}) // is there already
	deleteRules(t, l, "block key k")
	setRules(t, l, core.Rule{Kind: core.RuleBlock, Key: "one more"})
	if d := allow(t, l, core.NewPolicy("p", core.PerMinute(1)), "10.0.3.4", 1); d.Reason != core.ReasonBlocked {
		t.Errorf("one of many networks: %+v", d)
	}
}
