package redisstream

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// BenchmarkDecision measures one caller: the time of a decision, and as
// server-µs/op the time that the server spends in the script.
//
//	go test -run '^$' -bench . ./redisstream
func BenchmarkDecision(b *testing.B) {
	const plenty = 100_000_000
	policies := map[string]*core.Policy{
		"counted":      core.NewPolicy("counted", core.PerHour(plenty)),
		"summed":       core.NewPolicy("summed", core.PerHour(plenty), core.VariableCost()),
		"summed2":      core.NewPolicy("summed2", core.PerHour(plenty), core.PerDay(plenty)),
		"countedSlim":  core.NewPolicy("countedSlim", core.PerHour(1)),
		"summedSlim":   core.NewPolicy("summedSlim", core.PerHour(1), core.VariableCost()),
		"countedShort": core.NewPolicy("countedShort", core.Per(plenty, 200*time.Millisecond)),
	}
	server := redistest.Start(b)
	s := New(server.Client(), WithTimeout(10*time.Second))
	run := func(name string, p *core.Policy, key func(i int) string) {
		b.Run(name, func(b *testing.B) {
			server.Client().FlushAll(b.Context())
			if _, err := s.Take(b.Context(), p, key(0), 1); err != nil {
				b.Fatal(err)
			}
			server.Client().ConfigResetStat(b.Context())
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if _, err := s.Take(b.Context(), p, key(i+1), 1); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			b.ReportMetric(scriptTime(b, server.Client()), "server-µs/op")
		})
	}
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = "key-" + strconv.Itoa(i)
	}
	warm := func(i int) string { return keys[i%len(keys)] }
	for _, name := range []string{"counted", "summed", "summed2", "countedShort"} {
		run(name+"/warm", policies[name], warm)
	}
	for _, name := range []string{"counted", "summed"} {
		n := 0
		run(name+"/new", policies[name], func(int) string { n++; return "new-" + strconv.Itoa(n) })
		run(name+"/denied", policies[name+"Slim"], func(int) string { return "k" })
	}
}

// BenchmarkClient compares clients with and without ContextTimeoutEnabled.
func BenchmarkClient(b *testing.B) {
	server := redistest.Start(b)
	p := core.NewPolicy("p", core.PerHour(100_000_000))
	for name, enabled := range map[string]bool{"defaults": false, "ContextTimeoutEnabled": true} {
		o := server.Options()
		o.ContextTimeoutEnabled = enabled
		rdb := redis.NewClient(o)
		b.Cleanup(func() { rdb.Close() })
		s := New(rdb, WithTimeout(10*time.Second))
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				if _, err := s.Take(b.Context(), p, "k", 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// scriptTime is the server's time for each EVALSHA since its statistics were
// reset, in microseconds.
func scriptTime(b *testing.B, rdb *redis.Client) float64 {
	b.Helper()
	m := regexp.MustCompile(`cmdstat_evalsha:calls=\d+,usec=\d+,usec_per_call=([\d.]+)`).
		FindStringSubmatch(rdb.Info(b.Context(), "commandstats").Val())
	if m == nil {
		b.Fatal("no statistics of EVALSHA")
	}
	us, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		b.Fatal(err)
	}
	return us
}

// BenchmarkMemory measures what the server's memory grows by: for clients seen
// once, with keys as ByHeader makes them, and for each request of a busy one.
func BenchmarkMemory(b *testing.B) {
	policies := []*core.Policy{core.NewPolicy("counted", core.PerHour(1_000_000)), core.NewPolicy("summed", core.PerHour(1_000_000), core.VariableCost())}
	for _, p := range policies {
		b.Run(p.Name(), func(b *testing.B) {
			for range b.N {
				server := redistest.Start(b)
				rdb := server.Client()
				s := New(rdb, WithTimeout(10*time.Second))
				if _, err := s.Take(b.Context(), p, "warm", 1); err != nil {
					b.Fatal(err)
				}
				const clients, requests = 20_000, 20_000
				grow := func(n int, key func(i int) string) float64 {
					before := usedMemory(b, rdb)
					for i := range n {
						if _, err := s.Take(b.Context(), p, key(i), 1); err != nil {
							b.Fatal(err)
						}
					}
					return float64(usedMemory(b, rdb)-before) / float64(n)
				}
				b.ReportMetric(grow(clients, func(i int) string { return fmt.Sprintf("x-api-key=%032x", i) }), "B/client")
				b.ReportMetric(grow(requests, func(int) string { return "busy" }), "B/request")
			}
		})
	}
}

func usedMemory(b *testing.B, rdb *redis.Client) int64 {
	b.Helper()
	m := regexp.MustCompile(`used_memory:(\d+)`).FindStringSubmatch(rdb.Info(b.Context(), "memory").Val())
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}
