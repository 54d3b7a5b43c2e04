package core_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

// panics checks that wrong panics with a message that starts with the package
// and says what to write instead.
func panics(t *testing.T, advice string, wrong func()) {
	t.Helper()
	defer func() {
		t.Helper()
		got := recover()
		if got == nil {
			t.Errorf("no panic, want one that says %q", advice)
		} else if s := fmt.Sprint(got); !strings.HasPrefix(s, "core: ") || !strings.Contains(s, advice) {
			t.Errorf("panic %q, want one from core that says %q", s, advice)
		}
	}()
	wrong()
}

func TestWrongUsePanicsWithAdvice(t *testing.T) {
	fine := core.PerMinute(1)
	many := make([]core.PolicyOption, store.MaxLimits+1)
	for i := range many {
		many[i] = core.Per(1, time.Duration(i+1)*time.Second)
	}
	for name, c := range map[string]struct {
		advice string
		wrong  func()
	}{
		"limit of 0":           {"use at least 1 unit", func() { core.PerMinute(0) }},
		"negative limit":       {"use at least 1 unit", func() { core.PerSecond(-5) }},
		"huge limit":           {"count in larger units", func() { core.PerHour(store.MaxUnits + 1) }},
		"no window":            {"use at least 1ms", func() { core.Per(1, 0) }},
		"negative window":      {"use at least 1ms", func() { core.Per(1, -time.Second) }},
		"long window":          {"use at most 30d", func() { core.Per(1, store.MaxWindow+time.Millisecond) }},
		"fine window":          {"use whole milliseconds", func() { core.Per(1, 1500*time.Microsecond) }},
		"no name":              {`such as "api"`, func() { core.NewPolicy("", fine) }},
		"name with a space":    {"use letters, digits", func() { core.NewPolicy("my api", fine) }},
		"name with a brace":    {"use letters, digits", func() { core.NewPolicy("{api}", fine) }},
		"name with a colon":    {"use letters, digits", func() { core.NewPolicy("a:b", fine) }},
		"name beyond ASCII":    {"use letters, digits", func() { core.NewPolicy("é", fine) }},
		"long name":            {"use at most 64", func() { core.NewPolicy(strings.Repeat("x", 65), fine) }},
		"coarse, two limits":   {"a coarse log has one limit", func() { core.NewPolicy("p", core.PerSecond(1), fine, core.Coarse(10)) }},
		"coarse, refundable":   {"can't give back", func() { core.NewPolicy("p", fine, core.Coarse(10), core.Refundable(0)) }},
		"one slice":            {"use 2 to 1000", func() { core.NewPolicy("p", fine, core.Coarse(1)) }},
		"too many slices":      {"use 2 to 1000", func() { core.NewPolicy("p", fine, core.Coarse(1001)) }},
		"slices below 0":       {"use 2 to 1000", func() { core.NewPolicy("p", fine, core.Coarse(-1)) }},
		"slices below 1ms":     {"shorter than 1ms", func() { core.NewPolicy("p", core.Per(1, 10*time.Millisecond), core.Coarse(64)) }},
		"long grace":           {"longer than half", func() { core.NewPolicy("p", fine, core.Refundable(30*time.Second+time.Millisecond)) }},
		"fine grace":           {"use whole milliseconds", func() { core.NewPolicy("p", fine, core.Refundable(1500*time.Microsecond)) }},
		"negative grace":       {"use whole milliseconds", func() { core.NewPolicy("p", fine, core.Refundable(-time.Second)) }},
		"wrong field name":     {"FieldName", func() { core.NewPolicy("p", fine, core.FieldName("a b")) }},
		"long field name":      {"use at most 64", func() { core.NewPolicy("p", fine, core.FieldName(strings.Repeat("x", 65))) }},
		"wrong unit":           {"Unit", func() { core.NewPolicy("p", fine, core.Unit("a b")) }},
		"long unit":            {"use at most 64", func() { core.NewPolicy("p", fine, core.Unit(strings.Repeat("x", 65))) }},
		"unit of slots":        {"requests in flight", func() { core.NewPolicy("p", fine, core.Unit("concurrent-requests")) }},
		"no limit":             {"add one, such as core.PerMinute(100)", func() { core.NewPolicy("p") }},
		"only an option":       {"add one, such as", func() { core.NewPolicy("p", core.VariableCost()) }},
		"nil option":           {"leave it out", func() { core.NewPolicy("p", fine, nil) }},
		"zero Limit":           {"use at least 1 unit", func() { core.NewPolicy("p", core.Limit{}) }},
		"two for one window":   {"keep the smaller", func() { core.NewPolicy("p", fine, core.Per(9, 60*time.Second)) }},
		"too many":             {"use at most 8", func() { core.NewPolicy("p", many...) }},
		"nil store":            {"core.NewMemory()", func() { core.New(nil) }},
		"typed nil store":      {"core.NewMemory()", func() { core.New((*countingStore)(nil)) }},
		"nil limiter option":   {"leave it out", func() { core.New(core.NewMemory(), nil) }},
		"nil store option":     {"leave it out", func() { core.NewMemory(nil) }},
		"no keys":              {"use at least 1", func() { core.NewMemory(core.WithMaxKeys(0)) }},
		"nil clock":            {"leave the option out", func() { core.NewMemory(core.WithClock(nil)) }},
		"nil logger":           {"leave the option out", func() { core.WithLogger(nil) }},
		"IPv6 prefix of 0":     {"use 1 to 128", func() { core.WithIPv6Prefix(0) }},
		"IPv6 prefix of 129":   {"use 1 to 128", func() { core.WithIPv6Prefix(129) }},
		"no forwarded header":  {"X-Real-IP", func() { core.WithForwardedHeader("") }},
		"bad forwarded header": {"X-Real-IP", func() { core.WithForwardedHeader("a b") }},
	} {
		t.Run(name, func(t *testing.T) { panics(t, c.advice, c.wrong) })
	}
}

func TestPolicyLayout(t *testing.T) {
	for logName, p := range map[string]*core.Policy{
		"p:c1m":          core.NewPolicy("p", core.PerMinute(1)),
		"p:s1m":          core.NewPolicy("p", core.PerMinute(1), core.VariableCost()),
		"p:s1h":          core.NewPolicy("p", core.PerMinute(1), core.PerHour(5)),
		"a.B_9-z:c250ms": core.NewPolicy("a.B_9-z", core.Per(1, 250*time.Millisecond)),
	} {
		if p.Log().Name != logName {
			t.Errorf("LogName of %v: %q, want %q", p.Limits(), p.Log().Name, logName)
		}
	}
}

func TestParsePolicy(t *testing.T) {
	p, err := core.ParsePolicy("search", []string{"20/second", "200/minute"})
	if err != nil || p.Name() != "search" || len(p.Limits()) != 2 || p.Limits()[1] != core.PerMinute(200) {
		t.Errorf("ParsePolicy: %v, %v", p, err)
	}
	for want, parse := range map[string]func() (*core.Policy, error){
		"unknown unit":     func() (*core.Policy, error) { return core.ParsePolicy("p", []string{"1/fortnight"}) },
		"needs a name":     func() (*core.Policy, error) { return core.ParsePolicy("", []string{"1/s"}) },
		"has no limit":     func() (*core.Policy, error) { return core.ParsePolicy("p", nil) },
		"keep the smaller": func() (*core.Policy, error) { return core.ParsePolicy("p", []string{"1/s", "2/second"}) },
	} {
		if p, err := parse(); p != nil || err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "core: ") {
			t.Errorf("ParsePolicy: %v, %v, want an error that says %q", p, err, want)
		}
	}
}

// A policy's limits can't be changed through what it hands out.
func TestPolicyIsImmutable(t *testing.T) {
	p := core.NewPolicy("p", core.PerMinute(1))
	p.Limits()[0] = core.PerMinute(1000)
	if p.Limits()[0] != core.PerMinute(1) {
		t.Errorf("limit is now %v", p.Limits()[0])
	}
}

func TestPolicyWith(t *testing.T) {
	base := core.NewPolicy("p", core.PerMinute(10), core.VariableCost(), core.Refundable(10*time.Second),
		core.Shadow(), core.FieldName("shown"), core.OnStoreFailure(core.FailOpen))
	with := func(options ...core.PolicyOption) *core.Policy {
		t.Helper()
		p, err := base.With(options...)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	grace := func(p *core.Policy) time.Duration { return p.Log().Grace }
	same := with()
	if same == base || same.Log().Name != base.Log().Name || same.Limits()[0] != base.Limits()[0] || !same.Log().VariableCost || !same.Log().Shadow ||
		grace(same) != 10*time.Second || same.FailureMode() != core.FailOpen {
		t.Errorf("without options: %+v", same)
	}
	if p := with(core.PerMinute(20), core.Enforce()); p.Limits()[0].Max != 20 || len(p.Limits()) != 1 || p.Log().Shadow || p.Log().Name != base.Log().Name || grace(p) != 10*time.Second {
		t.Errorf("another Max, enforced: %+v", p)
	}
	if p := with(core.PerHour(20), core.PerSecond(1)); len(p.Limits()) != 2 || p.Log().Longest != time.Hour || p.Log().Name == base.Log().Name {
		t.Errorf("other windows: %+v", p)
	}
	if p := with(core.OnStoreFailure(""), core.FieldName("other")); p.FailureMode() != "" || p.Limits()[0] != base.Limits()[0] {
		t.Errorf("other settings: %+v", p)
	}
	if base.Limits()[0].Max != 10 || !base.Log().Shadow || base.FailureMode() != core.FailOpen {
		t.Errorf("the policy itself has changed: %+v", base)
	}
	// A grace of half the window follows the window, and one that was set must fit.
	half, err := core.NewPolicy("p", core.PerMinute(1), core.Refundable(0)).With(core.PerHour(1))
	if err != nil || grace(half) != 30*time.Minute {
		t.Errorf("grace %v, %v", grace(half), err)
	}
	for want, wrong := range map[string]core.PolicyOption{
		"longer than half the longest window": core.PerSecond(1), "can't give back": core.Coarse(10), "a nil option": nil,
	} {
		if p, err := base.With(wrong); p != nil || err == nil || !strings.HasPrefix(err.Error(), "core: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("With: %v, %v, want an error that says %q", p, err, want)
		}
	}
}

// Errors have types, so that settings files can say the same in their own words.
func TestPolicyErrors(t *testing.T) {
	base := core.NewPolicy("p", core.PerMinute(1))
	with := func(options ...core.PolicyOption) error { _, err := base.With(options...); return err }
	parse := func(name string, limits ...string) error { _, err := core.ParsePolicy(name, limits); return err }
	for _, c := range []struct {
		err          error
		option, text string // of the error within
		whole        string
	}{
		{parse("a b", "1/s"), "", `policy name "a b": ' ' is not allowed: use letters, digits, '.', '_' and '-'`, `core: policy name "a b": `},
		{parse("", "1/s"), "", `a policy needs a name: use one such as "api"`, "core: a policy needs"},
		{parse("p"), "", `policy "p" has no limit: add one, such as core.PerMinute(100)`, `core: policy "p" has no limit`},
		{with(core.FieldName("a b")), "FieldName", `name "a b": ' ' is not allowed: use letters, digits, '.', '_' and '-'`, `core: policy "p": FieldName: name "a b"`},
		{with(core.OnStoreFailure("off")), "OnStoreFailure", "no such mode: use core.FailClosed, core.FailOpen or core.FailLocal", `core: policy "p": OnStoreFailure: no such`},
		{with(core.Refundable(time.Hour)), "Refundable", "a grace of 1h0m0s is longer than half the longest window, 30s", `core: policy "p": Refundable: a grace`},
		{with(core.Coarse(1)), "Coarse", "1 slices: use 2 to 1000, such as 64", `core: policy "p": Coarse: 1 slices`},
	} {
		var wrong *core.PolicyError
		if !errors.As(c.err, &wrong) || wrong.Option != c.option || wrong.Err.Error() != c.text || !strings.HasPrefix(c.err.Error(), c.whole) {
			t.Errorf("%#v: %v, want one of %q: %s", wrong, c.err, c.option, c.text)
		}
	}
	if err := errors.Unwrap(parse("p", "1/fortnight")); err == nil || err.Error() != "unknown unit, use s, m, h, d or a Go duration" {
		t.Errorf("%v", err)
	}
}
