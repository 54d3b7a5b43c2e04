package adaptertest

import (
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
)

// checkMisuse checks that wrong use panics in the constructor. The message begins with
// the adapter and the function, and has advice.
func checkMisuse[C, M any](t *testing.T, a Adapter[C, M]) {
	limiter, _ := newLimiter(t)
	policy := core.NewPolicy("api", core.PerMinute(1))
	find := func(C) (string, error) { return "", nil }
	cost := func(C) (int64, error) { return 1, nil }
	used := func(C, int) int64 { return 1 }
	costs := core.NewPolicy("tokens", core.PerMinute(1), core.VariableCost())
	refundable := core.NewPolicy("login", core.PerMinute(1), core.Refundable(0))
	for _, c := range []struct {
		message string // after the adapter's name
		advice  string
		use     func()
	}{
		{"New: nil limiter", "core.New", func() { a.New(nil, policy) }},
		{"New: nil policy", "core.NewPolicy", func() { a.New(limiter, nil) }},
		{"New: a nil option", "leave it out", func() { a.New(limiter, policy, nil) }},
		{"Defaults: nil limiter", "core.New", func() { a.Defaults(nil) }},
		{"Defaults: a nil option", "leave it out", func() { a.Defaults(limiter, nil) }},
		{"Preset.New: a Preset without a limiter", "with Defaults", func() { a.ZeroPreset(policy) }},
		{"New: nil policy", "core.NewPolicy", func() { a.Defaults(limiter)(nil) }},
		{"New: a nil option", "leave it out", func() { a.Defaults(limiter)(policy, nil) }},
		{"New: WithCost", "core.VariableCost", func() { a.Defaults(limiter, a.WithCost(cost))(policy) }},
		{"New: WithCost", "core.VariableCost", func() { a.New(limiter, policy, a.WithCost(cost)) }},
		{"New: WithCost", "core.VariableCost", func() {
			a.New(limiter, policy, a.WithCost(cost), a.WithTier(func(C) *core.Policy { return nil }))
		}},
		{"New: WithCost on policy api, login,", "core.VariableCost", func() {
			a.New(limiter, policy, a.WithCost(cost), a.WithPolicy(refundable, a.ByAddress()))
		}},
		{"New: WithRefund on policy api,", "core.Refundable(0)", func() { a.New(limiter, policy, a.WithRefund(a.OnSuccess)) }},
		{"New: WithRefund on policy api, tokens,", "core.Refundable(0)", func() {
			a.New(limiter, policy, a.WithRefund(a.OnFailure), a.WithPolicy(costs, a.ByAddress()))
		}},
		{"New: WithSettle on policy tokens,", "core.Refundable(0)", func() { a.New(limiter, costs, a.WithSettle(used)) }},
		{"New: WithSettle on policy tokens, login,", "core.VariableCost()", func() {
			a.New(limiter, costs, a.WithSettle(used), a.WithPolicy(refundable, a.ByAddress()))
		}},
		{"New: two policies called api", "names of their own", func() {
			a.New(limiter, policy, a.WithPolicy(core.NewPolicy("api", core.PerHour(1)), a.ByConstant("all")))
		}},
		{"WithPolicy: nil policy", "core.NewPolicy", func() { a.WithPolicy(nil, a.ByAddress()) }},
		{"WithPolicy: nil policy", "core.NewPolicy", func() { a.WithPolicy(new(core.Policy), a.ByAddress()) }},
		{"WithPolicy: an empty Key", "ByAddress", func() { a.WithPolicy(policy, adapter.Key[C]{}) }},
		{"WithRefund: nil function", "leave the option out", func() { a.WithRefund(nil) }},
		{"WithSettle: nil function", "leave the option out", func() { a.WithSettle(nil) }},
		{`ByConstant: "" is no name`, "user", func() { a.ByConstant("") }},
		{"WithKey: an empty Key", "ByAddress", func() { a.WithKey(adapter.Key[C]{}) }},
		{"WithCost: nil function", "leave the option out", func() { a.WithCost(nil) }},
		{"WithSkip: nil function", "leave the option out", func() { a.WithSkip(nil) }},
		{"WithTier: nil function", "leave the option out", func() { a.WithTier(nil) }},
		{"WithDenied: nil function", "leave the option out", func() { a.WithDenied(nil) }},
		{"WithErrorHandler: nil function", "leave the option out", func() { a.WithErrorHandler(nil) }},
		{"WithHeaders: no such form", "core.HeadersIETF", func() { a.WithHeaders(core.HeadersByUnit + 1) }},
		{`ByHeader: "" is no name`, "X-API-Key", func() { a.ByHeader("") }},
		{"New: nil policy", "core.NewPolicy", func() { a.New(limiter, new(core.Policy)) }},
		{`ByHeader: "Host"`, "ByFunc", func() { a.ByHeader("host") }},
		{`ByHeader: "Authorization"`, "ByBearer() or ByBasicUser()", func() { a.ByHeader("authorization") }},
		{`ByHeader: "Proxy-Authorization"`, "BySecret", func() { a.ByHeader("Proxy-Authorization") }},
		{`ByHeader: "Cookie"`, "BySecret", func() { a.ByHeader("COOKIE") }},
		{`ByHeader: "X-API-Key:" is no name`, "X-API-Key", func() { a.ByHeader("X-API-Key:") }},
		{`BySecret: "" is no name`, "user", func() { a.BySecret("", find) }},
		{"BySecret: nil function", "give one", func() { a.BySecret("user", nil) }},
		{`ByFunc: "a=b" is no name`, "user", func() { a.ByFunc("a=b", find) }},
		{"ByFunc: nil function", "give one", func() { a.ByFunc("user", nil) }},
		{"ByAll: no keys", "at least one", func() { a.ByAll() }},
		{"ByAll: an empty Key", "ByAddress", func() { a.ByAll(a.ByAddress(), adapter.Key[C]{}) }},
		{"ByFirst: no keys", "at least one", func() { a.ByFirst() }},
		{"ByFirst: an empty Key", "ByAddress", func() { a.ByFirst(adapter.Key[C]{}) }},
		{"KeyFunc: nil limiter", "New", func() { a.KeyFunc(nil, a.ByAddress()) }},
		{"KeyFunc: an empty Key", "ByAddress", func() { a.KeyFunc(limiter, adapter.Key[C]{}) }},
	} {
		t.Run(c.message, func(t *testing.T) {
			defer func() {
				message, _ := recover().(string)
				if !strings.HasPrefix(message, a.Name+": "+c.message) || !strings.Contains(message, c.advice) {
					t.Errorf("panicked with %q, want %q and advice with %q", message, a.Name+": "+c.message, c.advice)
				}
			}()
			c.use()
		})
	}
}
