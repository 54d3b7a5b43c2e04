package core_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

func peek(t *testing.T, l *core.Limiter, p *core.Policy, key string) core.Decision {
	t.Helper()
	d, err := l.Peek(t.Context(), p, key)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func allowAll(t *testing.T, l *core.Limiter, asks ...core.Ask) []core.Decision {
	t.Helper()
	decisions, err := l.AllowAll(t.Context(), asks...)
	if err != nil || len(decisions) != len(asks) {
		t.Fatalf("AllowAll: %v, %v", decisions, err)
	}
	for i, d := range decisions {
		if d.Policy != asks[i].Policy || d.Key != asks[i].Key {
			t.Fatalf("decision %d is on %v and %s", i, d.Policy, d.Key)
		}
	}
	return decisions
}

func TestAllowAll(t *testing.T) {
	l, _ := newLimiter(t)
	wide := core.NewPolicy("wide", core.PerMinute(5))
	narrow := core.NewPolicy("narrow", core.PerMinute(1))
	trial := core.NewPolicy("trial", core.PerMinute(1), core.Shadow())
	asks := []core.Ask{{Policy: wide, Key: "a"}, {Policy: trial, Key: "a"}, {Policy: narrow, Key: "b"}}
	for _, d := range allowAll(t, l, asks...) {
		if !d.Allowed || !d.Counted || d.WouldDeny || d.Cost != 1 {
			t.Errorf("the first request: %+v", d)
		}
	}
	decisions := allowAll(t, l, asks...)
	if d := decisions[0]; !d.Allowed || d.Counted || d.Remaining != 4 {
		t.Errorf("a policy with room, whose request another denies: %+v", d)
	}
	if d := decisions[1]; !d.Allowed || d.Counted || !d.WouldDeny || d.Err() != nil {
		t.Errorf("a policy in shadow mode without room: %+v", d)
	}
	if d := decisions[2]; d.Allowed || d.Counted || d.RetryAfter != time.Minute {
		t.Errorf("a policy without room: %+v", d)
	}
	var limited *core.LimitedError
	if err := core.Denied(decisions); !errors.As(err, &limited) || limited.Decision.Policy != narrow || len(limited.Others) != 0 {
		t.Errorf("Denied: %v", err)
	}
	// Alone, the policy in shadow mode holds nothing up.
	decisions = allowAll(t, l, asks[:2]...)
	if !decisions[0].Counted || core.Denied(decisions) != nil || peek(t, l, wide, "a").Remaining != 3 {
		t.Errorf("with a policy in shadow mode: %+v", decisions)
	}
	if _, err := l.AllowAll(t.Context(), asks[0], asks[0]); !errors.Is(err, core.ErrAskedTwice) {
		t.Errorf("one log twice: %v, want ErrAskedTwice", err)
	}
	if _, err := l.AllowAll(t.Context()); err == nil {
		t.Error("no question is no error")
	}
}

func TestSeveralDenialsAreOneProblem(t *testing.T) {
	l, _ := newLimiter(t)
	minute := core.NewPolicy("minute", core.PerMinute(1))
	hour := core.NewPolicy("hour", core.PerHour(1), core.FieldName("sixty-minutes"))
	asks := []core.Ask{{Policy: minute, Key: "k"}, {Policy: hour, Key: "k"}}
	allowAll(t, l, asks...)
	problem := core.ProblemFor(core.Denied(allowAll(t, l, asks...)))
	if problem.Status != http.StatusTooManyRequests || problem.RetryAfter != 3600 || strings.Join(problem.Violated, " ") != "sixty-minutes minute" {
		t.Errorf("%+v", problem)
	}
}

func TestRefundAndSettle(t *testing.T) {
	l, clock := newLimiter(t)
	p := core.NewPolicy("p", core.PerMinute(10), core.VariableCost(), core.Refundable(10*time.Second))
	left := func(want int64) {
		t.Helper()
		if got := peek(t, l, p, "k").Remaining; got != want {
			t.Errorf("%d left, want %d", got, want)
		}
	}
	settle := func(d core.Decision, used int64, want error) {
		t.Helper()
		if err := l.Settle(t.Context(), d, used); !errors.Is(err, want) {
			t.Errorf("Settle to %d: %v, want %v", used, err, want)
		}
	}
	d := allow(t, l, p, "k", 6)
	left(4)
	settle(d, -1, core.ErrCost)
	settle(d, 2, nil)
	left(8)
	same := d
	settle(same, 0, core.ErrSettled) // copies of a decision are one
	left(8)
	d = allow(t, l, p, "k", 8)
	settle(mustDeny(t, l, p, 1), 0, core.ErrNotRefundable) // denied
	settle(peek(t, l, p, "k"), 0, core.ErrNotRefundable)
	settle(core.Decision{}, 0, core.ErrNotRefundable)
	settle(d, 13, nil) // more than fits, since it was used
	if d := peek(t, l, p, "k"); d.Remaining != 0 || d.Allowed {
		t.Errorf("after a charge beyond the limit: %+v", d)
	}
	clock.advance(time.Minute)
	d = allow(t, l, p, "k", 10)
	clock.advance(10*time.Second + time.Millisecond)
	settle(d, 0, core.ErrTooLate)
	left(0)
	clock.advance(time.Minute)
	d = allow(t, l, p, "k", 10)
	if err := l.Reset(t.Context(), p, "k"); err != nil {
		t.Fatal(err)
	}
	if err := l.Refund(t.Context(), d); !errors.Is(err, core.ErrTooLate) {
		t.Errorf("a refund after a reset: %v", err)
	}
	left(10)
	counted := core.NewPolicy("counted", core.PerMinute(1))
	if err := l.Refund(t.Context(), allow(t, l, counted, "k", 1)); !errors.Is(err, core.ErrNotRefundable) {
		t.Errorf("a refund without core.Refundable: %v", err)
	}
}

func mustDeny(t *testing.T, l *core.Limiter, p *core.Policy, cost int64) core.Decision {
	t.Helper()
	d := allow(t, l, p, "k", cost)
	if d.Allowed {
		t.Fatalf("allowed, want denied: %+v", d)
	}
	return d
}

// failing is a store that does not answer.
type failing struct{ core.Store }

var errAway = errors.New("away")

func (failing) Take(context.Context, *core.Policy, string, int64) (core.Usage, error) {
	return core.Usage{}, errAway
}

func (failing) TakeAll(context.Context, []core.Ask) ([]core.Usage, error) { return nil, errAway }

func (failing) Peek(context.Context, *core.Policy, string, int64) (core.Usage, error) {
	return core.Usage{}, errAway
}

func TestFailureModes(t *testing.T) {
	l := core.New(failing{core.NewMemory()}, core.WithFailureMode(core.FailLocal))
	t.Cleanup(func() { l.Close() })
	local := core.NewPolicy("local", core.PerMinute(2))
	open := core.NewPolicy("open", core.PerMinute(1), core.OnFailure(core.FailOpen))
	closed := core.NewPolicy("closed", core.PerMinute(1), core.OnFailure(core.FailClosed))
	for i, want := range []bool{true, true, false, false} {
		if d := allow(t, l, local, "k", 1); d.Allowed != want || d.Source != core.SourceFallback || d.Counted != want {
			t.Errorf("local, request %d: %+v", i, d)
		}
		if d := allow(t, l, open, "k", 1); !d.Allowed || d.Counted || d.Reason != core.ReasonFailOpen {
			t.Errorf("open, request %d: %+v", i, d)
		}
	}
	if d := peek(t, l, local, "k"); d.Allowed || d.Source != core.SourceFallback {
		t.Errorf("a peek: %+v", d)
	}
	if _, err := l.Allow(t.Context(), closed, "k"); !errors.Is(err, errAway) {
		t.Errorf("closed: %v", err)
	}
	if _, err := l.AllowAll(t.Context(), core.Ask{Policy: open, Key: "k"}, core.Ask{Policy: closed, Key: "k"}); !errors.Is(err, errAway) {
		t.Errorf("open and closed together: %v", err)
	}
	decisions := allowAll(t, l, core.Ask{Policy: open, Key: "x"}, core.Ask{Policy: local, Key: "x"})
	if decisions[0].Counted || !decisions[1].Counted {
		t.Errorf("open and local together: %+v", decisions)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Allow(gone, local, "k"); err == nil {
		t.Error("a caller that has gone is no failure of the store")
	}
}

func TestReplaceKeepsCounts(t *testing.T) {
	l, _ := newLimiter(t)
	p := core.NewPolicy("p", core.PerMinute(3))
	for range 3 {
		allow(t, l, p, "k", 1)
	}
	l.Replace(core.NewPolicy("p", core.PerMinute(5)))
	if d := allow(t, l, p, "k", 1); !d.Allowed || d.Remaining != 1 || d.Limit != core.PerMinute(5) {
		t.Errorf("after a replacement: %+v", d)
	}
	if now, ok := l.Policy("p"); !ok || now.Limit(0) != core.PerMinute(5) || len(l.Policies()) != 1 {
		t.Errorf("Policy: %v, %v", now, ok)
	}
	l.Replace()
	if d := allow(t, l, p, "k", 1); d.Allowed || d.Remaining != 0 {
		t.Errorf("with the program's own again: %+v", d)
	}
}

func TestPolicyOptionsThatDoNotFit(t *testing.T) {
	for want, options := range map[string][]core.PolicyOption{
		"one limit":        {core.PerSecond(1), core.PerMinute(2), core.Slices(10)},
		"can't give back":  {core.PerMinute(2), core.Slices(10), core.Refundable(0)},
		"use 2 to 1000":    {core.PerMinute(2), core.Slices(1)},
		"shorter than 1ms": {core.Per(1, 10*time.Millisecond), core.Slices(64)},
		"longer than half": {core.PerMinute(2), core.Refundable(time.Minute)},
		"no such mode":     {core.PerMinute(2), core.OnFailure(9)},
		"FieldName":        {core.PerMinute(2), core.FieldName("a b")},
	} {
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.Contains(text, want) {
					t.Errorf("panic %q, want one with %q", text, want)
				}
			}()
			core.NewPolicy("p", options...)
		}()
	}
}
