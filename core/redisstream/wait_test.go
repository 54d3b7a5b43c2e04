package redisstream

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// 1,000 callers that wait on one key cost Redis at most two script calls for each that is
// admitted, in one process and in several. The limit is used in full.
func TestWaitCosts(t *testing.T) {
	server := redistest.Start(t)
	for _, processes := range []int{1, 4} {
		t.Run(strconv.Itoa(processes), func(t *testing.T) {
			const waiters, perSecond = 1000, 200
			limiters := make([]*core.Limiter, processes)
			for i := range limiters {
				rdb := redis.NewClient(server.Options())
				defer rdb.Close()
				limiters[i] = core.New(New(rdb, patient))
				defer limiters[i].Close()
			}
			p := core.NewPolicy("p"+strconv.Itoa(processes), core.PerSecond(perSecond))
			before, begun := commands(t, server.Client()), time.Now()
			var callers sync.WaitGroup
			for i := range waiters {
				callers.Go(func() {
					if err := limiters[i%processes].Wait(t.Context(), p, "k"); err != nil {
						t.Error(err)
					}
				})
			}
			callers.Wait()
			took, calls := time.Since(begun), commands(t, server.Client())-before
			t.Logf("%d script calls in %v", calls, took)
			if calls > 2*waiters {
				t.Errorf("%d script calls for %d admitted requests", calls, waiters)
			}
			if least := (waiters/perSecond - 1) * time.Second; took < least || took > 2*least {
				t.Errorf("it took %v, want from %v to twice that", took, least)
			}
		})
	}
}
