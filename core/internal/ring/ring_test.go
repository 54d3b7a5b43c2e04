package ring

import (
	"testing"

	"pgregory.net/rapid"
)

// entry is the expected content of an entry.
type entry struct{ time, cost, total int64 }

// The test compares the ring with a plain slice.
func TestLog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.Int64Range(0, 1000).Draw(t, "base")
		slice := rapid.SampledFrom([]int64{1, 1, 7}).Draw(t, "slice")
		log := Start(base)
		var entries []entry // all that were not dropped
		now, total := int64(1000), base
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				for range rapid.IntRange(1, 20).Draw(t, "n") {
					now += rapid.Int64Range(0, 2).Draw(t, "wait")
					cost := rapid.Int64Range(1, 9).Draw(t, "cost")
					log.Add(now, cost, slice)
					total += cost
					if n := len(entries); n > 0 && entries[n-1].time/slice == now/slice {
						entries[n-1] = entry{now, entries[n-1].cost + cost, total}
					} else {
						entries = append(entries, entry{now, cost, total})
					}
				}
			},
			"drop": func(t *rapid.T) {
				cut := now - rapid.Int64Range(-2, 40).Draw(t, "age")
				log.DropBefore(cut)
				for len(entries) > 0 && entries[0].time < cut {
					entries = entries[1:]
				}
			},
			"": func(t *rapid.T) {
				since := now - rapid.Int64Range(-1, 50).Draw(t, "since")
				units, first := int64(0), int64(0)
				for _, e := range entries {
					if e.time >= since {
						if units == 0 {
							first = e.time
						}
						units += e.cost
					}
				}
				if u, f := log.Since(since); u != units || f != first {
					t.Fatalf("Since(%d) = %d, %d, want %d, %d", since, u, f, units, first)
				}
				at := now - rapid.Int64Range(-1, 20).Draw(t, "at")
				sum := total - rapid.Int64Range(-1, 60).Draw(t, "sum")
				has := false
				for _, e := range entries {
					has = has || e.time == at && e.total-e.cost < sum && sum <= e.total
				}
				if got := log.Has(at, sum); got != has {
					t.Fatalf("Has(%d, %d) = %v, want %v", at, sum, got, has)
				}
				most := rapid.IntRange(1, 30).Draw(t, "most")
				n := 0
				log.Back(func(time, units int64) bool {
					n++
					if e := entries[len(entries)-n]; e.time != time || e.cost != units {
						t.Fatalf("the %d. entry from the end: %d, %d, want %+v", n, time, units, e)
					}
					return n < most
				})
				if n != min(most, len(entries)) {
					t.Fatalf("Back went over %d entries, want %d", n, min(most, len(entries)))
				}
				if len(entries) > 0 && log.Last() != (Entry{now, total}) || log.Len() != len(entries) {
					t.Fatalf("Last %+v, Len %d, want %v", log.Last(), log.Len(), entries)
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
		log.Add(i, 1, 1)
	}
}
