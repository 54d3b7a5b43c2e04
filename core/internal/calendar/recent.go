package calendar

import (
	"sync/atomic"
	"time"
)

// Recent is a Period that keeps the last answer of Around. Most decisions of a policy are
// in the same period.
type Recent struct {
	Period

	last atomic.Pointer[bounds]
}

type bounds struct{ start, end time.Time }

// Around returns the period in which t lies: from start until before end.
func (r *Recent) Around(t time.Time) (start, end time.Time) {
	if b := r.last.Load(); b != nil && !t.Before(b.start) && t.Before(b.end) {
		return b.start, b.end
	}
	start, end = r.Period.Around(t)
	r.last.Store(&bounds{start, end})
	return start, end
}
