package core_test

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// lines are the log lines of a limiter.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// count is how many lines hold what.
func (l *lines) count(what string) (n int) {
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, what) {
			n++
		}
	}
	return n
}

func (l *lines) option() core.Option {
	return core.WithLogger(slog.New(slog.NewTextHandler(l, nil)))
}

func maxOf(t *testing.T, l *core.Limiter, p *core.Policy) int64 {
	t.Helper()
	d, err := l.Peek(t.Context(), p, "k")
	if err != nil {
		t.Fatal(err)
	}
	return d.Limit.Max
}

// What a policy is follows from what it was made as, what replaced it and what
// overrides it, in whatever order these came.
func TestPolicyNow(t *testing.T) {
	p := core.NewPolicy("p", core.PerMinute(10))
	replacement := core.NewPolicy("p", core.PerMinute(20))
	override := func(t *testing.T, l *core.Limiter) {
		t.Helper()
		if err := l.SetRule(t.Context(), core.Rule{Kind: core.RuleOverride, Policy: "p", Limits: []core.Limit{core.PerMinute(30)}}); err != nil {
			t.Fatal(err)
		}
	}
	restore := func(t *testing.T, l *core.Limiter) { t.Helper(); deleteRules(t, l, "override policy p") }
	replaceBy := func(policies ...*core.Policy) func(*testing.T, *core.Limiter) {
		return func(t *testing.T, l *core.Limiter) {
			t.Helper()
			if err := l.Replace(policies...); err != nil {
				t.Fatal(err)
			}
		}
	}
	replace, unreplace := replaceBy(replacement), replaceBy()
	meet := func(_ *testing.T, l *core.Limiter) { l.Register(p, nil, new(core.Policy)) }
	type steps []func(*testing.T, *core.Limiter)
	for name, c := range map[string]struct {
		steps steps
		want  int64
	}{
		"as made":                           {nil, 10},
		"overridden before it is met":       {steps{override}, 30},
		"overridden":                        {steps{meet, override}, 30},
		"restored":                          {steps{meet, override, restore}, 10},
		"replaced before it is met":         {steps{replace}, 20},
		"replaced":                          {steps{meet, replace}, 20},
		"itself again":                      {steps{meet, replace, unreplace}, 10},
		"overridden and replaced":           {steps{meet, override, replace}, 30},
		"replaced and overridden":           {steps{meet, replace, override}, 30},
		"overridden, replaced and restored": {steps{meet, override, replace, restore}, 20},
		"all of it undone":                  {steps{meet, override, replace, restore, unreplace}, 10},
		"undone in the other order":         {steps{meet, override, replace, unreplace, restore}, 10},
	} {
		t.Run(name, func(t *testing.T) {
			var log lines
			l, _ := newLimiter(t, log.option())
			for _, step := range c.steps {
				step(t, l)
			}
			if got := maxOf(t, l, p); got != c.want {
				t.Errorf("the limit is %d, want %d", got, c.want)
			}
			now, ok := l.Policy("p")
			if !ok || now.Limits()[0].Max != c.want || len(l.Policies()) != 1 || l.Policies()[0] != now {
				t.Errorf("Policy: %v %v, Policies: %v", now, ok, l.Policies())
			}
			if again := maxOf(t, l, now); again != c.want {
				t.Errorf("what Policy returned has the limit %d", again)
			}
			if log.String() != "" {
				t.Errorf("log: %s", log.String())
			}
		})
	}
}

// A policy that Limiter.Policy or a decision has handed out while an override
// held is the policy itself again after it.
func TestHandedOutPolicyFollows(t *testing.T) {
	var log lines
	l, _ := newLimiter(t, log.option())
	p := core.NewPolicy("p", core.PerMinute(10))
	l.Register(p)
	var handed []*core.Policy
	for i := range int64(3) {
		if err := l.SetRule(t.Context(), core.Rule{Kind: core.RuleOverride, Policy: "p", Limits: []core.Limit{core.PerMinute(100 + i)}}); err != nil {
			t.Fatal(err)
		}
		now, _ := l.Policy("p")
		handed = append(handed, now, allow(t, l, p, "k", 1).Policy)
	}
	check := func(want int64) {
		t.Helper()
		for i, h := range append(handed, p) {
			if got := maxOf(t, l, h); got != want {
				t.Errorf("policy %d has the limit %d, want %d", i, got, want)
			}
		}
	}
	check(102)
	deleteRules(t, l, "override policy p")
	check(10)
	if err := l.Replace(core.NewPolicy("p", core.PerMinute(50))); err != nil {
		t.Fatal(err)
	}
	check(50)
	if err := l.Replace(); err != nil {
		t.Fatal(err)
	}
	check(10)
	if log.String() != "" || len(l.Policies()) != 1 {
		t.Errorf("%d policies, log %s", len(l.Policies()), log.String())
	}
}

// A rule that changes nothing of a policy leaves it the same value, so that the
// decisions on a request that two middlewares make are of one policy.
func TestUnchangedPolicyIsSame(t *testing.T) {
	l, _ := newLimiter(t)
	p := core.NewPolicy("p", core.PerMinute(10))
	if err := l.SetRule(t.Context(), core.Rule{Kind: core.RuleOverride, Policy: "p", Limits: []core.Limit{core.PerMinute(20)}}); err != nil {
		t.Fatal(err)
	}
	before := allow(t, l, p, "k", 1).Policy
	for i := range 5 {
		setRules(t, l, core.Rule{Kind: core.RuleBlock, Key: fmt.Sprint(i)})
		if now := allow(t, l, p, "k", 1).Policy; now != before {
			t.Fatal("a rule on a client has made the policy another")
		}
	}
}

func TestOverride(t *testing.T) {
	l, clock := newLimiter(t)
	p := core.NewPolicy("p", core.PerMinute(3))
	for range 3 {
		allow(t, l, p, "k", 1)
	}
	if allow(t, l, p, "k", 1).Allowed {
		t.Fatal("over the limit")
	}
	if err := l.SetRule(t.Context(), core.Rule{Kind: core.RuleOverride, Policy: "p", Limits: []core.Limit{core.PerMinute(5)}}); err != nil {
		t.Fatal(err)
	}
	// What was counted stays, since the longest window does.
	if d := allow(t, l, p, "k", 1); !d.Allowed || d.Remaining != 1 || d.Limit != core.PerMinute(5) {
		t.Errorf("raised: %+v", d)
	}
	got := fields([]core.Decision{allow(t, l, p, "k", 1)}, core.HeadersIETF)
	if want := "RateLimit-Policy: \"p\";q=5;w=60\nRateLimit: \"p\";r=0;t=60\n"; got != want {
		t.Errorf("fields:\n%swant\n%s", got, want)
	}
	deleteRules(t, l, "override policy p")
	if d := allow(t, l, p, "k", 1); d.Allowed || d.Limit != core.PerMinute(3) {
		t.Errorf("restored: %+v", d)
	}
	// One with another window has logs of its own, and the earlier ones count.
	if err := l.SetRule(t.Context(), core.Rule{Kind: core.RuleOverride, Policy: "p", Limits: []core.Limit{core.PerHour(1)}}); err != nil {
		t.Fatal(err)
	}
	if d := allow(t, l, p, "k", 1); d.Allowed || d.Limit != core.PerHour(1) || d.RetryAfter != time.Minute {
		t.Errorf("per hour: %+v", d)
	}
	clock.advance(2 * time.Minute)
	if d := allow(t, l, p, "k", 1); !d.Allowed {
		t.Errorf("per hour, later: %+v", d)
	}
	deleteRules(t, l, "override policy p")
	if d := allow(t, l, p, "k", 1); !d.Allowed || d.Remaining != 1 {
		t.Errorf("restored: %+v", d)
	}
	clock.advance(2 * time.Minute)
	if d := allow(t, l, p, "k", 1); !d.Allowed || d.Remaining != 2 {
		t.Errorf("restored later: %+v", d)
	}
}

// An override ends by itself, in a limiter that sees no other change.
func TestOverrideEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := core.New(core.NewMemory())
		defer l.Close()
		p := core.NewPolicy("p", core.PerMinute(10))
		setRules(t, l, core.Rule{Kind: core.RuleOverride, Policy: "p", Limits: []core.Limit{core.PerMinute(20)}, Until: time.Now().Add(time.Minute)})
		time.Sleep(time.Minute - time.Millisecond)
		if got := maxOf(t, l, p); got != 20 {
			t.Errorf("before its end: %d, want 20", got)
		}
		time.Sleep(time.Second)
		if got := maxOf(t, l, p); got != 10 {
			t.Errorf("after its end: %d, want 10", got)
		}
	})
}

// An override that another process has set and that does not fit the policy here
// changes nothing but the log, once.
func TestUnfitOverride(t *testing.T) {
	var log lines
	store := core.NewMemory()
	l := core.New(store, log.option())
	defer l.Close()
	coarse := core.NewPolicy("coarse", core.PerHour(10), core.Coarse(10))
	refundable := core.NewPolicy("refundable", core.PerHour(10), core.Refundable(30*time.Minute))
	// This limiter does not know the policies, and sets any rule.
	other := core.New(store)
	for name, limits := range map[string][]core.Limit{"coarse": {core.PerMinute(1), core.PerHour(2)}, "refundable": {core.PerMinute(1)}} {
		if err := other.SetRule(t.Context(), core.Rule{Kind: core.RuleOverride, Policy: name, Limits: limits}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Rules(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for _, p := range []*core.Policy{coarse, refundable} {
			if d := allow(t, l, p, "k", 1); !d.Allowed || d.Limit != core.PerHour(10) || d.Policy != p {
				t.Errorf("%+v", d)
			}
		}
		setRules(t, l, core.Rule{Kind: core.RuleBlock, Key: "x"})
	}
	if log.count("STREAMLIMIT_W007") != 1 || log.count("") != 1 {
		t.Errorf("log %s, want W007 once", log.String())
	}
}

// Replace keeps what was counted.
func TestReplace(t *testing.T) {
	l, _ := newLimiter(t)
	free, pro := core.NewPolicy("free", core.PerMinute(2), core.FieldName("api")), core.NewPolicy("pro", core.PerMinute(10), core.FieldName("api"))
	for _, p := range []*core.Policy{free, pro} {
		allow(t, l, p, "k", 1)
		allow(t, l, p, "k", 1)
	}
	if err := l.Replace(core.NewPolicy("free", core.PerMinute(3), core.FieldName("api"))); err != nil {
		t.Fatal(err)
	}
	if d := allow(t, l, free, "k", 1); !d.Allowed || d.Remaining != 0 {
		t.Errorf("free, raised: %+v", d)
	}
	if d := allow(t, l, free, "k", 1); d.Allowed {
		t.Errorf("free, over the new limit: %+v", d)
	}
	if d := allow(t, l, pro, "k", 1); d.Limit != core.PerMinute(10) || d.Remaining != 7 {
		t.Errorf("pro: %+v", d)
	}
	// Now pro alone: free is itself again.
	if err := l.Replace(core.NewPolicy("pro", core.PerMinute(3), core.Shadow())); err != nil {
		t.Fatal(err)
	}
	if d := allow(t, l, pro, "k", 1); !d.Allowed || !d.WouldDeny {
		t.Errorf("pro, lowered in shadow mode: %+v", d)
	}
	if d := allow(t, l, free, "k", 1); d.Limit != core.PerMinute(2) || d.Allowed {
		t.Errorf("free, itself again: %+v", d)
	}
	// Another layout has other logs, and the earlier ones count.
	if err := l.Replace(core.NewPolicy("free", core.PerMinute(5), core.VariableCost())); err != nil {
		t.Fatal(err)
	}
	if d := allow(t, l, free, "k", 2); !d.Allowed || d.Remaining != 0 {
		t.Errorf("free, with costs: %+v", d)
	}
	panics(t, "leave it out", func() { _ = l.Replace(nil) })
}

func TestPolicyTwiceWarns(t *testing.T) {
	a := core.NewPolicy("p", core.PerMinute(10))
	for name, c := range map[string]struct {
		ask  func(l *core.Limiter) []*core.Policy
		want int
	}{
		"the same":   {func(*core.Limiter) []*core.Policy { return []*core.Policy{a, a} }, 0},
		"other name": {func(*core.Limiter) []*core.Policy { return []*core.Policy{a, core.NewPolicy("q", core.PerMinute(1))} }, 0},
		"equal ones": {func(*core.Limiter) []*core.Policy {
			return []*core.Policy{a, core.NewPolicy("p", core.PerMinute(10)), core.NewPolicy("p", core.PerMinute(10))}
		}, 0},
		"other limits": {func(*core.Limiter) []*core.Policy {
			return []*core.Policy{a, core.NewPolicy("p", core.PerMinute(11)), a, core.NewPolicy("p", core.PerMinute(12))}
		}, 1},
		"other settings": {func(*core.Limiter) []*core.Policy {
			return []*core.Policy{a, core.NewPolicy("p", core.PerMinute(10), core.Shadow())}
		}, 1},
		"two names": {func(*core.Limiter) []*core.Policy {
			q := core.NewPolicy("q", core.PerMinute(1))
			return []*core.Policy{a, core.NewPolicy("p", core.PerMinute(11)), q, core.NewPolicy("q", core.PerMinute(2)), a, q}
		}, 2},
		"its replacement": {func(l *core.Limiter) []*core.Policy {
			r := core.NewPolicy("p", core.PerMinute(11))
			if err := l.Replace(r); err != nil {
				t.Fatal(err)
			}
			return []*core.Policy{a, r, a}
		}, 0},
		"one that was replaced": {func(l *core.Limiter) []*core.Policy {
			l.Register(a)
			if err := l.Replace(core.NewPolicy("p", core.PerMinute(11))); err != nil {
				t.Fatal(err)
			}
			return []*core.Policy{core.NewPolicy("p", core.PerMinute(12)), a}
		}, 0},
		"both while an override makes them equal": {func(l *core.Limiter) []*core.Policy {
			setRules(t, l, core.Rule{Kind: core.RuleOverride, Policy: "p", Limits: []core.Limit{core.PerMinute(1)}})
			return []*core.Policy{a, core.NewPolicy("p", core.PerMinute(11))}
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var log lines
			l, _ := newLimiter(t, log.option())
			for _, p := range c.ask(l) {
				allow(t, l, p, "k", 1)
			}
			if got := log.count("STREAMLIMIT_W002"); got != c.want || log.count("") != c.want {
				t.Errorf("%d warnings, want %d: %s", got, c.want, log.String())
			}
			if c.want > 0 && !strings.Contains(log.String(), "policy=p first=10/minute") {
				t.Errorf("the warning %s does not say what to look for", log.String())
			}
		})
	}
}

// The warning names the options that differ.
func TestPolicyTwiceSaysWhatDiffers(t *testing.T) {
	base := []core.PolicyOption{core.PerMinute(10)}
	for want, options := range map[string][]core.PolicyOption{
		`other=limits`:              {core.PerMinute(11)},
		`other=VariableCost`:        append(base, core.VariableCost()),
		`other=Refundable`:          append(base, core.Refundable(0)),
		`other=Coarse`:              append(base, core.Coarse(8)),
		`other=Lease`:               append(base, core.Lease(time.Second)),
		`other=Shadow`:              append(base, core.Shadow()),
		`other=FieldName`:           append(base, core.FieldName("f")),
		`other=OnStoreFailure`:      append(base, core.OnStoreFailure(core.FailOpen)),
		`other="limits, FieldName"`: {core.PerMinute(11), core.FieldName("f")},
	} {
		var log lines
		l, _ := newLimiter(t, log.option())
		l.Register(core.NewPolicy("p", base...), core.NewPolicy("p", options...))
		if log.count("STREAMLIMIT_W002") != 1 || !strings.HasSuffix(strings.TrimSpace(log.String()), want) {
			t.Errorf("%s, want %s", log.String(), want)
		}
	}
}

// Each policy of one name decides by its own limits.
func TestPoliciesOfOneName(t *testing.T) {
	l, _ := newLimiter(t, core.WithLogger(slog.New(slog.DiscardHandler)))
	a, b := core.NewPolicy("p", core.PerMinute(10)), core.NewPolicy("p", core.PerMinute(20))
	for range 2 {
		if got := [2]int64{maxOf(t, l, a), maxOf(t, l, b)}; got != [2]int64{10, 20} {
			t.Errorf("limits %v", got)
		}
		if now, _ := l.Policy("p"); now != a {
			t.Errorf("Policy is %v, want the first that was met", now.Limits())
		}
		setRules(t, l, core.Rule{Kind: core.RuleBlock, Key: "x"}) // makes a new view
	}
}

// A program that makes a policy for each request does not fill the memory.
func TestPoliciesAreBounded(t *testing.T) {
	l, _ := newLimiter(t, core.WithLogger(slog.New(slog.DiscardHandler)))
	for range 2 * core.MaxKnown {
		maxOf(t, l, core.NewPolicy("equal", core.PerMinute(5)))
	}
	if met := l.Met(); met != 1 {
		t.Errorf("%d policies are known, want 1", met)
	}
	for i := range core.MaxKnown + 100 {
		p := core.NewPolicy("p"+fmt.Sprint(i), core.PerMinute(int64(i+1)))
		if got := maxOf(t, l, p); got != int64(i+1) {
			t.Fatalf("policy %d has the limit %d", i, got)
		}
	}
	if met := l.Met(); met > core.MaxKnown {
		t.Errorf("%d policies are known, want at most %d", met, core.MaxKnown)
	}
	if err := l.SetRule(t.Context(), core.Rule{Kind: core.RuleOverride, Policy: "late", Limits: []core.Limit{core.PerMinute(7)}}); err != nil {
		t.Fatal(err)
	}
	if got := maxOf(t, l, core.NewPolicy("late", core.PerMinute(1))); got != 7 {
		t.Errorf("an unknown policy is not overridden: %d", got)
	}
	// Overrides make policies too.
	l, _ = newLimiter(t)
	p := core.NewPolicy("p", core.PerMinute(1))
	for i := range 2 * core.MaxKnown {
		if err := l.SetRule(t.Context(), core.Rule{Kind: core.RuleOverride, Policy: "p", Limits: []core.Limit{core.PerMinute(int64(i + 100))}}); err != nil {
			t.Fatal(err)
		}
		allow(t, l, p, "k", 1)
	}
	if met := l.Met(); met > core.MaxKnown {
		t.Errorf("%d policies are known after overrides", met)
	}
	if now, _ := l.Policy("p"); now.Limits()[0].Max != 2*core.MaxKnown+99 {
		t.Errorf("the last override is not the one that holds: %v", now.Limits())
	}
}

// Decisions, rules and replacements at once: for the race detector, and each
// decision is by one of the limits that there were.
func TestViewIsSafe(t *testing.T) {
	l, _ := newLimiter(t, core.WithLogger(slog.New(slog.DiscardHandler)))
	p := core.NewPolicy("p", core.PerMinute(1_000_000))
	replacement := core.NewPolicy("p", core.PerMinute(2_000_000))
	ctx := t.Context()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				d, err := l.Allow(ctx, p, "k")
				if err != nil || !d.Allowed || d.Limit.Max%1_000_000 != 0 {
					t.Errorf("%+v, %v", d, err)
					return
				}
				l.Policies()
				l.Register(core.NewPolicy(fmt.Sprint("q", i%10), core.PerMinute(1)))
			}
		})
	}
	for i := range 100 {
		if err := l.Replace(replacement); err != nil {
			t.Fatal(err)
		}
		if err := l.SetRule(ctx, core.Rule{Kind: core.RuleOverride, Policy: "p", Limits: []core.Limit{core.PerMinute(3_000_000)}}); err != nil {
			t.Error(err)
		}
		if got := maxOf(t, l, p); got != 3_000_000 {
			t.Errorf("round %d: an override that was set is not seen: %d", i, got)
		}
		if err := l.Replace(); err != nil {
			t.Fatal(err)
		}
		deleteRules(t, l, "override policy p")
		if got := maxOf(t, l, p); got != 1_000_000 {
			t.Errorf("round %d: a deleted override is seen: %d", i, got)
		}
	}
	close(stop)
	wg.Wait()
}
