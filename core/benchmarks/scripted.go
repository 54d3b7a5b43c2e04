package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	ratelimit "github.com/JGLTechnologies/gin-rate-limit"
	"github.com/gin-gonic/gin"
	"github.com/go-redis/redis_rate/v10"
	"github.com/gomodule/redigo/redis"
	"github.com/sethvargo/go-redisstore"
	"github.com/ulule/limiter/v3"
	ululeredis "github.com/ulule/limiter/v3/drivers/store/redis"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
)

func makeUs(l *link, q quota) (allow, error) {
	limiter := newLimiter(l)
	policy := core.NewPolicy("api", core.Per(q.max, q.window))
	return func(ctx context.Context, key string) (bool, error) {
		return answer(limiter.Allow(ctx, policy, key))
	}, nil
}

func newLimiter(l *link) *core.Limiter {
	limiter := core.New(redisstream.New(l.rdb, redisstream.WithTimeout(3*time.Second)))
	l.onClose(func() { _ = limiter.Close() })
	return limiter
}

// answer counts a decision that another store made as none.
func answer(d core.Decision, err error) (bool, error) {
	if err == nil && (d.Source == core.SourceFallback || d.Source == core.SourceNone) {
		err = fmt.Errorf("decided without Redis: %v", d.Source)
	}
	return d.Allowed, err
}

func makeRedisRate(l *link, q quota) (allow, error) {
	limiter := redis_rate.NewLimiter(l.rdb)
	limit := redis_rate.Limit{Rate: int(q.max), Burst: int(q.max), Period: q.window}
	return func(ctx context.Context, key string) (bool, error) {
		r, err := limiter.Allow(ctx, key, limit)
		if err != nil {
			return false, err
		}
		return r.Allowed > 0, nil
	}, nil
}

func makeUlule(l *link, q quota) (allow, error) {
	store, err := ululeredis.NewStore(l.rdb)
	if err != nil {
		return nil, err
	}
	instance := limiter.New(store, limiter.Rate{Limit: q.max, Period: q.window})
	return func(ctx context.Context, key string) (bool, error) {
		c, err := instance.Get(ctx, key)
		return err == nil && !c.Reached, err
	}, nil
}

func makeGoLimiter(l *link, q quota) (allow, error) {
	size := l.rdb.Options().PoolSize
	pool := &redis.Pool{MaxActive: size, MaxIdle: size, Wait: true, Dial: func() (redis.Conn, error) {
		return redis.Dial("tcp", l.addr, redis.DialNetDial(func(network, addr string) (net.Conn, error) {
			return l.dial(context.Background(), network, addr)
		}))
	}}
	store, err := redisstore.NewWithPool(&redisstore.Config{Tokens: uint64(q.max), Interval: q.window}, pool)
	if err != nil {
		return nil, err
	}
	l.onClose(func() { _ = store.Close(context.Background()) })
	return func(ctx context.Context, key string) (bool, error) {
		_, _, _, ok, err := store.Take(ctx, "go-limiter:"+key)
		return ok, err
	}, nil
}

func makeGinRateLimit(l *link, q quota) (allow, error) {
	store := ratelimit.RedisStore(&ratelimit.RedisOptions{Rate: q.window, Limit: uint(q.max), RedisClient: l.rdb})
	request, err := http.NewRequest(http.MethodGet, "/", nil)
	return func(_ context.Context, key string) (bool, error) {
		return !store.Limit("gin-rate-limit:"+key, &gin.Context{Request: request}).RateLimited, nil
	}, err
}
