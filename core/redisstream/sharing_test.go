package redisstream

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// BenchmarkSharing compares ways to send decisions that come at once: by a
// connection each, in the lane's round trips, and in the pipelines that go-redis
// makes by itself. They take turns, and the figures are medians over the turns:
// decisions a second, and the server's time for one.
//
// With go-redis 9.23, whose pipelines are experimental, on two processors: a lane
// makes 3 times as many decisions on a hot key with 512 callers, 1.2 to 1.3 times as
// many on 10,000 keys with 64 and more, and as many with 16; a lone caller, whom a
// lane does not hold up, 1.4 to 1.7 times as many.
//
//	go test -run '^$' -bench Sharing ./redisstream
func BenchmarkSharing(b *testing.B) {
	server := redistest.Start(b)
	o := server.Options()
	o.ContextTimeoutEnabled = true
	rdb := redis.NewClient(o)
	b.Cleanup(func() { rdb.Close() })
	pipeline, err := rdb.AutoPipeline()
	if err != nil {
		b.Fatal(err)
	}
	p := newLog("p", core.PerHour(100_000_000))
	s := New(rdb, patient)
	ways := map[string]func(key string) error{
		"connections": func(key string) error {
			_, err := s.decide(b.Context(), p, s.logKey(p, key), 1, modeTake)
			return err
		},
		"lane": func(key string) error {
			_, err := s.Take(b.Context(), p, key, 1)
			return err
		},
		"auto-pipelining": func(key string) error {
			cmd := newOnce(b.Context(), decision(&charge{policy: p, log: s.logKey(p, key), cost: 1}, modeTake))
			if err := pipeline.Process(b.Context(), cmd); err != nil {
				return err
			}
			return cmd.Err()
		},
	}
	for _, keys := range []int{1, 10_000} {
		names := make([]string, keys)
		for i := range names {
			names[i] = "key-" + strconv.Itoa(i)
			if err := ways["connections"](names[i]); err != nil { // loads the script and warms the logs
				b.Fatal(err)
			}
		}
		for _, callers := range []int{1, 16, 64, 512} {
			measureOnce(b, fmt.Sprintf("%d callers, %d keys", callers, keys), func(b *testing.B) map[string]float64 {
				rates, times := map[string][]float64{}, map[string][]float64{}
				for round := range 9 {
					order := []string{"connections", "lane", "auto-pipelining"}
					slices.Reverse(order[round%2:])
					for _, way := range order {
						before := processTime(b, rdb)
						n, took := crowd(b, callers, 200*time.Millisecond, func(i int) error { return ways[way](names[i%keys]) })
						rates[way] = append(rates[way], float64(n)/took.Seconds())
						times[way] = append(times[way], float64((processTime(b, rdb)-before).Microseconds())/float64(n))
					}
				}
				figures := map[string]float64{}
				for way := range ways {
					figures[way+"/s"] = middle(rates[way])
					figures[way+"-server-µs"] = middle(times[way])
				}
				return figures
			})
		}
	}
}

// crowd has callers do something again and again for a time.
func crowd(b *testing.B, callers int, length time.Duration, do func(i int) error) (n int64, took time.Duration) {
	b.Helper()
	var done atomic.Int64
	var all sync.WaitGroup
	begin := time.Now()
	ctx, cancel := context.WithTimeout(b.Context(), length)
	defer cancel()
	for range callers {
		all.Go(func() {
			for ctx.Err() == nil {
				if err := do(int(done.Add(1))); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return done.Load(), time.Since(begin)
}

// processTime is what the server has used of processors so far.
func processTime(b *testing.B, rdb *redis.Client) time.Duration {
	b.Helper()
	var sum float64
	for line := range strings.SplitSeq(rdb.Info(b.Context(), "cpu").Val(), "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		if name == "used_cpu_user" || name == "used_cpu_sys" {
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				b.Fatal(err)
			}
			sum += seconds
		}
	}
	return time.Duration(sum * float64(time.Second))
}

func middle(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
