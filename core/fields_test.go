package core_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
	"github.com/streamlimit/streamlimit/core/store"
)

func fields(decisions []core.Decision, forms ...core.HeaderForm) string {
	var b strings.Builder
	retryAfter := int64(0)
	if len(decisions) > 0 {
		retryAfter = core.ProblemFor(decisions[len(decisions)-1].Err()).RetryAfter
		if decisions[len(decisions)-1].Allowed {
			retryAfter = 0
		}
	}
	adapter.SetHeaders(decisions, forms, retryAfter, setter(func(name, value string) { fmt.Fprintf(&b, "%s: %s\n", name, value) }))
	return b.String()
}

func TestFields(t *testing.T) {
	l, clock := newLimiter(t)
	search := core.NewPolicy("search", core.PerSecond(2), core.PerHour(1000))
	strict := core.NewPolicy("strict", core.Per(1, 10*time.Second))
	blink := core.NewPolicy("blink", core.Per(5, 1500*time.Millisecond))

	first := allow(t, l, search, "k", 1)
	check := func(what, want string, decisions []core.Decision, forms ...core.HeaderForm) {
		t.Helper()
		if got := fields(decisions, forms...); got != want {
			t.Errorf("%s:\n%swant\n%s", what, got, want)
		}
	}
	check("two limits", "RateLimit-Policy: \"search\";q=2;w=1, \"search-hour\";q=1000;w=3600\n"+
		"RateLimit: \"search\";r=1;t=1, \"search-hour\";r=999;t=3600\n", []core.Decision{first}, core.HeadersIETF)
	check("X-RateLimit", "X-RateLimit-Limit: 2\nX-RateLimit-Remaining: 1\nX-RateLimit-Reset: 1\n", []core.Decision{first}, core.HeadersX)
	check("draft 06", "RateLimit-Limit: 2\nRateLimit-Remaining: 1\nRateLimit-Reset: 1\n", []core.Decision{first}, core.HeadersDraft06)
	check("none", "", []core.Decision{first})
	check("no decision", "", nil, core.HeadersIETF, core.HeadersX)
	check("not whole seconds", "RateLimit-Policy: \"blink\";q=5\nRateLimit: \"blink\";r=4;t=2\n",
		[]core.Decision{allow(t, l, blink, "k", 1)}, core.HeadersIETF)

	clock.advance(100 * time.Millisecond)
	second := allow(t, l, search, "k", 1)
	allow(t, l, strict, "k", 1)
	clock.advance(3 * time.Second)
	denied := allow(t, l, strict, "k", 1)
	check("stacked and denied: outer first, t not later than Retry-After",
		"RateLimit-Policy: \"search\";q=2;w=1, \"search-hour\";q=1000;w=3600, \"strict\";q=1;w=10\n"+
			"RateLimit: \"search\";r=0;t=1, \"search-hour\";r=998, \"strict\";r=0;t=7\n",
		[]core.Decision{second, denied}, core.HeadersIETF)
	check("stacked, older form", "X-RateLimit-Limit: 1\nX-RateLimit-Remaining: 0\nX-RateLimit-Reset: 7\n",
		[]core.Decision{second, denied}, core.HeadersX)

	hourly := allow(t, l, core.NewPolicy("hourly", core.PerHour(1)), "k", 1)
	check("the older form shows the limit that denied, not one that is used up",
		"X-RateLimit-Limit: 1\nX-RateLimit-Remaining: 0\nX-RateLimit-Reset: 7\n",
		[]core.Decision{hourly, denied}, core.HeadersX)

	tokens := core.NewPolicy("tokens", core.PerSecond(500), core.Per(900, 6*time.Minute), core.VariableCost(), core.Unit("tokens"))
	check("by unit, each with the limit that binds",
		"X-RateLimit-Limit-Requests: 1\nX-RateLimit-Remaining-Requests: 0\nX-RateLimit-Reset-Requests: 7s\n"+
			"X-RateLimit-Limit-Tokens: 500\nX-RateLimit-Remaining-Tokens: 100\nX-RateLimit-Reset-Tokens: 1s\n",
		[]core.Decision{second, allow(t, l, tokens, "k", 400), denied}, core.HeadersByUnit)
	clock.advance(time.Second)
	check("by unit, the longer limit",
		"X-RateLimit-Limit-Tokens: 900\nX-RateLimit-Remaining-Tokens: 50\nX-RateLimit-Reset-Tokens: 5m59s\n",
		[]core.Decision{allow(t, l, tokens, "k", 450)}, core.HeadersByUnit)

	// Another policy that has one of the names already.
	hour := core.NewPolicy("search-hour", core.PerMinute(7))
	check("names are unique in a field",
		"RateLimit-Policy: \"search\";q=2;w=1, \"search-hour\";q=1000;w=3600, \"search-hour-2\";q=7;w=60\n"+
			"RateLimit: \"search\";r=1;t=1, \"search-hour\";r=999;t=3600, \"search-hour-2\";r=6;t=60\n",
		[]core.Decision{first, allow(t, l, hour, "k", 1)}, core.HeadersIETF)
}

// The unit of a policy is in its fields and its denials, if it is not requests.
func TestUnit(t *testing.T) {
	for _, c := range []struct {
		options   []core.PolicyOption
		unit, qu  string
		one, more string // in a denial
	}{
		{nil, "requests", "", "1 request per", "2 requests per"},
		{[]core.PolicyOption{core.Unit("requests")}, "requests", "", "1 request per", "2 requests per"},
		{[]core.PolicyOption{core.Unit("mails")}, "mails", `;qu="mails"`, "1 mail per", "2 mails per"},
		{[]core.PolicyOption{core.VariableCost()}, "units", "", "1 unit per", "2 units per"},
		{[]core.PolicyOption{core.VariableCost(), core.Unit("units")}, "units", "", "1 unit per", "2 units per"},
		{[]core.PolicyOption{core.VariableCost(), core.Unit("requests")}, "requests", "", "1 request per", "2 requests per"},
		{[]core.PolicyOption{core.Unit("tokens"), core.VariableCost()}, "tokens", `;qu="tokens"`, "1 token per", "2 tokens per"},
		{[]core.PolicyOption{core.Unit("content-bytes"), core.VariableCost()}, "content-bytes", `;qu="content-bytes"`, "1 content-byte per", "2 content-bytes per"},
	} {
		for most, want := range map[int64]string{1: c.one, 2: c.more} {
			l, _ := newLimiter(t)
			p := core.NewPolicy("p", append(c.options, core.PerMinute(most), core.PerHour(1000))...)
			if p.Unit() != c.unit {
				t.Errorf("unit %q, want %q", p.Unit(), c.unit)
			}
			d := allow(t, l, p, "k", 1)
			got := fields([]core.Decision{d}, core.HeadersIETF)
			if want := fmt.Sprintf(`RateLimit-Policy: "p";q=%d;w=60%s, "p-hour";q=1000;w=3600%s`+"\n", most, c.qu, c.qu); !strings.HasPrefix(got, want) {
				t.Errorf("%s, want %s", got, want)
			}
			for d.Allowed {
				d = allow(t, l, p, "k", 1)
			}
			if detail := core.ProblemFor(d.Err()).Detail; !strings.HasPrefix(detail, want) {
				t.Errorf("%s, want %s", detail, want)
			}
			changed, err := p.With(core.PerSecond(7))
			if err != nil || changed.Unit() != c.unit {
				t.Errorf("with another limit: %v, %v", changed.Unit(), err)
			}
		}
	}
}

func TestDeniedProblem(t *testing.T) {
	l, clock := newLimiter(t)
	strict := core.NewPolicy("strict", core.Per(5, 10*time.Second))
	for range 5 {
		allow(t, l, strict, "k", 1)
	}
	clock.advance(3*time.Second + time.Millisecond)
	d := allow(t, l, strict, "k", 1)
	p := core.ProblemFor(fmt.Errorf("wrapped: %w", d.Err()))
	const want = `{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Too Many Requests","status":429,` +
		`"detail":"5 requests per 10s; retry in 7s","violated-policies":["strict"]}`
	if got := string(p.Body()); got != want || p.RetryAfter != 7 || p.Status != 429 {
		t.Errorf("%+v\n%s\nwant\n%s", p, got, want)
	}

	one := core.NewPolicy("one", core.PerMinute(1))
	allow(t, l, one, "k", 1)
	clock.advance(time.Minute - time.Millisecond)
	if p := core.ProblemFor(allow(t, l, one, "k", 1).Err()); p.Detail != "1 request per minute; retry in 1s" || p.RetryAfter != 1 {
		t.Errorf("%+v", p)
	}

	tokens := core.NewPolicy("tokens", core.PerSecond(10), core.PerDay(12), core.VariableCost())
	allow(t, l, tokens, "k", 10)
	p = core.ProblemFor(allow(t, l, tokens, "k", 5).Err())
	if p.Detail != "12 units per day; retry in 86400s" || strings.Join(p.Violated, " ") != "tokens tokens-day" {
		t.Errorf("%+v", p)
	}
}

func TestProblemForErrors(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		retry  int64
		says   string
	}{
		{core.Refuse(418, "short <b>and</b> stout"), 418, 0, `short`},
		{fmt.Errorf("x: %w", core.Refuse(http.StatusBadRequest, "bad")), 400, 0, `"title":"Bad Request","status":400,"detail":"bad"`},
		{core.Refuse(200, "not an error"), 503, 1, "temporary-reduced-capacity"},
		{core.ErrNoKey, 401, 0, `"title":"Unauthorized"`},
		{fmt.Errorf("%w: 7", core.ErrCost), 400, 0, "cost"},
		{errors.New("dial tcp 10.1.1.1:6379: refused"), 503, 1, "temporary-reduced-capacity"},
		{store.ErrFull, 503, 1, "could not decide"},
	} {
		p := core.ProblemFor(c.err)
		body := string(p.Body())
		if p.Status != c.status || p.RetryAfter != c.retry || !strings.Contains(body, c.says) || !json.Valid([]byte(body)) {
			t.Errorf("%v: %+v %s", c.err, p, body)
		}
		if strings.Contains(body, "10.1.1.1") || strings.Contains(body, "<b>") {
			t.Errorf("%v shows too much: %s", c.err, body)
		}
	}
}

// Clients see the field name, in fields and problems alike.
func TestFieldName(t *testing.T) {
	l, _ := newLimiter(t)
	free := core.NewPolicy("free", core.PerMinute(1), core.PerHour(2), core.FieldName("api"))
	first := allow(t, l, free, "k", 1)
	want := "RateLimit-Policy: \"api\";q=1;w=60, \"api-hour\";q=2;w=3600\nRateLimit: \"api\";r=0;t=60, \"api-hour\";r=1;t=3600\n"
	if got := fields([]core.Decision{first}, core.HeadersIETF); got != want {
		t.Errorf("fields:\n%swant\n%s", got, want)
	}
	denied := allow(t, l, free, "k", 1)
	if p := core.ProblemFor(denied.Err()); strings.Join(p.Violated, " ") != "api" {
		t.Errorf("violated %v, want api", p.Violated)
	}
	if text := denied.Err().Error(); !strings.Contains(text, "policy free") {
		t.Errorf("error %q, want one with the policy's own name", text)
	}
	pro := core.NewPolicy("pro", core.PerMinute(10), core.FieldName("api"))
	got := fields([]core.Decision{first, allow(t, l, pro, "k", 1)}, core.HeadersIETF)
	if !strings.HasPrefix(got, "RateLimit-Policy: \"api\";q=1;w=60, \"api-hour\";q=2;w=3600, \"api-2\";q=10;w=60\n") {
		t.Errorf("two of one field name:\n%s", got)
	}
}

func TestSeveralDenialsAreOneProblem(t *testing.T) {
	l, _ := newLimiter(t)
	minute := core.NewPolicy("minute", core.PerMinute(1))
	hour := core.NewPolicy("hour", core.PerHour(1), core.FieldName("sixty-minutes"))
	again := core.NewPolicy("again", core.PerHour(1), core.FieldName("sixty-minutes"))
	asks := []core.Charge{{Policy: minute, Key: "k"}, {Policy: hour, Key: "k"}, {Policy: again, Key: "k"}}
	allowAll(t, l, asks...)
	problem := core.ProblemFor(core.Denied(allowAll(t, l, asks...)))
	if problem.Status != http.StatusTooManyRequests || problem.RetryAfter != 3600 || problem.Detail != "1 request per hour; retry in 3600s" ||
		strings.Join(problem.Violated, " ") != "sixty-minutes minute" {
		t.Errorf("%+v", problem)
	}
}

// Of several denials the error is the one that lasts longest, and a blocked
// client's lasts for ever.
func TestDenied(t *testing.T) {
	p := core.NewPolicy("p", core.PerMinute(1))
	wait := func(key string, seconds int) core.Decision {
		return core.Decision{Policy: p, Key: key, RetryAfter: time.Duration(seconds) * time.Second}
	}
	ok := core.Decision{Policy: p, Key: "ok", Allowed: true}
	blocked := func(key string) core.Decision {
		return core.Decision{Policy: p, Key: key, Reason: core.ReasonBlocked}
	}
	banned := core.Decision{Policy: p, Key: "ban", Reason: core.ReasonBanned, RetryAfter: time.Hour}
	for _, c := range []struct {
		decisions []core.Decision
		want      string // keys: the decision's, then the others'
	}{
		{nil, ""},
		{[]core.Decision{ok, {}, ok}, ""},
		{[]core.Decision{ok, wait("a", 1), ok}, "a"},
		{[]core.Decision{wait("a", 1), wait("b", 3), wait("c", 2)}, "b a c"},
		{[]core.Decision{wait("a", 1), ok, wait("b", 2), wait("c", 3)}, "c a b"},
		{[]core.Decision{wait("a", 3), wait("b", 3)}, "a b"},
		{[]core.Decision{wait("a", 3), banned, wait("b", 2)}, "ban a b"},
		{[]core.Decision{banned, blocked("x"), wait("a", 9), blocked("y")}, "x ban a y"},
	} {
		err := core.Denied(c.decisions)
		var keys []string
		var limited *core.LimitedError
		if errors.As(err, &limited) {
			keys = append(keys, limited.Decision.Key)
			for _, d := range limited.Others {
				keys = append(keys, d.Key)
			}
		}
		if got := strings.Join(keys, " "); got != c.want || (err == nil) != (c.want == "") {
			t.Errorf("Denied: %v with %q, want %q", err, got, c.want)
		}
	}
}

func TestRuleProblems(t *testing.T) {
	p := core.NewPolicy("p", core.PerMinute(1))
	blocked := core.Decision{Policy: p, Key: "k", Cost: 1, Reason: core.ReasonBlocked, Source: core.SourceNone}
	const want = `{"title":"Forbidden","status":403,"detail":"this client is blocked"}`
	if got := core.ProblemFor(blocked.Err()); string(got.Body()) != want || got.RetryAfter != 0 {
		t.Errorf("blocked: %s, retry %d", got.Body(), got.RetryAfter)
	}
	if got, want := blocked.Err().Error(), "streamlimit: policy p: this client is blocked"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
	banned := core.Decision{Policy: p, Key: "k", Cost: 1, Reason: core.ReasonBanned, RetryAfter: 1500 * time.Millisecond, Source: core.SourceNone}
	if got := core.ProblemFor(banned.Err()); got.Status != 429 || got.RetryAfter != 2 || got.Detail != "this client is banned; retry in 2s" || got.Violated != nil {
		t.Errorf("banned: %+v", got)
	}
	if got := fields([]core.Decision{blocked, banned}, core.HeadersIETF, core.HeadersX); got != "" {
		t.Errorf("rules are shown as limits: %s", got)
	}
}

// setter is a function that sets response fields. It is given their names as the
// drafts write them, which is the same to clients.
type setter func(name, value string)

func (s setter) SetHeader(name, value string) {
	s(strings.Replace(name, "Ratelimit", "RateLimit", 1), value)
}
