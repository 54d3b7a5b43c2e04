//go:build !race

// The race detector makes all of this ten times slower, and so measures something else:
// make test runs these tests without it, and nothing beside them.

package redisstream

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// A process that is late now and then still finds out that a server does not answer:
// one that is frozen, or from the start a black hole.
func TestFrozenServerInALateProcess(t *testing.T) {
	server := redistest.Start(t)
	for name, met := range map[string]bool{"met": true, "not met": false} {
		t.Run(name, func(t *testing.T) {
			rdb := redis.NewClient(server.Options())
			defer rdb.Close()
			s := New(rdb)
			l := core.New(s)
			defer l.Close()
			p := core.NewPolicy("p", core.PerHour(1000))
			var all sync.WaitGroup
			for range 20 {
				if met {
					all.Go(func() { take(t, s, p, "k") })
				}
			}
			all.Wait()
			server.Freeze()
			defer server.Thaw()
			for end := time.Now().Add(4 * time.Second); time.Now().Before(end) && l.Health().Down == nil; {
				s.batcher.starvation.note(10 * time.Millisecond)
				var c tally
				for i := range 5 {
					all.Go(func() { c.ask(t.Context(), l, p, fmt.Sprint("k", i)) })
				}
				all.Wait()
			}
			var c tally
			c.ask(t.Context(), l, p, "k")
			if c.fallback.Load() != 1 || l.Health().Down == nil {
				t.Errorf("%v, %+v; want the breaker open", &c, l.Health())
			}
		})
	}
}
