//go:build !race

// The race detector makes these tests ten times slower, and so measures something else.
// make test runs them without it, and runs nothing else at the same time.

package faults

import (
	"sync"
	"testing"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// While the processors are busy with other work of this process, it reads replies late.
// The server is not to blame.
func TestRow31_BusyProcess(t *testing.T) {
	r := row(t, 31)
	server := redistest.Start(t)
	const computing, callers = 48, 20
	times := scale(3, 10)
	l := core.New(redisstream.New(server.Client()))
	t.Cleanup(func() { l.Close() })
	if _, err := l.Allow(t.Context(), decided, "k"); err != nil { // connects
		t.Fatal(err)
	}
	stop := make(chan struct{})
	defer close(stop)
	for range computing {
		go compute(stop)
	}
	var all tally
	limit, excess := int64(callers*times/2), int64(0)
	for _, p := range layouts("busy", core.PerHour(limit))[:scale(1, 4)] {
		var c tally
		var group sync.WaitGroup
		for range callers {
			group.Go(func() {
				for range times {
					c.allow(t.Context(), l, p, "k")
				}
			})
		}
		group.Wait()
		c.wantRedis(t, p.Name(), l)
		if c.admitted.Load() != limit {
			t.Errorf("%s: %v; want %d admitted", p.Name(), &c, limit)
		}
		excess += max(0, c.admitted.Load()-limit)
		all.plus(&c)
	}
	r.Figure("%d computing, %d callers: excess %d, %d by fallback and %d overloaded of %d requests, p50 %v, slowest %v", computing, callers,
		excess, all.fallback.Load(), all.overloaded.Load(), all.all(), ms(all.took.of(0.5)), ms(all.took.of(1)))
}

// compute keeps a processor busy. Only the scheduler interrupts it.
func compute(stop <-chan struct{}) {
	for n := 0; ; n++ {
		if n%1000 == 0 {
			select {
			case <-stop:
				return
			default:
			}
		}
	}
}
