package warning

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// interval is the minimum time between two lines about the same failure.
const interval = time.Minute

// Rarely writes at most one line a minute about one kind of failure. The zero Rarely has
// written none.
type Rarely struct{ logged atomic.Int64 } // Unix nanoseconds

// Log writes the line, unless one was written within a minute.
func (r *Rarely) Log(ctx context.Context, logger *slog.Logger, level slog.Level, message string, args ...any) {
	before, now := r.logged.Load(), time.Now().UnixNano()
	// A clock that was set back does not suppress lines.
	if ago := now - before; ago >= 0 && ago < int64(interval) || !r.logged.CompareAndSwap(before, now) {
		return
	}
	logger.Log(ctx, level, "streamlimit: "+message+"; this is not said again for a minute", args...)
}
