package faults

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// latencies are how long things took.
type latencies struct {
	mu  sync.Mutex
	all []time.Duration
}

// time adds how long f takes.
func (l *latencies) time(f func()) {
	start := time.Now()
	f()
	l.add(time.Since(start))
}

// add adds how long something took.
func (l *latencies) add(took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, took)
}

// of is the latency that a share of all don't exceed; 1 is for the longest.
func (l *latencies) of(share float64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) == 0 {
		return 0
	}
	slices.Sort(l.all)
	return l.all[min(int(share*float64(len(l.all))), len(l.all)-1)]
}

func (l *latencies) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

// lateness measures how late the machine itself is, until the function is
// called, which returns the worst of it: goroutines sleep, and are woken up late
// when there is too much to do.
func lateness() (end func() time.Duration) {
	const nap = time.Millisecond
	stop := make(chan struct{})
	worst := make([]time.Duration, 4)
	var watching sync.WaitGroup
	for i := range worst {
		watching.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				start := time.Now()
				time.Sleep(nap)
				worst[i] = max(worst[i], time.Since(start)-nap)
			}
		})
	}
	return func() time.Duration {
		close(stop)
		watching.Wait()
		return slices.Max(worst)
	}
}

// tail is the share of answers that have to come in time. Beside other tests a few
// of a thousand are late, whatever the limiter does.
func tail() float64 { return scale(0.99, 0.999) }

// slack is what a decision may take beyond its deadline.
const slack = 10 * time.Millisecond

// within checks that a share of all took no longer than the deadline with its
// slack, and describes it. A caller is woken up twice, by what ends the waiting
// for Redis and with the answer, and can be late each time by what the machine is.
func (l *latencies) within(t *testing.T, what string, share float64, deadline, late time.Duration) string {
	t.Helper()
	took := l.of(share)
	if took > deadline+slack+2*late {
		t.Errorf("%s: p%v %v, longest %v, of %d; want at most %v, with the machine late by %v",
			what, 100*share, ms(took), ms(l.of(1)), l.count(), deadline+slack, ms(late))
	}
	return fmt.Sprintf("%s p%v %v (%d, machine late by %v)", what, 100*share, ms(took), l.count(), ms(late))
}

func ms(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
