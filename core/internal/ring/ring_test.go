package ring

import (
	"testing"

	"pgregory.net/rapid"
)

// The ring against a plain slice.
func TestLog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var log Log
		var times, costs []int64 // everything that was not dropped
		now := int64(1000)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				for range rapid.IntRange(1, 20).Draw(t, "n") {
					now += rapid.Int64Range(0, 2).Draw(t, "wait")
					cost := rapid.Int64Range(1, 9).Draw(t, "cost")
					log.Add(now, cost)
					times, costs = append(times, now), append(costs, cost)
				}
			},
			"drop": func(t *rapid.T) {
				cut := now - rapid.Int64Range(-2, 40).Draw(t, "age")
				log.DropBefore(cut)
				for len(times) > 0 && times[0] < cut {
					times, costs = times[1:], costs[1:]
				}
			},
			"": func(t *rapid.T) {
				since := now - rapid.Int64Range(-1, 50).Draw(t, "since")
				units, first := int64(0), int64(0)
				for i := range times {
					if times[i] >= since {
						if units == 0 {
							first = times[i]
						}
						units += costs[i]
					}
				}
				if u, f := log.Since(since); u != units || f != first {
					t.Fatalf("Since(%d) = %d, %d, want %d, %d", since, u, f, units, first)
				}
				need, leaving := rapid.Int64Range(1, 100).Draw(t, "need"), int64(0)
				for i, sum := 0, int64(0); i < len(times) && leaving == 0; i++ {
					if times[i] >= since {
						if sum += costs[i]; sum >= need {
							leaving = times[i]
						}
					}
				}
				if got := log.Leaving(since, need); got != leaving {
					t.Fatalf("Leaving(%d, %d) = %d, want %d", since, need, got, leaving)
				}
				if len(times) > 0 && log.Last().Time != times[len(times)-1] || len(times) == 0 && log.Len() != 0 {
					t.Fatalf("Last %+v, Len %d, want %v", log.Last(), log.Len(), times)
				}
				if capacity := len(log.buf); capacity > max(minCap, 4*log.Len()) {
					t.Fatalf("%d entries in a buffer of %d", log.Len(), capacity)
				}
			},
		})
	})
}

func BenchmarkAddAndDrop(b *testing.B) {
	var log Log
	b.ReportAllocs()
	for i := range int64(b.N) {
		log.DropBefore(i - 1000)
		log.Add(i, 1)
	}
}
