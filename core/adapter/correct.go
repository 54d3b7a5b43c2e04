package adapter

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// maxSettling bounds the corrections in flight in the background. Requests beyond it stay
// charged.
const maxSettling = 4096

// errSettling is the error of a correction beyond maxSettling.
var errSettling = errors.New("adapter: too many corrections at once")

// SettleRequest corrects what the decisions on one request took to the units that it
// really used. It calls [core.Limiter.Settle] for each of them. It does not change
// decisions that took nothing or are already settled.
//
// With a store that bounds its answers, as the Redis store does, the decisions and the
// corrections share the store's timeout: the request waits for the corrections only in
// the time that the decisions have left. Nothing is left if the decisions waited longer,
// in the queue of a busy process. The corrections then continue in the background, and
// [core.Limiter.Close] waits for them. A request stays charged if its process ends before
// its correction is made.
//
// The limiter logs what fails, at most once a minute.
func SettleRequest(ctx context.Context, l *core.Limiter, decisions []core.Decision, used int64, waited time.Duration) {
	timeout := settleTimeout(l, decisions, used)
	if timeout == 0 {
		settleAll(ctx, l, decisions, used)
		return
	}
	underWay := &l.Seam().Settling.UnderWay
	if underWay.Add(1) > maxSettling {
		underWay.Add(-1)
		logUnsettled(ctx, l, &decisions[0], errSettling)
		return
	}
	done := make(chan struct{})
	settle := func(context.Context) { // with a context that Close cancels
		defer close(done)
		defer underWay.Add(-1)
		settleAll(ctx, l, decisions, used)
	}
	if !l.Seam().Background(settle) {
		settle(ctx)
		return
	}
	timer := time.NewTimer(max(0, timeout-waited))
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// settleTimeout returns how long the store may take to correct the decisions. It returns
// 0 if the store is not called or has no bound.
func settleTimeout(l *core.Limiter, decisions []core.Decision, used int64) time.Duration {
	for i := range decisions {
		// This process's memory has made a fallback decision, so the store is not called.
		d := &decisions[i]
		if d.Counted && d.Source != core.SourceFallback && used != d.Cost && d.Policy.Log().Refundable() {
			return l.Seam().Timeout
		}
	}
	return 0
}

func settleAll(ctx context.Context, l *core.Limiter, decisions []core.Decision, used int64) {
	for i := range decisions {
		if err := l.Settle(ctx, decisions[i], used); err != nil {
			logUnsettled(ctx, l, &decisions[i], err)
		}
	}
}

// logUnsettled logs that a charge was not corrected. A handler that took longer than the
// policy's grace is logged at debug level, since the policy chooses the grace.
func logUnsettled(ctx context.Context, l *core.Limiter, d *core.Decision, err error) {
	seam := l.Seam()
	rarely, level := &seam.Settling.Failed, slog.LevelWarn
	switch {
	case errors.Is(err, core.ErrNotRefundable):
		return
	case errors.Is(err, core.ErrTooLate):
		rarely, level = &seam.Settling.Late, slog.LevelDebug
	}
	rarely.Log(ctx, seam.Warnings.Logger, level, "a request could not be given back or settled, and stays charged", "policy", d.Policy.Name(), "error", err)
}
