package core_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

func allowAll(t *testing.T, l *core.Limiter, asks ...core.Charge) []core.Decision {
	t.Helper()
	decisions, err := l.AllowAll(t.Context(), asks...)
	if err != nil {
		t.Fatal(err)
	}
	if len(decisions) != len(asks) {
		t.Fatalf("%d decisions on %d questions", len(decisions), len(asks))
	}
	for i, d := range decisions {
		if d.Policy != asks[i].Policy || d.Key != asks[i].Key {
			t.Fatalf("decision %d is on %v and %s", i, d.Policy, d.Key)
		}
	}
	return decisions
}

func left(t *testing.T, l *core.Limiter, p *core.Policy, key string) int64 {
	t.Helper()
	d, err := l.Peek(t.Context(), p, key)
	if err != nil {
		t.Fatal(err)
	}
	return d.Remaining
}

// Several policies admit a request together or not at all, in each place that
// the one without room can have.
func TestAllowAllOrNothing(t *testing.T) {
	for full := -1; full < 3; full++ {
		t.Run(fmt.Sprint("full ", full), func(t *testing.T) {
			l, _ := newLimiter(t)
			policies := []*core.Policy{
				core.NewPolicy("counted", core.PerMinute(5)),
				core.NewPolicy("summed", core.PerMinute(50), core.PerHour(500), core.VariableCost()),
				core.NewPolicy("refunded", core.PerMinute(500), core.VariableCost(), core.Refundable(0)),
			}
			room := []int64{5, 50, 500}
			if full >= 0 {
				cost := room[full]
				if full == 0 {
					for range cost {
						allow(t, l, policies[0], "k0", 1)
					}
				} else {
					allow(t, l, policies[full], fmt.Sprint("k", full), cost)
				}
				room[full] = 0
			}
			decisions := allowAll(t, l,
				core.Charge{Policy: policies[0], Key: "k0"}, // of cost 1
				core.Charge{Policy: policies[1], Key: "k1", Cost: 20}, core.Charge{Policy: policies[2], Key: "k2", Cost: 300})
			for i, d := range decisions {
				want := room[i]
				if full < 0 {
					want -= d.Cost
				}
				if d.Allowed != (i != full) || d.Counted != (full < 0) || d.WouldDeny || d.Remaining != want || (d.RetryAfter > 0) != (i == full) {
					t.Errorf("decision %d: %+v, want %d left", i, d, want)
				}
				if got := left(t, l, policies[i], d.Key); got != want {
					t.Errorf("policy %d has %d left, want %d", i, got, want)
				}
				if err := l.Refund(t.Context(), d); (err == nil) != (full < 0 && i == 2) {
					t.Errorf("refund of decision %d: %v", i, err)
				}
			}
			err := core.Denied(decisions)
			var limited *core.LimitedError
			if errors.As(err, &limited) != (full >= 0) || full >= 0 && limited.Decision.Policy != policies[full] {
				t.Errorf("Denied: %v", err)
			}
		})
	}
}

func TestAllowAllArguments(t *testing.T) {
	l, _ := newLimiter(t)
	p, q := core.NewPolicy("p", core.PerMinute(5)), core.NewPolicy("q", core.PerMinute(5))
	like := core.NewPolicy("p", core.PerMinute(5))
	for name, c := range map[string]struct {
		asks []core.Charge
		want error
	}{
		"no question":       {nil, core.ErrNoPolicy},
		"no policy":         {[]core.Charge{{Policy: p, Key: "k"}, {Key: "k"}}, core.ErrNoPolicy},
		"no key":            {[]core.Charge{{Policy: p, Key: "k"}, {Policy: q}}, core.ErrNoKey},
		"cost below 0":      {[]core.Charge{{Policy: p, Key: "k"}, {Policy: q, Key: "k", Cost: -1}}, core.ErrCost},
		"cost of a counted": {[]core.Charge{{Policy: p, Key: "k"}, {Policy: q, Key: "k", Cost: 2}}, core.ErrCost},
		"twice":             {[]core.Charge{{Policy: p, Key: "k"}, {Policy: q, Key: "k"}, {Policy: p, Key: "k"}}, core.ErrDuplicatePolicy},
		"an equal policy":   {[]core.Charge{{Policy: p, Key: "k"}, {Policy: like, Key: "k"}}, core.ErrDuplicatePolicy},
		"one log":           {[]core.Charge{{Policy: p, Key: "k"}, {Policy: core.NewPolicy("p", core.PerMinute(9)), Key: "k"}}, core.ErrDuplicatePolicy},
		"one name":          {[]core.Charge{{Policy: p, Key: "k"}, {Policy: core.NewPolicy("p", core.PerHour(9)), Key: "k"}}, core.ErrDuplicatePolicy},
		"one key":           {[]core.Charge{{Policy: p, Key: "k"}, {Policy: q, Key: "k"}}, nil},
		"one policy":        {[]core.Charge{{Policy: p, Key: "k"}, {Policy: p, Key: "k2"}}, nil},
	} {
		before := left(t, l, p, "k")
		if _, err := l.AllowAll(t.Context(), c.asks...); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if after := left(t, l, p, "k"); (after == before) != (c.want != nil) {
			t.Errorf("%s: %d left, before %d", name, after, before)
		}
	}
}

// The questions are the caller's, who may ask them again.
func TestAllowAllKeepsQuestions(t *testing.T) {
	l, _ := newLimiter(t)
	if err := l.SetRule(t.Context(), core.Rule{Kind: core.RuleOverride, Policy: "p", Limits: []core.Limit{core.PerMinute(9)}}); err != nil {
		t.Fatal(err)
	}
	asks := []core.Charge{{Policy: core.NewPolicy("p", core.PerMinute(5)), Key: "\xff"}, {Policy: core.NewPolicy("q", core.PerMinute(5)), Key: "k"}}
	before := [2]core.Charge{asks[0], asks[1]}
	if _, err := l.AllowAll(t.Context(), asks...); err != nil {
		t.Fatal(err)
	}
	if [2]core.Charge(asks) != before {
		t.Errorf("the questions are %v, were %v", asks, before)
	}
}

// Rules decide on a request as a whole: a client that is kept out by one of its
// keys takes nothing anywhere, and one that is exempt skips that policy alone.
func TestAllowAllAndRules(t *testing.T) {
	l, _ := newLimiter(t)
	p, q := core.NewPolicy("p", core.PerMinute(5)), core.NewPolicy("q", core.PerMinute(1))
	setRules(t, l, core.Rule{Kind: core.RuleExempt, Key: "exempt"}, core.Rule{Kind: core.RuleBlock, Key: "blocked"},
		core.Rule{Kind: core.RuleBan, Key: "banned", Until: newTestClock().Now().Add(time.Hour)})
	ask := func(a, b string) []core.Decision {
		t.Helper()
		return allowAll(t, l, core.Charge{Policy: p, Key: a}, core.Charge{Policy: q, Key: b})
	}
	for _, c := range []struct {
		a, b     string
		allowed  [2]bool
		counted  [2]bool
		reasons  [2]core.Reason
		problem  int // status; 0 for none
		remained [2]int64
	}{
		{"k", "blocked", [2]bool{true, false}, [2]bool{}, [2]core.Reason{core.ReasonLimits, core.ReasonBlocked}, 403, [2]int64{5, 0}},
		{"banned", "k", [2]bool{false, true}, [2]bool{}, [2]core.Reason{core.ReasonBanned, core.ReasonLimits}, 429, [2]int64{0, 1}},
		{"banned", "blocked", [2]bool{}, [2]bool{}, [2]core.Reason{core.ReasonBanned, core.ReasonBlocked}, 403, [2]int64{}},
		{"exempt", "blocked", [2]bool{true, false}, [2]bool{}, [2]core.Reason{core.ReasonExempt, core.ReasonBlocked}, 403, [2]int64{5, 0}},
		{"exempt", "exempt", [2]bool{true, true}, [2]bool{}, [2]core.Reason{core.ReasonExempt, core.ReasonExempt}, 0, [2]int64{5, 1}},
		{"k", "exempt", [2]bool{true, true}, [2]bool{true, false}, [2]core.Reason{core.ReasonLimits, core.ReasonExempt}, 0, [2]int64{4, 1}},
		{"exempt", "k", [2]bool{true, true}, [2]bool{false, true}, [2]core.Reason{core.ReasonExempt, core.ReasonLimits}, 0, [2]int64{5, 0}},
		{"exempt", "k", [2]bool{true, false}, [2]bool{}, [2]core.Reason{core.ReasonExempt, core.ReasonLimits}, 429, [2]int64{5, 0}},
		{"k", "k", [2]bool{true, false}, [2]bool{}, [2]core.Reason{core.ReasonLimits, core.ReasonLimits}, 429, [2]int64{4, 0}},
	} {
		decisions := ask(c.a, c.b)
		for i, d := range decisions {
			if d.Allowed != c.allowed[i] || d.Counted != c.counted[i] || d.Reason != c.reasons[i] || d.Remaining != c.remained[i] {
				t.Errorf("%s and %s, decision %d: %+v", c.a, c.b, i, d)
			}
		}
		err := core.Denied(decisions)
		if c.problem == 0 && err != nil || c.problem != 0 && core.ProblemFor(err).Status != c.problem {
			t.Errorf("%s and %s: %v, want status %d", c.a, c.b, err, c.problem)
		}
	}
}

// Rules on networks are matched with the client's address in each of its forms.
func TestRulesMatchClient(t *testing.T) {
	l, _ := newLimiter(t)
	if l.NeedsClient(t.Context(), &core.Request{}) {
		t.Error("clients are matched without a rule")
	}
	setRules(t, l, core.Rule{Kind: core.RuleBlock, Network: network("203.0.113.0/24")})
	if !l.NeedsClient(t.Context(), &core.Request{}) {
		t.Error("clients are not matched with a rule on a network")
	}
	p, q := core.NewPolicy("p", core.PerMinute(5)), core.NewPolicy("q", core.PerMinute(5))
	for client, want := range map[string]bool{
		"203.0.113.7": false, "::ffff:203.0.113.7": false, "64:ff9b::203.0.113.7": false, "198.51.100.1": true, "2001:db8::1": true, "": true,
	} {
		r := core.Request{}
		if client != "" {
			r.Client = netip.MustParseAddr(client)
		}
		for _, charges := range [][]core.Charge{{{Policy: p, Key: "k"}}, {{Policy: p, Key: "k"}, {Policy: q, Key: "k"}}} {
			decisions, err := l.Decide(t.Context(), r, charges, nil)
			if err != nil || (core.Denied(decisions) == nil) != want {
				t.Errorf("%s: %+v, %v, want allowed %v", client, decisions, err, want)
			}
		}
		if err := l.Reset(t.Context(), p, "k"); err != nil {
			t.Fatal(err)
		}
	}
}

// After an idle time, a request waits once to read changed rules. NeedsClient knows of
// the rules on networks that were set meanwhile.
func TestNeedsClientAfterIdleTime(t *testing.T) {
	for name, hangs := range map[string]bool{"a store that answers": false, "a store that hangs": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := core.NewMemory()
				watched := &rulesStore{Store: memory, read: memory.Rules}
				l := core.New(watched)
				defer l.Close()
				p := core.NewPolicy("p", core.PerMinute(5))
				allow(t, l, p, "k", 1)
				time.Sleep(time.Hour)
				synctest.Wait()
				if err := memory.SetRule(t.Context(), core.Rule{Kind: core.RuleBlock, Network: network("203.0.113.0/24")}.Stored()); err != nil {
					t.Fatal(err)
				}
				if hangs {
					watched.read = func(ctx context.Context, _ string) (store.RuleChanges, error) {
						<-ctx.Done()
						return store.RuleChanges{}, ctx.Err()
					}
				}
				begun := time.Now()
				r := core.Request{}
				if l.NeedsClient(t.Context(), &r) == hangs {
					t.Errorf("needs the client: %v", !hangs)
				}
				r.Client = netip.MustParseAddr("203.0.113.7")
				decisions, err := l.Decide(t.Context(), r, []core.Charge{{Policy: p, Key: "k"}}, nil)
				if err != nil || decisions[0].Allowed != hangs {
					t.Errorf("%+v, %v", decisions, err)
				}
				if took := time.Since(begun); took > 250*time.Millisecond {
					t.Errorf("the request took %v", took)
				}
			})
		})
	}
}

// Decide appends to the caller's slice, and clears what was in its free capacity.
func TestDecideAppends(t *testing.T) {
	l, _ := newLimiter(t)
	p, q := core.NewPolicy("p", core.PerMinute(5)), core.NewPolicy("q", core.PerMinute(5))
	first := core.Decision{Key: "first"}
	room := [4]core.Decision{first, {Key: "old", WouldDeny: true, Counted: true}, {Key: "old"}, {Key: "beyond"}}
	for _, charges := range [][]core.Charge{{{Policy: p, Key: "k"}}, {{Policy: p, Key: "k"}, {Policy: q, Key: "k"}}} {
		got, err := l.Decide(t.Context(), core.Request{}, charges, room[:1])
		if err != nil || len(got) != 1+len(charges) || &got[0] != &room[0] || got[0].Key != "first" || room[3].Key != "beyond" {
			t.Fatalf("%+v, %v", got, err)
		}
		for i, d := range got[1:] {
			if d.Policy != charges[i].Policy || d.Key != "k" || !d.Allowed || d.WouldDeny {
				t.Errorf("decision %d: %+v", i, d)
			}
		}
	}
	if got, err := l.Decide(t.Context(), core.Request{}, []core.Charge{{Policy: p, Key: ""}}, room[:0]); got != nil || !errors.Is(err, core.ErrNoKey) {
		t.Errorf("without a key: %+v, %v", got, err)
	}
}

func TestShadow(t *testing.T) {
	l, clock := newLimiter(t)
	shadow := core.NewPolicy("shadow", core.PerMinute(2), core.PerHour(10), core.VariableCost(), core.Refundable(0), core.Shadow())
	if !shadow.Log().Shadow {
		t.Error("Shadow is false")
	}
	first := allow(t, l, shadow, "k", 2)
	if !first.Allowed || !first.Counted || first.WouldDeny || first.Remaining != 0 {
		t.Errorf("within the limit: %+v", first)
	}
	for _, cost := range []int64{1, 2, 3, 11} { // 3 and 11 never fit
		over := allow(t, l, shadow, "k", cost)
		if !over.Allowed || over.Counted || !over.WouldDeny || over.RetryAfter != 0 || over.Err() != nil || core.Denied([]core.Decision{over}) != nil {
			t.Errorf("cost %d, over the limit: %+v", cost, over)
		}
		if over.Limit != core.PerMinute(2) && cost != 11 || !states(over)[0].Violated || states(over)[1].Violated != (cost == 11) {
			t.Errorf("cost %d: limit %v, states %+v", cost, over.Limit, states(over))
		}
		if err := l.Refund(t.Context(), over); !errors.Is(err, core.ErrNotRefundable) {
			t.Errorf("refund of what was not counted: %v", err)
		}
		for _, form := range []core.HeaderForm{core.HeadersIETF, core.HeadersX, core.HeadersDraft06} {
			if got := fields([]core.Decision{first, over}, form); got != "" {
				t.Errorf("clients are told %s", got)
			}
		}
	}
	if _, err := l.AllowN(t.Context(), shadow, "k", 0); !errors.Is(err, core.ErrCost) {
		t.Errorf("a wrong cost: %v", err)
	}
	if d, err := l.Peek(t.Context(), shadow, "k"); err != nil || !d.Allowed || !d.WouldDeny {
		t.Errorf("Peek: %+v, %v", d, err)
	}
	clock.advance(time.Minute)
	if d := allow(t, l, shadow, "k", 1); d.WouldDeny || !d.Counted || states(d)[1].Remaining != 7 {
		t.Errorf("what was over the limit was counted: %+v", d)
	}
	enforced, err := shadow.With(core.Enforce(), core.PerMinute(2), core.PerHour(10))
	if err != nil || enforced.Log().Shadow || enforced.Log().Name != shadow.Log().Name {
		t.Fatalf("With(Enforce()): %v, %v", enforced, err)
	}
}

// A policy in shadow mode does not hold up others, and is not counted by what
// they deny.
func TestShadowAmongOthers(t *testing.T) {
	l, _ := newLimiter(t)
	shadow := core.NewPolicy("shadow", core.PerMinute(1), core.VariableCost(), core.Shadow())
	strict := core.NewPolicy("strict", core.PerMinute(3))
	for i, want := range []struct {
		cost           int64 // under shadow
		allowed, count bool  // by strict
		would, counted bool  // under shadow
	}{
		{1, true, true, false, true}, {1, true, true, true, false}, {5, true, true, true, false}, {1, false, false, true, false},
	} {
		d := allowAll(t, l, core.Charge{Policy: shadow, Key: "k", Cost: want.cost}, core.Charge{Policy: strict, Key: "k"})
		if d[1].Allowed != want.allowed || d[1].Counted != want.count || !d[0].Allowed || d[0].WouldDeny != want.would || d[0].Counted != want.counted {
			t.Errorf("request %d: %+v", i, d)
		}
		got := fields(d, core.HeadersIETF)
		if policy := "RateLimit-Policy: \"strict\";q=3;w=60\n"; len(got) < len(policy) || got[:len(policy)] != policy {
			t.Errorf("request %d: fields %s", i, got)
		}
	}
	if err := l.Reset(t.Context(), shadow, "k"); err != nil {
		t.Fatal(err)
	}
	if d := allowAll(t, l, core.Charge{Policy: shadow, Key: "k"}, core.Charge{Policy: strict, Key: "k"}); d[0].Counted || d[0].WouldDeny || d[0].Remaining != 1 {
		t.Errorf("counted although another denied: %+v", d[0])
	}
}

func TestEntries(t *testing.T) {
	l, clock := newLimiter(t)
	p := core.NewPolicy("p", core.PerMinute(100), core.VariableCost(), core.Refundable(0))
	start := clock.Now()
	for i := range int64(3) {
		d := allow(t, l, p, "k", i+1)
		clock.advance(time.Second)
		if i == 1 {
			if err := l.Refund(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
	}
	entries, err := l.Entries(t.Context(), p, "k", 10)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	want := []store.Entry{{Time: at(2), Cost: 3}, {Time: at(2), Refund: 2}, {Time: at(1), Cost: 2}, {Time: at(0), Cost: 1}}
	if err != nil || len(entries) != len(want) {
		t.Fatalf("entries %v, %v, want %v", entries, err, want)
	}
	for i := range want {
		if !entries[i].Time.Equal(want[i].Time) || entries[i].Cost != want[i].Cost || entries[i].Refund != want[i].Refund {
			t.Errorf("entry %d: %+v, want %+v", i, entries[i], want[i])
		}
	}
	if entries, err = l.Entries(t.Context(), p, "k", 2); err != nil || len(entries) != 2 || entries[0].Cost != 3 {
		t.Errorf("the newest two: %v, %v", entries, err)
	}
	if entries, err = l.Entries(t.Context(), p, "none", 2); err != nil || len(entries) != 0 {
		t.Errorf("of no log: %v, %v", entries, err)
	}
	for _, wrong := range []func() ([]store.Entry, error){
		func() ([]store.Entry, error) { return l.Entries(t.Context(), p, "k", 0) },
		func() ([]store.Entry, error) { return l.Entries(t.Context(), p, "", 1) },
		func() ([]store.Entry, error) { return l.Entries(t.Context(), nil, "k", 1) },
	} {
		if _, err := wrong(); err == nil {
			t.Error("Entries accepts wrong arguments")
		}
	}
	clock.advance(time.Minute)
	if entries, err = l.Entries(t.Context(), p, "k", 10); err != nil || len(entries) != 0 {
		t.Errorf("later: %v, %v", entries, err)
	}
}
