package faults

import (
	"errors"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
)

// The keys of a flood are addresses.
func floodKey(i int) string { return "2001:db8:" + strconv.Itoa(i) + "::/64" }

// A key stays for at most two windows, and then its memory is freed. The flood is shorter
// than that, so that all keys exist at once.
func TestRow21_KeyFlood(t *testing.T) {
	r := row(t, 21)
	keys, window := scale(10_000, 1_000_000), scale(5*time.Second, time.Minute)
	p := core.NewPolicy("flood", core.Per(5, window))
	memoryFlood(t, r, p, scale(100_000, 1_000_000))
	t.Parallel() // the heap is not looked at any more

	server := redistest.Start(t)
	before := used(t, server)
	redisFlood(t, connect(t, server), p, keys)
	most := used(t, server)
	if n := server.Client().DBSize(t.Context()).Val(); n != int64(keys) {
		t.Errorf("%d keys in Redis, want %d", n, keys)
	}
	checkLives(t, server, 2*window)
	// Redis frees keys at its own pace after their time to live. The memory for 64
	// clients stays.
	over := time.Now().Add(2 * window)
	for server.Client().DBSize(t.Context()).Val() > 0 || used(t, server) > before+(most-before)/2 {
		if time.Since(over) > 10*time.Minute {
			t.Fatalf("%d keys and %d B of %d are still there", server.Client().DBSize(t.Context()).Val(), used(t, server)-before, most-before)
		}
		time.Sleep(200 * time.Millisecond)
	}
	r.Figure("Redis: %d keys, %d B per key, all freed %v after the last one's time to live",
		keys, (most-before)/keys, max(0, time.Since(over)).Round(time.Second))
}

// checkLives checks that a random sample of keys lives at most most.
func checkLives(t *testing.T, server *redistest.Server, most time.Duration) {
	t.Helper()
	for range 500 {
		key := server.Client().RandomKey(t.Context()).Val()
		if life := server.Client().PTTL(t.Context(), key).Val(); life <= 0 || life > most {
			t.Errorf("%s lives for %v, want at most %v", key, life, most)
		}
	}
}

// redisFlood sends one request for each key.
func redisFlood(t *testing.T, store core.Store, p *core.Policy, keys int) {
	t.Helper()
	var next atomic.Int64
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			for i := next.Add(1); i <= int64(keys); i = next.Add(1) {
				if u, err := store.Take(t.Context(), p.Log(), floodKey(int(i)), 1); err != nil || !u.Allowed {
					t.Errorf("key %d: %+v, %v", i, u, err)
					return
				}
			}
		})
	}
	group.Wait()
}

// memoryFlood does the same on a memory store with room for a quarter of the keys.
func memoryFlood(t *testing.T, r *record, p *core.Policy, keys int) {
	t.Helper()
	var ahead atomic.Int64
	room := keys / 4
	start := time.Now()
	before := heap()
	m := core.NewMemory(core.WithMaxKeys(room), core.WithClock(func() time.Time { return start.Add(time.Duration(ahead.Load())) }))
	defer m.Close()
	kept := m.(interface{ Len() int }) // the number of keys
	for i := range keys {
		u, err := m.Take(t.Context(), p.Log(), floodKey(i), 1)
		if i < room && (err != nil || !u.Allowed) || i >= room && !errors.Is(err, store.ErrFull) {
			t.Fatalf("key %d of %d: %+v, %v", i, room, u, err)
		}
	}
	most := heap()
	if kept.Len() != room {
		t.Errorf("%d keys in memory, want %d", kept.Len(), room)
	}
	ahead.Store(int64(p.Log().Longest))
	for end := time.Now().Add(30 * time.Second); kept.Len() > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d keys are still there after their window", kept.Len())
		}
	}
	if after := heap(); after > before+(most-before)/2 {
		t.Errorf("%d B are still there of %d", after-before, most-before)
	}
	r.Figure("memory: %d keys of %d kept, %d B per key, all freed", room, keys, (most-before)/room)
}

// heap returns the heap in use, in bytes.
func heap() int {
	runtime.GC()
	runtime.GC() // what finalizers held
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}

// used returns the memory that Redis uses, in bytes.
func used(t *testing.T, server *redistest.Server) int {
	t.Helper()
	info := server.Client().InfoMap(t.Context(), "memory").Val()
	n, err := strconv.Atoi(strings.TrimSpace(info["Memory"]["used_memory"]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
