package background

import "sync/atomic"

// Activity wakes a goroutine that has something to do only when there was activity
// since it did it last. Noting it costs a decision the reading of a flag. Make one with
// [NewActivity].
type Activity struct {
	noted atomic.Bool
	awake chan struct{} // has a value when there was activity
}

// NewActivity returns an Activity without any.
func NewActivity() Activity { return Activity{awake: make(chan struct{}, 1)} }

// Note notes activity.
func (a *Activity) Note() {
	if !a.noted.Load() && a.noted.CompareAndSwap(false, true) {
		a.awake <- struct{}{} // there is room: Forget follows each receive
	}
}

// Awake returns the channel that has a value when there was activity. Whoever receives
// it calls Forget.
func (a *Activity) Awake() <-chan struct{} { return a.awake }

// Forget begins anew.
func (a *Activity) Forget() { a.noted.Store(false) }
