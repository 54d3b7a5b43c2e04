package faults

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
)

func TestRow06_Frozen(t *testing.T) {
	r := row(t, 6)
	server := redistest.Start(t)
	for _, enabled := range []bool{false, true} {
		rdb := redis.NewClient(&redis.Options{Addr: server.Addr, ContextTimeoutEnabled: enabled})
		t.Cleanup(func() { rdb.Close() })
		r.Figure("%s", frozen(t, fmt.Sprint("ContextTimeoutEnabled ", enabled), rdb, server))
	}

	// Nodes that respond serve their slots.
	cluster := redistest.Cluster(t, 3, redistest.WithArgs("--cluster-require-full-coverage", "no"))
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs()})
	t.Cleanup(func() { rdb.Close() })
	r.Figure("%s", frozen(t, "Cluster", rdb, cluster.Nodes[0]))

	t.Run("examples", func(t *testing.T) {
		sites := newSites(t, server)
		for _, s := range sites {
			s.awaitSource("redis")
		}
		traffic := newTraffic(sites)
		time.Sleep(500 * time.Millisecond)
		server.Freeze()
		time.Sleep(scale(2*time.Second, 10*time.Second))
		for _, s := range sites {
			s.awaitSource("fallback")
			s.wantStrict()
		}
		server.Thaw()
		for _, s := range sites {
			s.awaitSource("redis")
		}
		figure := traffic.end(t)
		for _, s := range sites {
			s.wantLines(1, 1)
		}
		r.Figure("examples: %s", figure)
	})
}

// starvedBy is the delay of timers from which package redisstream counts a process as
// starved. It then does not blame the server until after a second timeout.
const starvedBy = 4 * time.Millisecond

// frozen freezes a server. First callers use the store itself, and all wait for it. Then
// steady callers use a limiter, whose circuit saves them the wait.
func frozen(t *testing.T, name string, rdb redis.UniversalClient, server *redistest.Server) string {
	t.Helper()
	store := redisstream.New(rdb)
	limiter := core.New(store)
	t.Cleanup(func() { limiter.Close() })
	p := core.NewPolicy("p", core.PerHour(1_000_000))
	warm(t, store, p)
	server.Freeze()
	defer server.Thaw()

	var callers, steady latencies
	end := lateness()
	for range scale(10, 50) {
		ask(&callers, 100, func(i int) { _, _ = store.Take(t.Context(), p.Log(), fmt.Sprint("k", i), 1) })
	}
	late := end()
	bound := redisstream.DefaultTimeout
	if late >= starvedBy {
		bound *= 3 // package redisstream takes the process for starved, and looks again
	}
	figure := callers.within(t, name, tail(), bound, late)
	// For one server most callers wait, and some are refused at arrival. In a cluster those
	// wait whose logs are on the frozen node.
	_, several := rdb.(*redis.ClusterClient)
	if middle := callers.of(0.5); several == (middle >= redisstream.DefaultTimeout) {
		t.Errorf("%s: half of the callers waited up to %v", name, middle)
	}

	end = lateness()
	begin := time.Now()
	length := scale(2*time.Second, 10*time.Second)
	var goroutines, bytes int
	for half := false; time.Since(begin) < length; time.Sleep(10 * time.Millisecond) {
		ask(&steady, 20, func(i int) {
			if d, err := limiter.Allow(t.Context(), p, fmt.Sprint("k", i)); err != nil || !d.Allowed {
				t.Errorf("%s: %+v, %v", name, d, err)
			}
		})
		if !half && time.Since(begin) > length/2 {
			half, goroutines, bytes = true, runtime.NumGoroutine(), heap()
		}
	}
	goroutines, bytes = runtime.NumGoroutine()-goroutines, heap()-bytes
	late = end()
	if goroutines > 50 || bytes > 4<<20 {
		t.Errorf("%s: %d goroutines and %d bytes more in the second half of %v", name, goroutines, bytes, length)
	}
	down := slices.ContainsFunc(limiter.Health().Down, func(d core.Down) bool { return !several || d.Server == server.Addr })
	if !down {
		t.Errorf("%s: %+v, want the frozen server to be down", name, limiter.Health())
	}
	return figure + ", " + steady.within(t, "by a limiter", tail(), redisstream.DefaultTimeout, late) +
		fmt.Sprintf(", %+d goroutines, %+d kB", goroutines, bytes>>10)
}

func TestRow07_Slow(t *testing.T) {
	r := row(t, 7)
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr)
	rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr})
	t.Cleanup(func() { rdb.Close() })
	store := redisstream.New(rdb)
	p := core.NewPolicy("p", core.PerHour(1_000_000), core.VariableCost())
	warm(t, store, p)
	var all latencies
	end := lateness()
	for _, delay := range []time.Duration{10, 30, 60, 90, 110, 200, 500, 1000} {
		delay *= time.Millisecond
		proxy.Delay(delay/2, delay/2)
		var answered latencies
		for range scale(3, 20) {
			ask(&all, 50, func(i int) {
				answered.time(func() {
					if _, err := store.Take(t.Context(), p.Log(), fmt.Sprint("k", i), 1); err == nil && delay >= 5*redisstream.DefaultTimeout {
						t.Errorf("a decision within %v, from a server that is slow by %v", redisstream.DefaultTimeout, delay)
					}
				})
			})
		}
		if fastest := answered.of(0); fastest < min(delay, redisstream.DefaultTimeout)-time.Millisecond {
			t.Errorf("answered after %v by a server that is slow by %v", fastest, delay)
		}
	}
	figure := all.within(t, "slow by 10 to 1,000 ms:", tail(), longestWait, end())
	proxy.Delay(0, 0)
	warm(t, store, p)
	r.Figure("%s", figure)
}

// warm calls a store until it has responded for each of some keys.
func warm(t *testing.T, store core.Store, p *core.Policy) {
	t.Helper()
	for i := range 100 {
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			_, err := store.Take(t.Context(), p.Log(), fmt.Sprint("k", i), 1)
			if err == nil {
				break
			}
			if time.Now().After(end) {
				t.Fatal(err)
			}
		}
	}
}

// ask runs that many concurrent callers, and waits for them.
func ask(took *latencies, callers int, question func(i int)) {
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() { took.time(func() { question(i) }) })
	}
	group.Wait()
}
