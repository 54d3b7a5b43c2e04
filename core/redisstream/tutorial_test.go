package redisstream

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// tutorial is a rate limit as tutorials write it: each request is added to the
// client's stream, old ones are trimmed, and the length is compared, as separate
// commands. Each test below shows one of its mistakes, and that the store does
// not make it.
type tutorial struct {
	rdb    *redis.Client
	stream string
	limit  int64
	window time.Duration
	exact  bool // trim with = where the tutorial has ~
}

func (n tutorial) allow(ctx context.Context) (bool, error) {
	if err := n.rdb.XAdd(ctx, &redis.XAddArgs{Stream: n.stream, Values: []string{"path", "/"}}).Err(); err != nil {
		return false, err
	}
	cut := strconv.FormatInt(time.Now().Add(-n.window).UnixMilli()+1, 10)
	var err error
	if n.exact {
		err = n.rdb.XTrimMinID(ctx, n.stream, cut).Err()
	} else {
		err = n.rdb.XTrimMinIDApprox(ctx, n.stream, cut, 0).Err()
	}
	if err != nil {
		return false, err
	}
	count, err := n.rdb.XLen(ctx, n.stream).Result()
	return count <= n.limit, err
}

// both starts a server with the tutorial's limit and the store's on it.
func both(t *testing.T, limit int64, window time.Duration) (tutorial, *core.Limiter, *core.Policy) {
	rdb := redistest.Start(t).Client()
	limiter := core.New(New(rdb, patient))
	return tutorial{rdb: rdb, stream: "tutorial", limit: limit, window: window, exact: true}, limiter, core.NewPolicy("p", core.Per(limit, window))
}

func (n tutorial) mustAllow(t *testing.T) bool {
	t.Helper()
	ok, err := n.allow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func mustAllow(t *testing.T, l *core.Limiter, p *core.Policy) core.Decision {
	t.Helper()
	d, err := l.Allow(t.Context(), p, "client")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Three commands are not one step: concurrent requests see each other's entries
// half-way, and a limit of 10 admits fewer than 10.
func TestTutorialNotAtomic(t *testing.T) {
	naive, limiter, policy := both(t, 10, time.Minute)
	crowd := func(allow func() (bool, error)) int64 {
		var admitted atomic.Int64
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() {
				ok, err := allow()
				if err != nil {
					t.Error(err)
				}
				if ok {
					admitted.Add(1)
				}
			})
		}
		all.Wait()
		return admitted.Load()
	}
	wrong := false
	for i := 0; i < 50 && !wrong; i++ {
		naive.stream = "tutorial-" + strconv.Itoa(i)
		wrong = crowd(func() (bool, error) { return naive.allow(t.Context()) }) != 10
	}
	if !wrong {
		t.Error("the tutorial's commands admitted exactly 10 of 200 in 50 rounds; they are expected not to be atomic")
	}
	for i := range 20 {
		key := "client-" + strconv.Itoa(i)
		got := crowd(func() (bool, error) {
			d, err := limiter.Allow(t.Context(), policy, key)
			return d.Allowed, err
		})
		if got != 10 {
			t.Fatalf("round %d: the store admitted %d of 200, want 10", i, got)
		}
	}
}

// ~ trims whole nodes of 100 entries only, so that the length counts requests
// that left the window long ago.
func TestTutorialApproximateTrim(t *testing.T) {
	naive, limiter, policy := both(t, 10, 100*time.Millisecond)
	naive.exact = false
	for range 10 {
		if !naive.mustAllow(t) || !mustAllow(t, limiter, policy).Allowed {
			t.Fatal("the first 10 were not admitted")
		}
	}
	time.Sleep(150 * time.Millisecond)
	if naive.mustAllow(t) {
		t.Error("the tutorial's ~ trimmed a node of 10 entries; it is expected to wait for 100")
	}
	if d := mustAllow(t, limiter, policy); !d.Allowed || d.Remaining != 9 {
		t.Errorf("a window later the store still counts old requests: %+v", d)
	}
}

// A denied request that is added too keeps a client out that keeps trying.
func TestTutorialCountsDenied(t *testing.T) {
	naive, limiter, policy := both(t, 5, time.Second)
	naiveAfter, storeAfter := 0, 0
	start := time.Now()
	for time.Since(start) < 2500*time.Millisecond {
		late := time.Since(start) > 1100*time.Millisecond
		if naive.mustAllow(t) && late {
			naiveAfter++
		}
		if mustAllow(t, limiter, policy).Allowed && late {
			storeAfter++
		}
		time.Sleep(20 * time.Millisecond)
	}
	if naiveAfter > 0 {
		t.Errorf("the tutorial let a client that keeps trying in %d times; it is expected never to", naiveAfter)
	}
	if storeAfter == 0 {
		t.Error("the store never let a client that keeps trying in again")
	}
}

// Two routes with different windows on one stream: the shorter window trims the
// log of the longer one.
func TestTutorialSharedStream(t *testing.T) {
	long, limiter, minute := both(t, 5, time.Minute)
	short := long
	short.window, short.limit = 50*time.Millisecond, 5
	second := core.NewPolicy("p", core.Per(5, 50*time.Millisecond)) // the same name, even
	for range 5 {
		long.mustAllow(t)
		mustAllow(t, limiter, minute)
	}
	time.Sleep(100 * time.Millisecond)
	short.mustAllow(t)
	mustAllow(t, limiter, second)
	if !long.mustAllow(t) {
		t.Error("the tutorial's shorter window left the longer one's log alone; it is expected to trim it")
	}
	if d := mustAllow(t, limiter, minute); d.Allowed {
		t.Errorf("the store's shorter window trimmed the log of the longer one: %+v", d)
	}
}

// A stream without a time to live stays for good.
func TestTutorialNeverExpires(t *testing.T) {
	naive, limiter, policy := both(t, 5, 500*time.Millisecond)
	several := core.NewPolicy("several", core.Per(5, 200*time.Millisecond), core.Per(9, 500*time.Millisecond))
	naive.mustAllow(t)
	mustAllow(t, limiter, policy)
	mustAllow(t, limiter, several)
	registry := DefaultPrefix + logsSuffix // which ends a minute after the last log
	for _, key := range naive.rdb.Keys(t.Context(), "*").Val() {
		ttl := naive.rdb.PTTL(t.Context(), key).Val()
		if key == naive.stream && ttl != -1 {
			t.Errorf("the tutorial's stream lives for %v; it is expected to live for good", ttl)
		}
		most := time.Second
		if key == registry {
			most += time.Minute
		}
		if key != naive.stream && (ttl <= 0 || ttl > most) {
			t.Errorf("the store's key %s lives for %v, want at most two windows", key, ttl)
		}
	}
	time.Sleep(1100 * time.Millisecond)
	keys := slices.DeleteFunc(naive.rdb.Keys(t.Context(), "*").Val(), func(key string) bool { return key == registry })
	if len(keys) != 1 || keys[0] != naive.stream {
		t.Errorf("keys after two windows: %v, want the tutorial's only", keys)
	}
}
