package main

import (
	"testing"

	"github.com/streamlimit/streamlimit/core"
)

// BenchmarkRequest is the part "request" in a form that can be profiled.
func BenchmarkRequest(b *testing.B) {
	local := core.New(core.NewMemory())
	defer local.Close()
	for _, f := range frameworks(local) {
		run := func(name string, make func() func()) {
			b.Run(f.name+"/"+name, func(b *testing.B) {
				one := make()
				for range 3000 {
					one()
				}
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					one()
				}
			})
		}
		run("alone", f.plain)
		run("ours", f.ours)
		for _, u := range f.usual {
			run(u.name, u.make)
		}
	}
}

// No request takes more allocations than it did, its framework's included.
func TestRequestAllocations(t *testing.T) {
	most := map[string]float64{"Gin": 6, "Echo": 8, "Echo 5": 5, "Fiber": 4, "Fiber 3": 3, "net/http": 5}
	local := core.New(core.NewMemory())
	defer local.Close()
	for _, f := range frameworks(local) {
		one := f.ours()
		for range 3 * clients {
			one()
		}
		if allocs := testing.AllocsPerRun(2000, one); allocs > most[f.name]+spare {
			t.Errorf("%s: %v allocations, want at most %v", f.name, allocs, most[f.name])
		}
	}
}
