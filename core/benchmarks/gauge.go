package main

import (
	"runtime"
	"time"
)

// cost is what an operation takes in this process.
type cost struct{ ns, allocs, bytes float64 }

// gauge calls f for about that long, after a tenth of it that does not count.
func gauge(long time.Duration, f func()) cost {
	calls := 1
	for {
		if took := repeat(calls, f); took > long/10 {
			calls = max(1, int(float64(calls)*float64(long)/float64(took)))
			break
		}
		calls *= 2
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	took := repeat(calls, f)
	runtime.ReadMemStats(&after)
	n := float64(calls)
	return cost{
		ns:     float64(took.Nanoseconds()) / n,
		allocs: float64(after.Mallocs-before.Mallocs) / n,
		bytes:  float64(after.TotalAlloc-before.TotalAlloc) / n,
	}
}

func repeat(n int, f func()) time.Duration {
	begin := time.Now()
	for range n {
		f()
	}
	return time.Since(begin)
}

// gauged are things to compare in this process.
type gauged struct {
	name string
	f    func()
}

// alternate gauges all in turn, round by round, and fills in the columns.
func alternate(rounds int, long time.Duration, t *table, prefix string, all []gauged) series {
	ns, allocs, bytes := series{}, series{}, series{}
	for round := range rounds {
		for i := range all {
			g := all[i]
			if round%2 == 1 {
				g = all[len(all)-1-i]
			}
			c := gauge(long, g.f)
			ns.add(g.name, c.ns)
			allocs.add(g.name, c.allocs)
			bytes.add(g.name, c.bytes)
		}
	}
	for _, g := range all {
		t.set(g.name, prefix+"ns", ns.median(g.name))
		t.set(g.name, prefix+"allocs", allocs.median(g.name))
		t.set(g.name, prefix+"B", bytes.median(g.name))
	}
	t.median(rounds)
	return ns
}
