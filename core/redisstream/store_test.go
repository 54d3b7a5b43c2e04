package redisstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
)

var (
	countedPolicy = core.NewPolicy("counted", core.PerMinute(100))
	summedPolicy  = core.NewPolicy("summed", core.PerMinute(100), core.VariableCost())

	countedLog, summedLog = countedPolicy.Log(), summedPolicy.Log()
)

func TestOneRoundTripPerDecision(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := New(rdb, patient)
	for _, p := range []*store.Log{countedLog, summedLog, refundedLog, coarseLog} {
		take(t, s, p, "warm")  // loads the script
		awaitCheck(s)          // which runs one, too
		s.check.running.Wait() // which counts as well
		before := commands(t, rdb)
		for i := range 50 {
			take(t, s, p, fmt.Sprint("key-", i%7))
		}
		if got := commands(t, rdb) - before; got != 50 {
			t.Errorf("%s: 50 decisions took %d commands, want 50", p.Policy, got)
		}
	}
}

// commands is how many scripts the server got from clients.
func commands(t *testing.T, rdb *redis.Client) (n int) {
	t.Helper()
	info := rdb.Info(t.Context(), "commandstats").Val()
	for _, m := range regexp.MustCompile(`cmdstat_(evalsha|eval|script\|load):calls=(\d+)`).FindAllStringSubmatch(info, -1) {
		var calls int
		fmt.Sscan(m[2], &calls)
		n += calls
	}
	return n
}

func take(t *testing.T, s *Store, p *store.Log, key string) store.Usage {
	t.Helper()
	u, err := s.Take(t.Context(), p, key, 1)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestScriptCacheLost(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := New(rdb, patient)
	for i := range 20 {
		for _, p := range []*store.Log{countedLog, summedLog, refundedLog, coarseLog} {
			if u := take(t, s, p, "k"); u.Limits[0].Used != int64(i+1) {
				t.Fatalf("%s: %d units used after %d requests", p.Policy, u.Limits[0].Used, i+1)
			}
		}
		if err := rdb.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// A frozen server: callers are answered by the deadline, by a client with
// go-redis' defaults too, and the store follows when it does.
func TestDeadline(t *testing.T) {
	server := redistest.Start(t)
	plain := redis.NewClient(&redis.Options{Addr: server.Addr})
	t.Cleanup(func() { plain.Close() })
	for name, rdb := range map[string]*redis.Client{"defaults": plain, "obeys contexts": server.Client()} {
		t.Run(name, func(t *testing.T) {
			s := New(rdb, WithTimeout(50*time.Millisecond))
			take(t, s, countedLog, "warm")
			server.Freeze()
			start := time.Now()
			_, err := s.Take(t.Context(), countedLog, name, 1)
			took := time.Since(start)
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			_, callers := s.Take(ctx, countedLog, name, 1)
			cancel()
			server.Thaw()
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer within 50ms") {
				t.Errorf("error %v, want one that names the deadline", err)
			}
			// Generous, for a busy machine: go-redis alone would take 5s.
			if took < 50*time.Millisecond || took > 2*time.Second {
				t.Errorf("answered after %v, want 50ms", took)
			}
			if !errors.Is(callers, context.DeadlineExceeded) || strings.Contains(callers.Error(), "no answer within") {
				t.Errorf("a caller's own deadline: %v", callers)
			}
			deadline := time.Now().Add(10 * time.Second)
			for s.Ping(t.Context()) != nil {
				if time.Now().After(deadline) {
					t.Fatal("the store does not recover")
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
}

// What waits for a frozen server is bounded, whatever the client's own timeouts.
func TestRequestsInFlightAreBounded(t *testing.T) {
	server := redistest.Start(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr, ReadTimeout: time.Minute, PoolTimeout: time.Minute, MaxRetries: -1})
	s := New(rdb, WithTimeout(20*time.Millisecond))
	take(t, s, countedLog, "warm")
	server.Freeze()
	before := runtime.NumGoroutine()
	for range 200 {
		if _, err := s.Take(t.Context(), countedLog, "k", 1); err == nil {
			t.Fatal("a frozen server has answered")
		}
	}
	// A request and its timer on each connection, and connections that are built.
	if more := runtime.NumGoroutine() - before; more > 20 {
		t.Errorf("200 requests left %d goroutines", more)
	}
	server.Thaw()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := s.Take(t.Context(), countedLog, "k", 1); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the store does not recover")
		}
	}
	rdb.Close()
}

func TestWrongType(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := New(rdb, patient)
	limiter := core.New(s)
	for _, policy := range []*core.Policy{countedPolicy, summedPolicy} {
		p := policy.Log()
		if err := rdb.Set(t.Context(), s.logKey(p, "k"), "mine", 0).Err(); err != nil {
			t.Fatal(err)
		}
		_, err := limiter.Allow(t.Context(), policy, "k")
		if err == nil || !strings.Contains(err.Error(), "policy "+p.Policy) || !strings.Contains(err.Error(), "WRONGTYPE") {
			t.Errorf("error %v, want one that names the policy and WRONGTYPE", err)
		}
		if got := rdb.Get(t.Context(), s.logKey(p, "k")).Val(); got != "mine" {
			t.Errorf("the value is now %q", got)
		}
	}
}

// NOSCRIPT is an answer: the script itself, which follows it, has the timeout
// again.
func TestEachRoundTripHasTheTimeout(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr)
	rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr, DisableIdentity: true, ContextTimeoutEnabled: true})
	t.Cleanup(func() { rdb.Close() })
	proxy.Delay(0, 300*time.Millisecond)
	if u, err := New(rdb, WithTimeout(450*time.Millisecond)).Take(t.Context(), countedLog, "k", 1); err != nil || !u.Allowed {
		t.Errorf("two round trips of 300ms, each within 450ms: %+v, %v", u, err)
	}
}

// While a slot moves to another node, the log is on one of the two, and the
// scratch key on neither.
func TestMovingSlot(t *testing.T) {
	cluster := redistest.Cluster(t, 3)
	rdb := cluster.Client()
	s := New(rdb, patient)
	for _, p := range []*store.Log{countedLog, summedLog, refundedLog, coarseLog} {
		key := p.Policy // in a slot of its own
		take(t, s, p, key)
		log := s.logKey(p, key)
		move := cluster.Move(log)
		check := func(when string, want int64) {
			t.Helper()
			if u := take(t, s, p, key); u.Limits[0].Used != want {
				t.Errorf("%s, %s: %d used, want %d", p.Policy, when, u.Limits[0].Used, want)
			}
		}
		move.Begin()
		check("before the log moves", 2)
		move.Migrate(log)
		check("after the log has moved", 3)
		move.End()
		check("after the slot has moved", 4)
	}
}

// A limit that was lowered a lot must not make denials slow.
func TestLoweredLimitReadsLittle(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := New(rdb, patient)
	const entries = 20_000
	now := time.Now().UnixMilli()
	pipe := rdb.Pipeline()
	for i := range entries {
		id := fmt.Sprintf("%d-%d", now-entries+int64(i), i)
		pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: s.logKey(newLog("p", core.PerHour(1)), "k"), ID: id, Values: []any{"", ""}})
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	for lowered, exact := range map[int64]bool{10: true, 1000: true, entries - 500: true, entries / 2: false} {
		u := take(t, s, newLog("p", core.PerHour(lowered)), "k")
		leaves := now - lowered // when the lowered-th newest entry leaves
		want := time.Duration(leaves+time.Hour.Milliseconds()-now) * time.Millisecond
		slack := time.Since(time.UnixMilli(now)) + time.Millisecond
		if u.Allowed || u.RetryAfter > want || exact && u.RetryAfter < want-slack {
			t.Errorf("lowered to %d: %+v, want RetryAfter %v less the time since", lowered, u.RetryAfter, want)
		}
	}
}

// The total in IDs starts over long before Lua's numbers get inexact.
func TestTotalStartsOver(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := New(rdb, patient)
	p := newLog("p", core.PerHour(10), core.PerDay(1000), core.VariableCost())
	const modulus = 1 << 52
	future := time.Now().Add(time.Minute).UnixMilli() // so that all falls into one millisecond
	for i, total := range []int64{modulus - 4, modulus - 1} {
		args := &redis.XAddArgs{Stream: s.logKey(p, "k"), ID: fmt.Sprintf("%d-%d", future, total), Values: []any{"c", 3}}
		if err := rdb.XAdd(t.Context(), args).Err(); err != nil {
			t.Fatal(i, err)
		}
	}
	for i, cost := range []int64{2, 1, 1} {
		u, err := s.Take(t.Context(), p, "k", cost)
		if err != nil || !u.Allowed {
			t.Fatalf("request %d: %+v, %v", i, u, err)
		}
	}
	if u := take(t, s, p, "k"); u.Allowed || u.Limits[0].Used != 10 || u.Limits[1].Used != 10 {
		t.Errorf("used %+v after 10 units, denied %v", u.Limits[:2], !u.Allowed)
	}
}

// A client seen once takes a few hundred bytes, not the 4 kB that the server
// allocates for a stream.
func TestNewLogIsSmall(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := New(rdb, patient)
	for _, p := range []*store.Log{countedLog, summedLog, refundedLog, coarseLog} {
		take(t, s, p, "k")
		if got := rdb.MemoryUsage(t.Context(), s.logKey(p, "k")).Val(); got > 1000 {
			t.Errorf("%s: a log of one entry takes %d bytes by the server's estimate, want at most 1000", p.Policy, got)
		}
	}
	if keys := rdb.Keys(t.Context(), "*}").Val(); len(keys) != 0 {
		t.Errorf("scratch keys left: %v", keys)
	}
}

func TestKeys(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := New(rdb, patient)
	form := regexp.MustCompile(`^streamlimit:\{[A-Za-z0-9_-]{22}\}:(counted:c1m|summed:s1m)$`)
	for _, p := range []*store.Log{countedLog, summedLog} {
		for _, key := range []string{"alice", "{x}", "secret-token"} {
			take(t, s, p, key)
		}
	}
	for _, key := range rdb.Keys(t.Context(), "*").Val() {
		if !form.MatchString(key) {
			t.Errorf("key %q, want the form %v", key, form)
		}
	}
}

func TestNewPanicsWithAdvice(t *testing.T) {
	var forgotten *redis.Client
	for want, wrong := range map[string]func(){
		"redis.NewUniversalClient": func() { New(nil) },
		"redisstream.Open":         func() { New(forgotten) },
		"brace":                    func() { WithPrefix("a{b") },
		"at least 1ms":             func() { WithTimeout(0) },
		"slog.Default()":           func() { WithLogger(nil) },
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.HasPrefix(got, "redisstream: ") || !strings.Contains(got, want) {
					t.Errorf("panic %q, want one from redisstream that says %q", got, want)
				}
			}()
			wrong()
		}()
	}
}

// A caller whose own deadline is over says nothing about the server. The failure
// mode decides for it.
func TestCallersDeadlineSaysNothing(t *testing.T) {
	limiter := core.New(New(redistest.Start(t).Client(), WithTimeout(time.Minute)), core.WithFailureMode(core.FailOpen))
	defer limiter.Close()
	p := core.NewPolicy("p", core.PerHour(1_000_000))
	if _, err := limiter.Allow(t.Context(), p, "k"); err != nil {
		t.Fatal(err)
	}
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 300 {
				ctx, cancel := context.WithTimeout(t.Context(), rand.N(time.Millisecond))
				_, err := limiter.Allow(ctx, p, "k")
				cancel()
				if err != nil && !errors.Is(err, context.DeadlineExceeded) { // before it began
					t.Error(err)
				}
			}
		})
	}
	callers.Wait()
	if h := limiter.Health(); h.Down != nil || h.Overloaded != 0 {
		t.Errorf("%+v, want no server down", h)
	}
}
