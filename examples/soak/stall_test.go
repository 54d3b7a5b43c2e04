package soak

import (
	"context"
	"sync/atomic"
	"time"
)

// stalls are the times in which the machine stood still, or gave these processes no time.
// Servers disconnect clients that take five seconds for a request.
type stalls struct {
	last  atomic.Int64 // the end of the last one, since the start
	worst atomic.Int64 // both in nanoseconds
	start time.Time
}

const (
	tick  = 10 * time.Millisecond
	stall = time.Second // shorter ones change nothing
)

func (s *stalls) watch(ctx context.Context) {
	for ctx.Err() == nil {
		before := time.Now()
		time.Sleep(tick)
		late := time.Since(before) - tick
		s.worst.Store(max(s.worst.Load(), int64(late)))
		if late > stall {
			s.last.Store(int64(time.Since(s.start)))
		}
	}
}

// since reports whether the machine has stood still since a time.
func (s *stalls) since(t time.Time) bool {
	time.Sleep(10 * tick) // let watch see it
	return time.Duration(s.last.Load()) > t.Sub(s.start)
}
