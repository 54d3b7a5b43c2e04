package adapter

import (
	"sync/atomic"

	"github.com/streamlimit/streamlimit/core"
)

// held are the slots that one limit has taken for a request.
type held struct {
	slots    []*core.Slot
	detached atomic.Bool // somebody else releases them
}

// heldBy returns the slots that the decisions have taken, or nil.
func heldBy(decisions []core.Decision) (h *held) {
	for i := range decisions {
		if s := decisions[i].Slot(); s != nil {
			if h == nil {
				h = &held{}
			}
			h.slots = append(h.slots, s)
		}
	}
	return h
}

func (h *held) release() {
	for _, s := range h.slots {
		s.Release()
	}
}

// releaseAfter releases the slots of a request whose handler has ended, or panicked. A
// framework can have it wait for the end of the response.
func (m *Middleware[C]) releaseAfter(c C, h *held) {
	if h.detached.Load() || m.framework.Outlives != nil && m.framework.Outlives(c, h.release) {
		return
	}
	h.release()
}

// Detach returns a function that releases the slots that the request holds: see
// [core.NewConcurrency]. The limits then do not release them after the handler.
func (r *Record) Detach() (release func()) {
	all := r.specials().held
	for _, h := range all {
		h.detached.Store(true)
	}
	return func() {
		for _, h := range all {
			h.release()
		}
	}
}
