// Package adaptertest is the suite that every framework adapter passes. It sends HTTP
// requests to a real server of the framework, and defines what all adapters do alike.
// An adapter's own tests cover only what its framework makes different. The package may change in any release.
package adaptertest

import (
	"context"
	"io"
	"reflect"
	"slices"
	"testing"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
)

// Adapter is an adapter under test: its functions under their own names, and the
// functions of the framework that the suite's handlers need. C is the framework's request
// context and M its middleware.
type Adapter[C, M any] struct {
	// Name is the adapter's package name. Its panics begin with it.
	Name string

	// Lacks names the fields below that are nil because the framework has no such
	// function: WithFrameworkErrors, SetContext or Refuse. The checks that need them are
	// skipped. Any other nil field fails the suite.
	Lacks []string

	// Serve serves app on a free port of 127.0.0.1 until the test ends, behind
	// the framework's recovery from panics, and returns "http://127.0.0.1:port".
	Serve func(t *testing.T, app App[C, M]) (url string)

	New         func(*core.Limiter, *core.Policy, ...adapter.Option[C]) M
	FromContext func(C) (core.Decision, bool)
	Decisions   func(C) []core.Decision

	// Defaults returns the method New of a preset. ZeroPreset is the method New of the
	// zero Preset.
	Defaults   func(*core.Limiter, ...adapter.Option[C]) func(*core.Policy, ...adapter.Option[C]) M
	ZeroPreset func(*core.Policy, ...adapter.Option[C]) M

	ByAddress   func() adapter.Key[C]
	ByHeader    func(name string) adapter.Key[C]
	ByBearer    func() adapter.Key[C]
	ByBasicUser func() adapter.Key[C]
	BySecret    func(name string, find func(C) (string, error)) adapter.Key[C]
	ByFunc      func(name string, find func(C) (string, error)) adapter.Key[C]
	ByConstant  func(name string) adapter.Key[C]
	ByAll       func(...adapter.Key[C]) adapter.Key[C]
	ByFirst     func(...adapter.Key[C]) adapter.Key[C]
	KeyFunc     func(*core.Limiter, adapter.Key[C]) func(C) (string, error)

	WithKey             func(adapter.Key[C]) adapter.Option[C]
	WithPolicy          func(*core.Policy, adapter.Key[C]) adapter.Option[C]
	WithCost            func(func(C) (int64, error)) adapter.Option[C]
	WithSkip            func(func(C) bool) adapter.Option[C]
	WithTier            func(func(C) *core.Policy) adapter.Option[C]
	WithRefund          func(func(C, int) bool) adapter.Option[C]
	WithSettle          func(func(C, int) int64) adapter.Option[C]
	WithDenied          func(func(C, core.Decision) error) adapter.Option[C]
	WithErrorHandler    func(func(C, error) error) adapter.Option[C]
	WithFrameworkErrors func() adapter.Option[C]
	WithHeaders         func(...core.HeaderForm) adapter.Option[C]

	OnSuccess func(c C, status int) bool
	OnFailure func(c C, status int) bool

	// Header is a request field and Param a parameter of the path, as the framework
	// returns them: not copied.
	Header func(c C, name string) string
	Param  func(c C, name string) string

	// Context is the context.Context of the request, and SetContext replaces it.
	Context    func(c C) context.Context
	SetContext func(c C, ctx context.Context)

	// Answer writes the response.
	Answer func(c C, status int, body string) error

	// Stream streams the response in the framework's way: it calls write, which writes the
	// body. flush sends what was written. In some frameworks write runs after the handler,
	// and must not use c.
	Stream func(c C, write func(w io.Writer, flush func())) error

	// Forward passes the request to the router again, with another path.
	Forward func(c C, path string) error

	// Refuse rejects a request in the framework's own way, like a user's function, such
	// as with an error that has a status.
	Refuse func(c C, status int) error

	// Endings are the ways in which a handler ends, by the names from [EndAbort] to
	// [EndHints].
	Endings map[string]Ending[C, M]

	// SetField sets a field of the response, in middleware outside of a limit.
	SetField func(name, value string) M
}

// App is an application to serve.
type App[C, M any] struct {
	Use    []M // before everything
	Groups []Group[C, M]

	// OnError receives each error that the framework's own error handling receives. The
	// framework then responds with its default.
	OnError func(error)
}

// Group is a group of an app's routes.
type Group[C, M any] struct {
	Prefix string // of their paths, such as "/v1"; empty for routes in no group
	Use    []M
	Routes []Route[C, M]
}

// Route responds to GET, HEAD and POST.
type Route[C, M any] struct {
	Path    string // such as "/users/:id", after the group's prefix
	Use     []M
	Handler func(C) error
}

// Run checks the adapter.
func Run[C, M any](t *testing.T, a Adapter[C, M]) {
	checkFields(t, a)
	checkEndingsOf(t, a)
	s := a.suite()
	for _, check := range []struct {
		name  string
		run   func(*testing.T, suite)
		needs string // a field that may be nil
	}{
		{"AppGroupRoute", checkPlacement, ""},
		{"FieldsOfStackedPolicies", checkStackedFields, ""},
		{"FieldsOfOnePolicyTwice", checkSamePolicyTwice, ""},
		{"OnePolicyTwoKeys", checkOnePolicyTwoKeys, ""},
		{"AskedTwiceWarning", checkAskedTwice, ""},
		{"FieldForms", checkForms, ""},
		{"FieldsByUnit", checkFieldsByUnit, ""},
		{"FieldName", checkFieldName, ""},
		{"HiddenPolicy", checkHiddenPolicy, ""},
		{"RetryAfterAndReset", checkRetryAfterAndReset, ""},
		{"DeniedAnswer", checkDeniedAnswer, ""},
		{"RefusalsAreFinal", checkFinal, ""},
		{"DeniedByOneOfTwoLimits", checkDeniedByOneOfTwo, ""},
		{"Head", checkHead, ""},
		{"KeyByAddress", checkKeyByAddress, ""},
		{"KeyByHeader", checkKeyByHeader, ""},
		{"KeyByBearer", checkKeyByBearer, ""},
		{"KeyByBasicUser", checkKeyByBasicUser, ""},
		{"KeyBySecret", checkKeyBySecret, ""},
		{"KeyByFunc", checkKeyByFunc, ""},
		{"KeyByConstant", checkKeyByConstant, ""},
		{"KeyByAll", checkKeyByAll, ""},
		{"KeyByFirst", checkKeyByFirst, ""},
		{"KeyBind", checkKeyBind, ""},
		{"UntrustedPeer", checkUntrustedPeer, ""},
		{"TrustedProxies", checkTrustedProxies, ""},
		{"ForwardedHeader", checkForwardedHeader, ""},
		{"HashedAddresses", checkHashedAddresses, ""},
		{"KeyRotation", checkKeyRotation, ""},
		{"FieldNames", checkFieldNames, ""},
		{"Also", checkAlso, ""},
		{"AlsoDecisions", checkAlsoDecisions, ""},
		{"AlsoDenied", checkAlsoDenied, ""},
		{"AlsoCost", checkAlsoCost, ""},
		{"AlsoTier", checkAlsoTier, ""},
		{"AlsoKeys", checkAlsoKeys, ""},
		{"KnownPolicies", checkKnownPolicies, ""},
		{"Cost", checkCost, ""},
		{"CostRefused", checkCostRefused, ""},
		{"Skip", checkSkip, ""},
		{"Defaults", checkDefaults, ""},
		{"Tier", checkTier, ""},
		{"TierCost", checkTierCost, ""},
		{"RefundStatus", checkRefundStatus, ""},
		{"RefundOwnErrors", checkRefundOwnErrors, "Refuse"},
		{"RefundLogins", checkRefundLogins, ""},
		{"RefundPanic", checkRefundPanic, ""},
		{"RefundClientGone", checkRefundClientGone, ""},
		{"RefundSeveral", checkRefundSeveral, ""},
		{"RefundStacked", checkRefundStacked, ""},
		{"RefundUncounted", checkRefundUncounted, ""},
		{"RefundFails", checkRefundFails, ""},
		{"RefundTooLate", checkRefundTooLate, ""},
		{"Endings", checkEndings, ""},
		{"Settle", checkSettle, ""},
		{"SettleSeveral", checkSettleSeveral, ""},
		{"SettleAndRefund", checkSettleAndRefund, ""},
		{"SettleByHandler", checkSettleByHandler, ""},
		{"SettleSlow", checkSettleSlow, ""},
		{"Streams", checkStreams, ""},
		{"Slots", checkSlots, ""},
		{"SlotEndings", checkSlotEndings, ""},
		{"RuleBlock", checkBlock, ""},
		{"RuleBan", checkBan, ""},
		{"RuleExempt", checkExempt, ""},
		{"RuleNetwork", checkNetwork, ""},
		{"RuleOverride", checkOverride, ""},
		{"Replace", checkReplace, ""},
		{"Shadow", checkShadow, ""},
		{"Switch", checkSwitch, ""},
		{"DeniedHandler", checkDeniedHandler, ""},
		{"ErrorHandler", checkErrorHandler, ""},
		{"ClientMistakes", checkClientMistakes, ""},
		{"StoreFails", checkStoreFails, ""},
		{"FailureModes", checkFailureModes, ""},
		{"FrameworkErrors", checkFrameworkErrors, "WithFrameworkErrors"},
		{"FrameworkOwnErrors", checkOwnErrors, "Refuse"},
		{"FromContext", checkFromContext, ""},
		{"Forward", checkForward, ""},
		{"ForwardRefund", checkForwardRefund, ""},
		{"Observer", checkObserver, ""},
		{"RequestsCountOnce", checkRequestsCountOnce, ""},
		{"ForwardCountsOnce", checkForwardCountsOnce, ""},
		{"RequestContext", checkRequestContext, "SetContext"},
		{"KeepAlive", checkKeepAlive, ""},
		{"Concurrent", checkConcurrent, ""},
		{"Panics", checkPanics, ""},
	} {
		if check.needs != "" && !s.has(check.needs) {
			t.Logf("%s is left out: %s lacks %s", check.name, a.Name, check.needs)
			continue
		}
		t.Run(check.name, func(t *testing.T) {
			t.Parallel()
			check.run(t, s)
		})
	}
	t.Run("Misuse", func(t *testing.T) { checkMisuse(t, a) })
}

// checkEndingsOf checks that each ending exists, or has a reason why not.
func checkEndingsOf[C, M any](t *testing.T, a Adapter[C, M]) {
	for _, name := range endings {
		if e := a.Endings[name]; (e.Handler == nil) == (e.Without == "") {
			t.Fatalf("the ending %q needs a handler, or a reason to be without", name)
		}
	}
}

// checkFields checks that no field is nil by accident.
func checkFields(t *testing.T, a any) {
	v := reflect.ValueOf(a)
	lacks := v.FieldByName("Lacks").Interface().([]string)
	for _, name := range lacks {
		if !slices.Contains([]string{"WithFrameworkErrors", "SetContext", "Refuse"}, name) {
			t.Fatalf("an adapter must not lack %s", name)
		}
	}
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Type.Kind() == reflect.Func && v.Field(i).IsNil() != slices.Contains(lacks, field.Name) {
			t.Fatalf("%s is nil: %v, but Lacks says %v", field.Name, v.Field(i).IsNil(), lacks)
		}
	}
}
