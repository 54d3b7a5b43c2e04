package redisstream

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// zipf returns indexes of n keys, drawn at random. The share of the i-th key is proportional to i^-1.1.
func zipf(n int) []int32 {
	sums := make([]float64, n)
	sum := 0.0
	for i := range sums {
		sum += math.Pow(float64(i+1), -1.1)
		sums[i] = sum
	}
	drawn := make([]int32, 1<<18) // the callers rely on a power of two
	if n == 1 {
		drawn = drawn[:1]
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range drawn {
		at, _ := slices.BinarySearch(sums, r.Float64()*sum)
		drawn[i] = int32(at)
	}
	return drawn
}

// BenchmarkLeases measures 64 callers for N seconds, after three seconds of warm-up. They
// use one hot key, or 10,000 keys by Zipf's law, with and without leases. Each caller draws
// keys independently. Callers that follow one sequence bunch up: the first waits for a
// lease, the others catch up, and from then on all wait for the same keys together.
//
//	go test -run '^$' -bench Leases -benchtime 10x ./redisstream
func BenchmarkLeases(b *testing.B) {
	for _, keys := range []int{1, 10_000} {
		names := make([]string, keys)
		for i := range names {
			names[i] = fmt.Sprintf("198.51.100.%d", i)
		}
		drawn := zipf(keys)
		for _, d := range []time.Duration{0, time.Second} {
			b.Run(fmt.Sprintf("keys=%d/lease=%v", keys, d), func(b *testing.B) {
				l := newLeasing(b, redistest.Start(b))
				p := core.NewPolicy("p", core.PerMinute(1_000_000_000_000), core.Lease(d))
				var admitted, refused, calls atomic.Int64
				var counting, over atomic.Bool
				var callers sync.WaitGroup
				for g := range 64 {
					callers.Go(func() {
						var own, other int64
						random := rand.NewPCG(uint64(g), 0)
						for !over.Load() {
							d, err := l.Allow(context.Background(), p, names[drawn[random.Uint64()&uint64(len(drawn)-1)]])
							if !counting.Load() {
								continue
							}
							if err == nil && d.Allowed && d.Source != core.SourceFallback {
								own++
							} else {
								other++
							}
						}
						admitted.Add(own)
						refused.Add(other)
					})
				}
				time.Sleep(3 * time.Second)
				calls.Store(l.calls.Load())
				counting.Store(true)
				b.ResetTimer()
				begun := time.Now()
				time.Sleep(time.Duration(b.N) * time.Second)
				counting.Store(false)
				took := time.Since(begun).Seconds()
				b.StopTimer()
				over.Store(true)
				callers.Wait()
				b.ReportMetric(float64(admitted.Load())/took/1e6, "M/s")
				b.ReportMetric(float64(l.calls.Load()-calls.Load())/float64(admitted.Load()), "calls/decision")
				b.ReportMetric(float64(refused.Load()), "denied")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// BenchmarkLeased measures one caller of a hot key.
func BenchmarkLeased(b *testing.B) {
	l := newLeasing(b, redistest.Start(b))
	p := core.NewPolicy("p", core.PerMinute(1_000_000_000_000), core.Lease(time.Second))
	for range 100_000 {
		l.allow(b, p, "k")
	}
	b.ReportAllocs()
	for b.Loop() {
		if d, err := l.Allow(b.Context(), p, "k"); err != nil || !d.Allowed {
			b.Fatal(d, err)
		}
	}
}

// BenchmarkLeasePace measures one caller with 100,000 requests a second.
func BenchmarkLeasePace(b *testing.B) {
	l := newLeasing(b, redistest.Start(b))
	p := core.NewPolicy("p", core.PerMinute(1_000_000_000_000), core.Lease(time.Second))
	for range 100_000 {
		l.allow(b, p, "k")
	}
	took := make([]time.Duration, 0, b.N)
	next := time.Now()
	for b.Loop() {
		for next = next.Add(10 * time.Microsecond); time.Now().Before(next); {
		}
		begun := time.Now()
		d, err := l.Allow(b.Context(), p, "k")
		took = append(took, time.Since(begun))
		if err != nil || !d.Allowed {
			b.Fatal(d, err)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "ns-p50")
	b.ReportMetric(float64(took[len(took)*999/1000].Nanoseconds()), "ns-p99.9")
}

// BenchmarkLeaseSaturated measures four processes that share a full limit of 100,000 in
// 10 s, for N times the window.
func BenchmarkLeaseSaturated(b *testing.B) {
	p := core.NewPolicy("p", core.Per(100_000, 10*time.Second), core.Lease(100*time.Millisecond))
	s := saturate(b, p, 4, b.N)
	b.ReportMetric(s.share, "of-Max")
	b.ReportMetric(float64(s.worst), "most-in-W")
	b.ReportMetric(float64(s.denied), "denied")
	b.ReportMetric(0, "ns/op")
}
