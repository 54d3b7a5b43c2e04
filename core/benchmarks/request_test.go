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
