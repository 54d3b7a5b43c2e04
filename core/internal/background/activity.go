package background

import "sync/atomic"

// Activity wakes a goroutine that works only if there was activity since its last work.
// [Activity.Note] costs a decision one read of a flag. Make an Activity with
// [NewActivity].
type Activity struct {
	ever  atomic.Bool
	noted atomic.Bool
	awake chan struct{} // has a value when there was activity
}

// NewActivity returns an Activity that has noted nothing.
func NewActivity() Activity { return Activity{awake: make(chan struct{}, 1)} }

// Note records activity.
func (a *Activity) Note() {
	if !a.noted.Load() && a.noted.CompareAndSwap(false, true) {
		a.ever.Store(true)
		a.awake <- struct{}{} // there is room: Forget follows each receive
	}
}

// Ever reports whether there was activity at any time.
func (a *Activity) Ever() bool { return a.ever.Load() }

// Awake returns the channel that has a value when there was activity. The receiver of the
// value must call Forget.
func (a *Activity) Awake() <-chan struct{} { return a.awake }

// Forget clears the record, so that the next Note wakes again.
func (a *Activity) Forget() { a.noted.Store(false) }
