package redisstream

import (
	"runtime"
	"sync/atomic"
	"time"
)

// While this process is starved of processors, it sees replies late. The server is
// not to blame then, so a deadline that is over is followed by a last look, and
// callers leave the reading to goroutines that go on listening.

const (
	// lateTimer is how late something punctual must be to tell that the process is
	// starved.
	lateTimer = 4 * time.Millisecond

	// lateCaller is how late a caller must be that reads its own reply, to count as
	// starved. It can't look a last time. Such callers were 14 to 220 ms late in bursts
	// of 9,000 goroutines.
	lateCaller = 14 * time.Millisecond

	// longestLook bounds a last look. Only a process that is starved for so long
	// waits that long for a reply which may have arrived.
	longestLook = 2 * time.Second

	// starvedSteps is about how many times a request waits for a processor until it has a
	// connection, or its caller the answer. Each wait takes as long as timers are late.
	starvedSteps = 4

	// starvedBounds is the maximum number of wait bounds that a waiter waits in a starved
	// process.
	starvedBounds = 4

	// starvedFor is how long the process counts as starved after the last sign.
	starvedFor = 2 * time.Second
)

// starvation records when this process was last starved, and how much.
type starvation struct {
	until atomic.Int64 // since epoch
	worst atomic.Int64 // the greatest lateness that was noted until then
}

// note takes how late something came that should have been punctual, and reports
// whether that is a sign of starvation.
func (s *starvation) note(late time.Duration) bool {
	if late <= lateTimer {
		return false
	}
	worst := int64(late)
	if s.now() {
		worst = max(worst, s.worst.Load())
	}
	s.worst.Store(worst)
	s.until.Store(int64(time.Since(epoch) + starvedFor))
	return true
}

// excuse returns how much more time this process needs than an idle one.
func (s *starvation) excuse() time.Duration {
	if !s.now() {
		return 0
	}
	return min(starvedSteps*time.Duration(s.worst.Load()), longestLook/2)
}

func (s *starvation) now() bool {
	until := s.until.Load()
	return until != 0 && int64(time.Since(epoch)) < until
}

// lastLook reports whether something has happened that should have happened by
// due. It gives the goroutine that has to say so the time to run: one that is
// ready to run waits behind all others, for 10 ms and more behind each that
// computes. In an idle process this takes a millisecond. In a starved process a reply
// takes several such waits: the network is read, the reply is parsed, and its caller
// wakes. lastLook gives up at by. starved reports that some goroutine that was ready had
// not run by then.
func (s *starvation) lastLook(due, by time.Time, happened func() bool) (seen, starved bool) {
	begun := time.Now()
	late := s.note(begun.Sub(due))
	for round := 1; round == 1 || round <= 3 && late; round++ {
		behind := behindAll()
		for waiting := true; waiting; {
			time.Sleep(time.Millisecond) // the scheduler looks at the network meanwhile
			if happened() {
				return true, false
			}
			select {
			case <-behind:
				waiting = false
			default:
				now := time.Now()
				if now.After(by) {
					return false, true
				}
				late = s.note(now.Sub(begun)) || late
			}
		}
	}
	return happened(), false
}

// behindAll returns a channel that is closed when all goroutines that are ready
// to run now have run.
func behindAll() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		runtime.Gosched() // to the end of the scheduler's queue
		close(done)
	}()
	return done
}
