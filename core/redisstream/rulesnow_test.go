package redisstream

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// steppedClock is hoursOff with an offset that changes.
type steppedClock struct {
	hoursOff
	ahead *atomic.Int64
}

func (c steppedClock) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return hoursOff{time.Duration(c.ahead.Load())}.ProcessHook(next)(ctx, cmd)
	}
}

// A ban lasts for as long as it says, also when the server's clock has stepped while
// this process did not ask.
func TestBanAfterTheClockHasStepped(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		rdb := redis.NewClient(redistest.Start(t).Options())
		defer rdb.Close()
		var ahead atomic.Int64
		rdb.AddHook(steppedClock{ahead: &ahead})
		l := core.New(New(rdb, patient))
		defer l.Close()
		p := core.NewPolicy("p", core.PerHour(1000))
		_, err := l.Allow(t.Context(), p, "k")
		must(t, err)
		time.Sleep(2 * rulesInterval) // and nothing is decided
		ahead.Store(int64(step))
		must(t, l.Ban(t.Context(), "k", 10*time.Minute))
		d, err := l.Allow(t.Context(), p, "k")
		must(t, err)
		if d.Reason != core.ReasonBanned || (d.RetryAfter-10*time.Minute).Abs() > 10*time.Second {
			t.Errorf("step %v: %v, retry after %v; want a ban of 10m", step, d.Reason, d.RetryAfter)
		}
	}
}
