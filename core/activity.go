package core

import "sync/atomic"

// activity wakes a goroutine that has something to do only when there was activity
// since it did it last. Noting it costs a decision the reading of a flag.
type activity struct {
	noted atomic.Bool
	awake chan struct{} // has a value when there was activity
}

func newActivity() activity { return activity{awake: make(chan struct{}, 1)} }

// note notes activity.
func (a *activity) note() {
	if !a.noted.Load() && a.noted.CompareAndSwap(false, true) {
		a.awake <- struct{}{} // there is room: forget has taken the one before
	}
}

// forget begins anew, after a value was received from awake.
func (a *activity) forget() { a.noted.Store(false) }
