package main

import (
	"context"
	"strconv"
	"sync"
	"time"

	ratelimit "github.com/JGLTechnologies/gin-rate-limit"
	"github.com/go-chi/httprate"
	"github.com/gofiber/fiber/v2/middleware/limiter"
	limiter3 "github.com/gofiber/fiber/v3/middleware/limiter"
	"github.com/labstack/echo/v4/middleware"
	middleware5 "github.com/labstack/echo/v5/middleware"
	"github.com/sethvargo/go-limiter/memorystore"
	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/memstore"
	ulule "github.com/ulule/limiter/v3"
	ululememory "github.com/ulule/limiter/v3/drivers/store/memory"
	"golang.org/x/time/rate"

	"github.com/streamlimit/streamlimit/core"
)

// memoryPeers are limiters in this process. Each makes a decision on a key, and
// must admit it.
var memoryPeers = []struct {
	name string
	make func(q quota) (func(key string) bool, func())
}{
	{us, func(q quota) (func(string) bool, func()) {
		limiter := core.New(core.NewMemory())
		policy := core.NewPolicy("benchmark", core.Per(q.max, q.window))
		return func(key string) bool {
			d, err := limiter.Allow(context.Background(), policy, key)
			return err == nil && d.Allowed
		}, func() { _ = limiter.Close() }
	}},
	{"x/time/rate in a map", func(q quota) (func(string) bool, func()) {
		var mu sync.Mutex
		limiters := map[string]*rate.Limiter{}
		return func(key string) bool {
			mu.Lock()
			l, ok := limiters[key]
			if !ok {
				l = rate.NewLimiter(rate.Limit(float64(q.max)/q.window.Seconds()), int(q.max))
				limiters[key] = l
			}
			mu.Unlock()
			return l.Allow()
		}, func() {}
	}},
	{"ulule/limiter", func(q quota) (func(string) bool, func()) {
		l := ulule.New(ululememory.NewStore(), ulule.Rate{Limit: q.max, Period: q.window})
		return func(key string) bool {
			c, err := l.Get(context.Background(), key)
			return err == nil && !c.Reached
		}, func() {}
	}},
	{"throttled", func(q quota) (func(string) bool, func()) {
		store, err := memstore.NewCtx(65536)
		if err != nil {
			panic(err)
		}
		l, err := throttled.NewGCRARateLimiterCtx(store, throttled.RateQuota{MaxRate: throttled.PerDuration(int(q.max), q.window), MaxBurst: int(q.max) - 1})
		if err != nil {
			panic(err)
		}
		return func(key string) bool {
			limited, _, err := l.RateLimitCtx(context.Background(), key, 1)
			return err == nil && !limited
		}, func() {}
	}},
	{"httprate", func(q quota) (func(string) bool, func()) {
		ask := throughHTTP(httprate.NewRateLimiter(int(q.max), q.window))
		return func(key string) bool {
			ok, err := ask(context.Background(), key)
			return ok && err == nil
		}, func() {}
	}},
	{"go-limiter", func(q quota) (func(string) bool, func()) {
		store, err := memorystore.New(&memorystore.Config{Tokens: uint64(q.max), Interval: q.window})
		if err != nil {
			panic(err)
		}
		return func(key string) bool {
			_, _, _, ok, err := store.Take(context.Background(), key)
			return ok && err == nil
		}, func() { _ = store.Close(context.Background()) }
	}},
	{"gin-rate-limit", func(q quota) (func(string) bool, func()) {
		store := ratelimit.InMemoryStore(&ratelimit.InMemoryOptions{Rate: q.window, Limit: uint(q.max)})
		return func(key string) bool { return !store.Limit(key, nil).RateLimited }, func() {}
	}},
	{"Echo", func(q quota) (func(string) bool, func()) {
		store := middleware.NewRateLimiterMemoryStoreWithConfig(middleware.RateLimiterMemoryStoreConfig{
			Rate: rate.Limit(float64(q.max) / q.window.Seconds()), Burst: int(q.max),
		})
		return func(key string) bool {
			ok, err := store.Allow(key)
			return ok && err == nil
		}, func() {}
	}},
	{"Echo 5", func(q quota) (func(string) bool, func()) {
		store := middleware5.NewRateLimiterMemoryStoreWithConfig(middleware5.RateLimiterMemoryStoreConfig{
			Rate: float64(q.max) / q.window.Seconds(), Burst: int(q.max),
		})
		return func(key string) bool {
			ok, err := store.Allow(key)
			return ok && err == nil
		}, func() {}
	}},
	{"Fiber, with its request", func(q quota) (func(string) bool, func()) {
		ask := throughFiber(limiter.Config{Max: int(q.max), Expiration: q.window})
		return func(key string) bool {
			ok, err := ask(context.Background(), key)
			return ok && err == nil
		}, func() {}
	}},
	{"Fiber 3, with its request", func(q quota) (func(string) bool, func()) {
		ask := throughFiber3(limiter3.Config{Max: int(q.max), Expiration: q.window})
		return func(key string) bool {
			ok, err := ask(context.Background(), key)
			return ok && err == nil
		}, func() {}
	}},
}

// inMemory is the limit there: logs of a second are long enough to be true, and
// short enough to fit.
var inMemory = quota{max: 100_000_000, window: time.Second}

// measureDecisions gauges a decision in this process.
func measureDecisions(b *bench) error {
	t := table{Name: "decision", Title: "A decision from this process's memory", Digits: 1}
	for _, m := range []struct {
		name string
		keys int
	}{{"one key", 1}, {"10,000 keys", 10_000}} {
		b.step("Memory stores: %s", m.name)
		keys := make([]string, m.keys)
		for i := range keys {
			keys[i] = "key-" + strconv.Itoa(i)
		}
		var all []gauged
		for _, p := range memoryPeers {
			allow, end := p.make(inMemory)
			defer end()
			i := 0
			ask := func() {
				if !allow(keys[i]) {
					panic(p.name + ": a request far below the limit was denied")
				}
				if i++; i == len(keys) {
					i = 0
				}
			}
			repeat(2*len(keys), ask)
			all = append(all, gauged{p.name, ask})
		}
		alternate(b.pick(3, 7), time.Duration(b.pick(30, 100))*time.Millisecond, &t, m.name+": ", all)
	}
	b.add(t)
	return nil
}
