package adapter

import (
	"sync/atomic"

	"github.com/streamlimit/streamlimit/core"
)

// ending is what a limit does at the end of a request. A request ends when its handler has
// returned or panicked, and whatever follows the handler, such as a stream, has ended.
type ending struct {
	slots   []*core.Slot // that the limit has taken
	correct func()       // corrects the charge, and does not panic; nil for nothing to correct
	open    atomic.Int32 // the ends that are to come
}

// newEnding returns the ending of a request with these decisions, or nil if it has
// nothing to do.
func (m *Middleware[C]) newEnding(decisions []core.Decision) (e *ending) {
	if m.settles() && m.framework.Keep != nil {
		e = &ending{}
	}
	for i := range decisions {
		if s := decisions[i].Slot(); s != nil {
			if e == nil {
				e = &ending{}
			}
			e.slots = append(e.slots, s)
		}
	}
	if e != nil {
		e.open.Add(1)
	}
	return e
}

// begin adds an end that is to come. It reports false if the request has ended, as for a
// handler that a timeout has left behind.
func (e *ending) begin() bool {
	for {
		switch n := e.open.Load(); {
		case n == 0:
			return false
		case e.open.CompareAndSwap(n, n+1):
			return true
		}
	}
}

// end is called at each end. The last call ends the request.
func (e *ending) end() {
	if e.open.Add(-1) > 0 {
		return
	}
	if e.correct != nil {
		e.correct()
	}
	for _, s := range e.slots {
		s.Release()
	}
}

// streams reports whether a stream goes on after the handler.
func (e *ending) streams() bool { return e != nil && e.open.Load() > 1 }

// endAfter ends a request after its handler. The slots wait for the end of the response if
// the framework's Outlives reports that it goes on.
func (m *Middleware[C]) endAfter(c C, e *ending) {
	if len(e.slots) > 0 && m.framework.Outlives != nil && !e.streams() {
		e.open.Add(1)
		if !m.framework.Outlives(c, e.end) {
			e.open.Add(-1)
		}
	}
	e.end()
}

// Detach is called in a handler that starts a stream. Call the returned function when the
// stream has ended. The limits then correct the charge of the request and release its
// slots: see [core.NewConcurrency]. The framework needs Keep.
func (r *Record) Detach() (end func()) {
	var open []*ending
	for _, e := range r.specials().endings {
		if e.begin() {
			open = append(open, e)
		}
	}
	return func() {
		for _, e := range open {
			e.end()
		}
	}
}
