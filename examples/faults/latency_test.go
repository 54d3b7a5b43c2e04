package faults

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// latencies are measured durations.
type latencies struct {
	mu  sync.Mutex
	all []time.Duration
}

// time adds the duration of f.
func (l *latencies) time(f func()) {
	start := time.Now()
	f()
	l.add(time.Since(start))
}

// add adds a duration.
func (l *latencies) add(took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, took)
}

// of returns the latency that a share of all do not exceed. A share of 1 returns the
// longest.
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

// lateness measures the delay of the machine itself, until the returned function is
// called. That function returns the longest delay. Sleeping goroutines wake up late on a
// busy machine.
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

// tail is the share of responses that must arrive in time. While other tests run, a few
// in a thousand are late, whatever the limiter does.
func tail() float64 { return scale(0.99, 0.999) }

// slack bounds the time that a decision may take beyond its deadline.
const slack = 10 * time.Millisecond

// within checks that a share of all took at most the deadline plus slack, and describes
// it. A caller wakes up twice, at the end of the wait for Redis and with the response.
// Each time it can be late by the delay of the machine.
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
