package adapter

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// Settles is whether the middleware asks for the status of responses, to give
// requests back or to settle them.
func (m *Middleware[C]) Settles() bool { return m.refund != nil || m.used != nil }

// settleAfter passes the request on, and corrects what it was charged when it
// has been handled. A handler that panics counts as status 500, and the panic
// goes on.
func (m *Middleware[C]) settleAfter(c C, x Exchange, decisions []core.Decision, next func(C) error) error {
	// A client that has gone away is not charged for that.
	ctx := context.WithoutCancel(x.Context())
	status := http.StatusInternalServerError
	defer func() { m.settle(ctx, c, status, decisions) }()
	err := next(c)
	status = m.framework.Status(c, err)
	return err
}

// settle gives the request back, or charges it what it has used.
func (m *Middleware[C]) settle(ctx context.Context, c C, status int, decisions []core.Decision) {
	refund := m.refund != nil && m.refund(c, status)
	used := int64(0)
	if !refund {
		if m.used == nil {
			return
		}
		if used = m.used(c, status); used < 0 {
			return
		}
	}
	for i := range decisions {
		if refund || decisions[i].Policy.VariableCost() {
			m.settleOne(ctx, &decisions[i], used)
		}
	}
}

// settleOne corrects one charge. Nothing is to be done where none was made that
// can be corrected, or where the handler has settled it.
func (m *Middleware[C]) settleOne(ctx context.Context, d *core.Decision, used int64) {
	err := m.limiter.Settle(ctx, *d, used)
	switch {
	case err == nil, errors.Is(err, core.ErrNotRefundable), errors.Is(err, core.ErrSettled):
	case errors.Is(err, core.ErrTooLate):
		m.trouble.log(ctx, m.limiter.Logger(), slog.LevelDebug, &m.trouble.late, charged, "policy", d.Policy.Name(), "error", err)
	default:
		m.trouble.log(ctx, m.limiter.Logger(), slog.LevelWarn, &m.trouble.failed, charged, "policy", d.Policy.Name(), "error", err)
	}
}

const charged = "a request could not be given back or settled, and stays charged"

// troubleInterval is how much time is at least between log lines of one
// middleware about the same trouble.
const troubleInterval = time.Minute

// trouble is when a middleware last wrote that a charge was not corrected, or that a
// function of its options failed, in nanoseconds of Unix time; 0 is never.
type trouble struct{ late, failed, function atomic.Int64 }

func (*trouble) log(ctx context.Context, logger *slog.Logger, level slog.Level, last *atomic.Int64, message string, args ...any) {
	before, now := last.Load(), time.Now().UnixNano()
	// A clock that was set back does not silence it.
	if ago := now - before; ago >= 0 && ago < int64(troubleInterval) || !last.CompareAndSwap(before, now) {
		return
	}
	logger.Log(ctx, level, "streamlimit: "+message+"; this is not said again for a minute", args...)
}
