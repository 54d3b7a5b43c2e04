package adapter

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// settles reports whether the middleware needs the status of responses, to give requests
// back or to settle them.
func (m *Middleware[C]) settles() bool { return m.refund != nil || m.used != nil }

// settleAfter passes the request on, and corrects the charge when the request has ended. A
// handler that panics before its response has begun counts as status 500. The panic
// continues. So does a panic of the correction, but not at the end of a stream: nothing in
// its goroutine recovers.
func (m *Middleware[C]) settleAfter(c C, x Exchange, e *ending, decisions []core.Decision, waited time.Duration, next func(C) error) (err error) {
	ctx := x.Context()
	defer recall(ctx)
	response := m.framework.Watch(c)
	status := 0
	defer func() {
		if status == 0 {
			status = cmp.Or(response.Begun(), http.StatusInternalServerError)
		}
		if !e.streams() {
			m.settle(ctx, c, status, decisions, waited)
			return
		}
		kept, done := m.framework.Keep(c)
		e.correct = func() {
			defer done()
			defer m.logPanic(ctx)
			m.settle(ctx, kept, status, decisions, waited)
		}
	}()
	status, err = response.End(next(c))
	return err
}

// logPanic is deferred where nothing else recovers. The request stays charged.
func (m *Middleware[C]) logPanic(ctx context.Context) {
	if value := recover(); value != nil {
		m.panics.Log(ctx, m.limiter.Seam().Warnings.Logger, slog.LevelError,
			"refund or settle function panicked; request stays charged", "policy", m.counts[0].policy.Name(), "panic", value)
	}
}

// settle gives the request back, or charges it the units that it used.
func (m *Middleware[C]) settle(ctx context.Context, c C, status int, decisions []core.Decision, waited time.Duration) {
	used := int64(0)
	if m.refund == nil || !m.refund(c, status) {
		if m.used == nil {
			return
		}
		if used = m.used(c, status); used < 0 {
			return
		}
		counts := func(d core.Decision) bool { return !d.Policy.Log().VariableCost }
		if slices.ContainsFunc(decisions, counts) {
			decisions = slices.DeleteFunc(slices.Clone(decisions), counts)
		}
	}
	// The corrections are made even if the client has left.
	SettleRequest(context.WithoutCancel(ctx), m.limiter, decisions, used, waited)
}
