package adaptertest

import (
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

const blocked = `{"title":"Forbidden","status":403,"detail":"this client is blocked"}`

// setRule sets a rule, and returns a function that removes it.
func setRule(t *testing.T, limiter *core.Limiter, r core.Rule) (remove func()) {
	t.Helper()
	if err := limiter.SetRule(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if found, err := limiter.DeleteRule(t.Context(), r.ID()); err != nil || !found {
			t.Fatalf("the rule was found: %v, %v", found, err)
		}
	}
}

// wantNoFields checks that the response has no fields of a limit.
func (r response) wantNoFields() response {
	r.t.Helper()
	return r.wantField("RateLimit", "").wantField("RateLimit-Policy", "")
}

// openRules serves "/:id" with 5 requests a minute for each user.
func (s suite) openRules(t *testing.T, o options, limiterOptions ...core.Option) (*core.Limiter, *site) {
	t.Helper()
	limiter, _ := newLimiter(t, limiterOptions...)
	o.key = byFunc("user", user)
	return limiter, s.openRoute(t, limit{limiter, core.NewPolicy("api", core.PerMinute(5)), o})
}

func checkBlock(t *testing.T, s suite) {
	limiter, w := s.openRules(t, options{})
	remove := setRule(t, limiter, core.Rule{Kind: core.RuleBlock, Key: "user=mallory"})
	for range 9 {
		w.get("/1", "X-User: mallory").want(http.StatusForbidden).
			wantProblem(blocked).wantField("Retry-After", "").wantNoFields()
	}
	w.get("/1", "X-User: alice").want(http.StatusOK)
	remove()
	w.get("/1", "X-User: mallory").want(http.StatusOK).wantField("RateLimit", `"api";r=4;t=60`)

	if s.has("WithFrameworkErrors") {
		limiter, w = s.openRules(t, options{frameworkErrors: true})
		setRule(t, limiter, core.Rule{Kind: core.RuleBlock, Key: "user=mallory"})
		w.get("/1", "X-User: mallory").want(http.StatusForbidden).wantField("Retry-After", "")
	}
}

func checkBan(t *testing.T, s suite) {
	var reason core.Reason
	limiter, w := s.openRules(t, options{also: []also{{core.NewPolicy("all", core.PerMinute(5)), byConstant("shop")}}})
	if err := limiter.Ban(t.Context(), "user=mallory", time.Hour); err != nil {
		t.Fatal(err)
	}
	w.get("/1", "X-User: mallory").want(http.StatusTooManyRequests).
		wantField("Retry-After", "3600").wantNoFields().
		wantProblem(`{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Too Many Requests","status":429,` +
			`"detail":"this client is banned; retry in 3600s"}`)
	w.get("/1", "X-User: alice").want(http.StatusOK)
	if found, err := limiter.Unban(t.Context(), "user=mallory"); err != nil || !found {
		t.Fatalf("the ban was found: %v, %v", found, err)
	}
	w.get("/1", "X-User: mallory").want(http.StatusOK).wantField("RateLimit", `"api";r=4;t=60, "all";r=3;t=60`)

	limiter, w = s.openRules(t, options{denied: func(v visit, d core.Decision) error {
		reason = d.Reason
		return v.answer(http.StatusTeapot, "no")
	}})
	if err := limiter.Ban(t.Context(), "user=mallory", time.Hour); err != nil {
		t.Fatal(err)
	}
	w.get("/1", "X-User: mallory").want(http.StatusTeapot)
	if reason != core.ReasonBanned {
		t.Errorf("denied for the reason %v, want a ban", reason)
	}
}

func checkExempt(t *testing.T, s suite) {
	limiter, w := s.openRules(t, options{})
	remove := setRule(t, limiter, core.Rule{Kind: core.RuleExempt, Key: "user=admin"})
	for range 9 {
		w.get("/1", "X-User: admin").want(http.StatusOK).wantNoFields()
	}
	if d := w.newest(); d.Reason != core.ReasonExempt || !d.Allowed || d.Counted || d.Key != "user=admin" {
		t.Errorf("the decision is %+v, want an exemption", d)
	}
	remove()
	w.get("/1", "X-User: admin").want(http.StatusOK).wantField("RateLimit", `"api";r=4;t=60`)
}

// Networks match the client's address, whatever key it is counted by.
func checkNetwork(t *testing.T, s suite) {
	proxy := core.WithTrustedProxies(netip.MustParsePrefix("127.0.0.1/32"))
	network := netip.MustParsePrefix("203.0.113.0/24")
	const inside, outside = "X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: 198.51.100.1"
	service := []also{{core.NewPolicy("all", core.PerMinute(50)), byConstant("shop")}}

	limiter, w := s.openRules(t, options{also: service}, proxy)
	remove := setRule(t, limiter, core.Rule{Kind: core.RuleBlock, Network: network})
	w.get("/1", "X-User: alice", inside).want(http.StatusForbidden).wantProblem(blocked).wantNoFields()
	w.get("/1", "X-User: alice", "X-Forwarded-For: 203.0.113.7, 127.0.0.1").want(http.StatusForbidden)
	w.get("/1", "X-User: alice", "X-Forwarded-For: 64:ff9b::203.0.113.7").want(http.StatusForbidden)
	w.get("/1", "X-User: alice", outside).want(http.StatusOK)
	w.get("/1", "X-User: alice").want(http.StatusOK)
	remove()
	w.get("/1", "X-User: alice", inside).want(http.StatusOK)

	limiter, w = s.openRules(t, options{also: service}, proxy)
	setRule(t, limiter, core.Rule{Kind: core.RuleExempt, Network: network})
	for range 9 {
		w.get("/1", "X-User: alice", inside).want(http.StatusOK).wantNoFields()
	}
	w.get("/1", "X-User: alice", outside).want(http.StatusOK).wantField("RateLimit", `"api";r=4;t=60, "all";r=49;t=60`)

	// The IPv6 address of a translator names the same client.
	limiter, w = s.openRules(t, options{}, proxy)
	setRule(t, limiter, core.Rule{Kind: core.RuleBlock, Network: netip.MustParsePrefix("64:ff9b::/96")})
	w.get("/1", "X-User: alice", "X-Forwarded-For: 64:ff9b::203.0.113.7").want(http.StatusForbidden)
	w.get("/1", "X-User: alice", inside).want(http.StatusOK)

	// No client avoids a rule, or gets into one, by a field of its own.
	limiter, w = s.openRules(t, options{})
	setRule(t, limiter, core.Rule{Kind: core.RuleExempt, Network: network})
	setRule(t, limiter, core.Rule{Kind: core.RuleBlock, Network: netip.MustParsePrefix("127.0.0.0/8")})
	w.get("/1", "X-User: alice", inside).want(http.StatusForbidden)
}

func checkOverride(t *testing.T, s suite) {
	limiter, w := s.openRules(t, options{})
	w.get("/1", "X-User: alice").want(http.StatusOK).wantField("RateLimit", `"api";r=4;t=60`)
	remove := setRule(t, limiter, core.Rule{Kind: core.RuleOverride, Policy: "api", Limits: []core.Limit{core.PerMinute(2)}})
	w.get("/1", "X-User: alice").want(http.StatusOK).
		wantField("RateLimit-Policy", `"api";q=2;w=60`).wantField("RateLimit", `"api";r=0;t=60`)
	w.get("/1", "X-User: alice").wantDeniedBy("api")
	remove()
	w.get("/1", "X-User: alice").want(http.StatusOK).wantField("RateLimit", `"api";r=2;t=60`)
}

func checkReplace(t *testing.T, s suite) {
	limiter, w := s.openRules(t, options{})
	w.get("/1", "X-User: alice").want(http.StatusOK).wantField("RateLimit", `"api";r=4;t=60`)
	if err := limiter.Replace(core.NewPolicy("api", core.PerMinute(50))); err != nil {
		t.Fatal(err)
	}
	w.get("/1", "X-User: alice").want(http.StatusOK).wantField("RateLimit", `"api";r=48;t=60`)
	if err := limiter.Replace(); err != nil {
		t.Fatal(err)
	}
	w.get("/1", "X-User: alice").want(http.StatusOK).wantField("RateLimit", `"api";r=2;t=60`)
}

// A policy that is switched off, or to shadow, allows all requests. It shows no fields,
// since they would be wrong.
func checkSwitch(t *testing.T, s suite) {
	limiter, w := s.openRules(t, options{also: []also{{core.NewPolicy("all", core.PerMinute(50)), byConstant("shop")}}})
	for _, mode := range []core.Mode{core.ModeOff, core.ModeShadow} {
		remove := setRule(t, limiter, core.Rule{Kind: core.RuleSwitch, Policy: "api", Mode: mode})
		for range 9 {
			w.get("/1", "X-User: alice").want(http.StatusOK).wantField("RateLimit-Policy", `"all";q=50;w=60`)
		}
		if d := w.passed[len(w.passed)-1][0]; d.Policy.Mode() != mode || !d.Allowed || (d.Reason == core.ReasonOff) != (mode == core.ModeOff) {
			t.Errorf("the decision is %+v, want one of mode %s", d, mode)
		}
		remove()
	}
	remove := setRule(t, limiter, core.Rule{Kind: core.RuleSwitch, Policy: core.AllPolicies, Mode: core.ModeOff})
	w.get("/1", "X-User: alice").want(http.StatusOK).wantNoFields()
	remove()
	w.get("/1", "X-User: alice").wantDeniedBy("api") // counted in shadow mode
}

func checkShadow(t *testing.T, s suite) {
	limiter, _ := newLimiter(t)
	shadow := limit{limiter: limiter, policy: core.NewPolicy("shadow", core.PerMinute(1), core.Shadow())}
	w := s.openRoute(t, shadow)
	for i := range 3 {
		w.get("/1").want(http.StatusOK).wantNoFields().wantField("Retry-After", "")
		if d := w.newest(); d.WouldDeny != (i > 0) || !d.Allowed || d.Policy.Name() != "shadow" {
			t.Errorf("the decision on request %d is %+v", i, d)
		}
	}

	// Next to other policies it neither denies nor shows fields.
	l, _ := shop(t, options{})
	l.also = append(l.also, also{core.NewPolicy("shadow", core.PerMinute(1), core.Shadow()), byAddress()})
	w = s.openRoute(t, l)
	w.get("/1", "X-User: alice").want(http.StatusOK)
	w.get("/1", "X-User: bob").want(http.StatusOK).
		wantField("RateLimit", `"address";r=7;t=60, "user";r=1;t=3600, "service";r=1;t=60`)
	if all := w.passed[1]; len(all) != 4 || !all[3].WouldDeny || all[3].Counted || !all[0].Counted {
		t.Errorf("the decisions are %+v", all)
	}
}
