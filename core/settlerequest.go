package core

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/streamlimit/streamlimit/core/internal/warning"
	"github.com/streamlimit/streamlimit/core/store"
)

// maxSettling bounds the corrections that are under way in the background. Beyond
// it requests stay charged.
const maxSettling = 4096

// errSettling is the error of a correction that maxSettling leaves no room for.
var errSettling = errors.New("core: too many corrections at once")

// settling is what a limiter knows of the corrections that adapters leave to it.
type settling struct {
	underWay     atomic.Int64
	failed, late warning.Rarely
}

// SettleRequest corrects what the decisions on one request took to the units that it
// really used, for adapters. It calls [Limiter.Settle] for each of them. It does not
// change decisions that took nothing or are already settled.
//
// With a store that bounds its answers, as the Redis store does, the decisions and the corrections share the store's
// timeout: the request waits for the corrections only as long as the decisions have
// left of it. Nothing is left if the decisions waited longer, in the queue of a busy
// process. The corrections then continue in the background, and [Limiter.Close] waits
// for them. A request stays charged if its process ends before its correction is made.
//
// The limiter logs what fails, at most once a minute.
func (l *Limiter) SettleRequest(ctx context.Context, decisions []Decision, used int64, waited time.Duration) {
	timeout := l.settleTimeout(decisions, used)
	if timeout == 0 {
		l.settleAll(ctx, decisions, used)
		return
	}
	if l.settling.underWay.Add(1) > maxSettling {
		l.settling.underWay.Add(-1)
		l.logUnsettled(ctx, &decisions[0], errSettling)
		return
	}
	done := make(chan struct{})
	settle := func(context.Context) { // which is canceled by Close
		defer close(done)
		defer l.settling.underWay.Add(-1)
		l.settleAll(ctx, decisions, used)
	}
	if !l.tasks.Start(settle) {
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

// settleTimeout returns how long the store may take for a correction of the
// decisions; 0 when it is not asked, or does not say.
func (l *Limiter) settleTimeout(decisions []Decision, used int64) time.Duration {
	bounded, ok := l.store.(store.Bounded)
	if !ok {
		return 0
	}
	for i := range decisions {
		if r := decisions[i].receipt; r != nil && r.store == l.store && used != decisions[i].Cost && !r.settled.Load() {
			return bounded.Timeout()
		}
	}
	return 0
}

func (l *Limiter) settleAll(ctx context.Context, decisions []Decision, used int64) {
	for i := range decisions {
		if err := l.Settle(ctx, decisions[i], used); err != nil {
			l.logUnsettled(ctx, &decisions[i], err)
		}
	}
}

// logUnsettled logs that a charge was not corrected. A handler that took longer than
// the policy's grace is the policy's business, and no alarm.
func (l *Limiter) logUnsettled(ctx context.Context, d *Decision, err error) {
	rarely, level := &l.settling.failed, slog.LevelWarn
	switch {
	case errors.Is(err, ErrNotRefundable), errors.Is(err, ErrSettled):
		return
	case errors.Is(err, ErrTooLate):
		rarely, level = &l.settling.late, slog.LevelDebug
	}
	rarely.Log(ctx, l.Logger(), level, "a request could not be given back or settled, and stays charged", "policy", d.Policy.name, "error", err)
}
