package faults

import (
	"context"
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
)

func TestRow16_LoadingAndBusy(t *testing.T) {
	r := row(t, 16)
	server := redistest.Start(t, "--enable-debug-command", "yes",
		"--loading-process-events-interval-bytes", "1024", "--busy-reply-threshold", "50")
	do := func(args ...any) {
		t.Helper()
		if err := server.Client().Do(t.Context(), args...).Err(); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
	value := make([]byte, 1000)
	pipe := server.Client().Pipeline()
	for i := range 5000 {
		_, _ = rand.Read(value)
		pipe.Set(t.Context(), fmt.Sprint("filler ", i), value, 0)
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}

	do("CONFIG", "SET", "key-load-delay", 20_000) // µs: 100 s in all, unless ended
	r.Figure("%s", occupied(t, server, "LOADING", []any{"DEBUG", "RELOAD"}, func() { do("CONFIG", "SET", "key-load-delay", 0) }))
	r.Figure("%s", occupied(t, server, "BUSY", []any{"EVAL", "while true do end", 0}, func() { do("SCRIPT", "KILL") }))
}

// occupied lets callers use the store and a limiter while a command occupies the server,
// from its first moment.
func occupied(t *testing.T, server *redistest.Server, state string, command []any, end func()) string {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr})
	occupant := redis.NewClient(&redis.Options{Addr: server.Addr, ReadTimeout: -1, MaxRetries: -1})
	t.Cleanup(func() {
		rdb.Close()
		occupant.Close()
	})
	store := redisstream.New(rdb)
	limiter := core.New(store)
	t.Cleanup(func() { limiter.Close() })
	p := core.NewPolicy("p", core.PerHour(1_000_000))
	warm(t, store, p)

	var callers, steady latencies
	late := lateness()
	go func() { _ = occupant.Do(context.Background(), command...).Err() }()
	for begin := time.Now(); ; {
		// The server responds until it is occupied. Then it does not respond at first.
		var err error
		callers.time(func() { _, err = store.Take(t.Context(), p.Log(), "k", 1) })
		if redis.HasErrorPrefix(err, state) {
			break
		}
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("the server is not %s: %v", state, err)
		}
	}
	for range scale(10, 50) {
		ask(&callers, 100, func(i int) {
			if _, err := store.Take(t.Context(), p.Log(), fmt.Sprint("k", i), 1); err == nil {
				t.Errorf("%s: a decision", state)
			}
		})
	}
	for begin := time.Now(); time.Since(begin) < scale(time.Second, 5*time.Second); time.Sleep(5 * time.Millisecond) {
		ask(&steady, 20, func(i int) {
			if d, err := limiter.Allow(t.Context(), p, fmt.Sprint("k", i)); err != nil || d.Source != core.SourceFallback {
				t.Errorf("%s: %+v, %v", state, d, err)
			}
		})
	}
	was := late()
	end()
	warm(t, store, p)
	return callers.within(t, state+":", 0.99, redisstream.DefaultTimeout, was) + ", " +
		steady.within(t, "by a limiter", 0.99, redisstream.DefaultTimeout, was)
}
