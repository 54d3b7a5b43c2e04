package main

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// run is what came of driving a limiter.
type run struct {
	done   int
	took   time.Duration
	each   []time.Duration // sorted
	errors int64
	err    error // the first of them
}

// drive calls do with 0, 1, 2 and so on, from so many callers at once, until n
// calls are made or the time is up.
func drive(callers, n int, limit time.Duration, do func(i int) error) run {
	var (
		next   atomic.Int64
		failed atomic.Int64
		first  sync.Once
		all    sync.WaitGroup
		r      run
	)
	each := make([]time.Duration, n)
	begin := time.Now()
	for range min(callers, n) {
		all.Go(func() {
			for {
				start := time.Now()
				i := int(next.Load())
				if i >= n || start.Sub(begin) > limit {
					return
				}
				if i = int(next.Add(1)) - 1; i >= n {
					return
				}
				if err := do(i); err != nil {
					failed.Add(1)
					first.Do(func() { r.err = err })
				}
				each[i] = time.Since(start)
			}
		})
	}
	all.Wait()
	r.took = time.Since(begin)
	r.done = min(int(next.Load()), n)
	r.each = each[:r.done]
	slices.Sort(r.each)
	r.errors = failed.Load()
	return r
}

func (r run) perSecond() float64 { return float64(r.done) / r.took.Seconds() }

// quantile is the time within which a share q of the calls were answered.
func (r run) quantile(q float64) time.Duration {
	if len(r.each) == 0 {
		return 0
	}
	return r.each[min(int(q*float64(len(r.each))), len(r.each)-1)]
}
