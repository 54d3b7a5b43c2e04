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
	"github.com/streamlimit/streamlimit/core/store"
)

// BenchmarkScript measures, as server-µs/op, the time that the server spends in
// a script. Decisions travel in pipelines, which keep the server busy: one that
// wakes up for each of them takes longer.
//
//	go test -run '^$' -bench . ./redisstream
func BenchmarkScript(b *testing.B) {
	const plenty = 100_000_000
	server := redistest.Start(b)
	rdb := server.Client()
	s := New(rdb)
	run := func(name string, p *store.Log, key func(i int) string) {
		b.Run(name, func(b *testing.B) {
			ctx := b.Context()
			rdb.FlushAll(ctx)
			for i := range 1000 { // loads the script and warms the logs
				if _, err := s.Take(ctx, p, key(i), 1); err != nil {
					b.Fatal(err)
				}
			}
			rdb.ConfigResetStat(ctx)
			b.ResetTimer()
			for i := 0; i < b.N; {
				pipe := rdb.Pipeline()
				for ; i < b.N && pipe.Len() < 100; i++ {
					_ = pipe.Process(ctx, newOnce(ctx, decision(&charge{policy: p, log: s.logKey(p, key(i)), cost: 1}, modeTake)))
				}
				if _, err := pipe.Exec(ctx); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			b.ReportMetric(scriptTime(b, rdb), "server-µs/op")
		})
	}
	warm := func(i int) string { return "key-" + strconv.Itoa(i%1000) }
	n := 0
	fresh := func(int) string { n++; return "new-" + strconv.Itoa(n) }
	one := func(int) string { return "k" }
	for _, kind := range []struct {
		name    string
		options []core.PolicyOption
	}{
		{"counted", nil},
		{"summed", []core.PolicyOption{core.VariableCost()}},
		{"summed2", []core.PolicyOption{core.PerDay(plenty)}},
		{"coarse", []core.PolicyOption{core.Coarse(64)}},
		{"refunded", []core.PolicyOption{core.Refundable(0)}},
	} {
		policy := func(l core.Limit) *store.Log {
			return newLog(kind.name, append([]core.PolicyOption{l}, kind.options...)...)
		}
		run(kind.name+"/warm", policy(core.PerHour(plenty)), warm)
		run(kind.name+"/leaving", policy(core.Per(plenty, 100*time.Millisecond)), warm)
		run(kind.name+"/new", policy(core.PerHour(plenty)), fresh)
		run(kind.name+"/denied", policy(core.PerHour(1)), one)
		earlier := newLog(kind.name, core.PerMinute(plenty), core.PerSecond(plenty))
		run(kind.name+"/changed", policy(core.PerHour(plenty)).After(earlier), warm)
	}
}

// BenchmarkTogether measures the server's time for one script on two counted
// logs, and for two scripts on one each.
func BenchmarkTogether(b *testing.B) {
	server := redistest.Start(b)
	rdb := server.Client()
	s := New(rdb, patient)
	asks := func(i int) []store.Charge {
		key := strconv.Itoa(i % 1000)
		return []store.Charge{
			{Log: newLog("address", core.PerHour(100_000_000)), Key: key, Cost: 1},
			{Log: newLog("user", core.PerHour(100_000_000)), Key: key, Cost: 1},
		}
	}
	ctx := b.Context()
	measure := func(name string, send func(pipe redis.Pipeliner, asks []store.Charge)) {
		b.Run(name, func(b *testing.B) {
			for i := range 1000 { // loads the scripts and warms the logs
				if _, err := s.TakeAll(ctx, asks(i)); err != nil {
					b.Fatal(err)
				}
				for _, a := range asks(i) {
					if _, err := s.Take(ctx, a.Log, a.Key, 1); err != nil {
						b.Fatal(err)
					}
				}
			}
			rdb.ConfigResetStat(ctx)
			b.ResetTimer()
			calls := 0
			for i := 0; i < b.N; {
				pipe := rdb.Pipeline()
				for ; i < b.N && pipe.Len() < 100; i++ {
					send(pipe, asks(i))
				}
				calls += pipe.Len()
				if _, err := pipe.Exec(ctx); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			b.ReportMetric(scriptTime(b, rdb)*float64(calls)/float64(b.N), "server-µs/op")
		})
	}
	measure("one script", func(pipe redis.Pipeliner, asks []store.Charge) {
		_, call := decisionOfSeveral(s.charges(asks))
		_ = pipe.Process(ctx, newOnce(ctx, call))
	})
	measure("two scripts", func(pipe redis.Pipeliner, asks []store.Charge) {
		for _, a := range asks {
			_ = pipe.Process(ctx, newOnce(ctx, decision(&charge{policy: a.Log, log: s.logKey(a.Log, a.Key), cost: 1}, modeTake)))
		}
	})
}

// BenchmarkClient compares clients with and without ContextTimeoutEnabled.
func BenchmarkClient(b *testing.B) {
	server := redistest.Start(b)
	p := newLog("p", core.PerHour(100_000_000))
	for _, enabled := range []bool{false, true} {
		o := server.Options()
		o.ContextTimeoutEnabled = enabled
		rdb := redis.NewClient(o)
		b.Cleanup(func() { rdb.Close() })
		s := New(rdb, patient)
		b.Run(fmt.Sprint("ContextTimeoutEnabled=", enabled), func(b *testing.B) {
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
func scriptTime(b testing.TB, rdb *redis.Client) float64 {
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
	policies := []*store.Log{newLog("counted", core.PerHour(1_000_000)), newLog("summed", core.PerHour(1_000_000), core.VariableCost())}
	for _, p := range policies {
		measureOnce(b, p.Policy, func(b *testing.B) map[string]float64 {
			rdb := redistest.Start(b).Client()
			s := New(rdb, patient)
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
			return map[string]float64{
				"B/client":  grow(clients, func(i int) string { return fmt.Sprintf("x-api-key=%032x", i) }),
				"B/request": grow(requests, func(int) string { return "busy" }),
			}
		})
	}
}

// measureOnce runs a benchmark whose figures do not depend on b.N. It measures
// them once a run, so that the benchmark ends whatever -benchtime says.
func measureOnce(b *testing.B, name string, measure func(b *testing.B) map[string]float64) {
	var figures map[string]float64 // by unit
	b.Run(name, func(b *testing.B) {
		if b.N == 1 || figures == nil { // each run begins with an N of 1
			figures = measure(b)
		}
		for unit, value := range figures {
			b.ReportMetric(value, unit)
		}
		b.ReportMetric(0, "ns/op") // of no meaning
	})
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
