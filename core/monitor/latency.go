package monitor

import (
	"math/bits"
	"time"
)

// latency counts the durations of decisions in buckets from 1 µs to about 16 s. Each
// bound is a fifth to a quarter above the one before. The first bucket also has shorter
// durations.
type latency [buckets]uint32

const buckets = 4 * 24

// add counts one decision.
func (l *latency) add(took time.Duration) { l[bucketOf(took)]++ }

// bucketOf returns the bucket of a duration: four buckets for each doubling of the
// microseconds.
func bucketOf(took time.Duration) int {
	quarters := uint64(max(took, time.Microsecond)) * 4 / uint64(time.Microsecond)
	doubling := bits.Len64(quarters) - 3
	return min(4*doubling+int(quarters>>doubling&3), buckets-1)
}

// bucketEnd returns the upper bound of the durations in a bucket.
func bucketEnd(i int) time.Duration {
	return time.Duration(5+i%4) * time.Microsecond << (i / 4) / 4
}

func (l *latency) merge(o *latency) {
	for i := range l {
		l[i] += o[i]
	}
}

// quantile returns the time within which that share of the decisions was made, or 0
// without decisions.
func (l *latency) quantile(share float64) time.Duration {
	var total, sum float64
	for _, n := range l {
		total += float64(n)
	}
	if total == 0 {
		return 0
	}
	for i, n := range l {
		if sum += float64(n); sum >= share*total {
			return bucketEnd(i)
		}
	}
	return bucketEnd(buckets - 1)
}
