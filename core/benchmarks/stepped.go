package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-chi/httprate"
	httprateredis "github.com/go-chi/httprate-redis"
	"github.com/gofiber/fiber/v2"
	fiberlimiter "github.com/gofiber/fiber/v2/middleware/limiter"
	"github.com/gofiber/fiber/v2/utils"
	fiber3 "github.com/gofiber/fiber/v3"
	fiber3limiter "github.com/gofiber/fiber/v3/middleware/limiter"
	fiberredis "github.com/gofiber/storage/redis/v3"
	"github.com/redis/go-redis/v9"
	"github.com/throttled/throttled/v2"
	goredisstore "github.com/throttled/throttled/v2/store/goredisstore.v9"
	"github.com/valyala/fasthttp"
)

func makeThrottled(l *link, q quota) (allow, error) {
	store, err := goredisstore.NewCtx(l.rdb, "throttled:")
	if err != nil {
		return nil, err
	}
	limiter, err := throttled.NewGCRARateLimiterCtx(store, throttled.RateQuota{
		MaxRate: throttled.PerDuration(int(q.max), q.window), MaxBurst: int(q.max) - 1,
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, key string) (bool, error) {
		limited, _, err := limiter.RateLimitCtx(ctx, key, 1)
		return err == nil && !limited, err
	}, nil
}

func makeHTTPRate(l *link, q quota) (allow, error) {
	limiter := httprate.NewRateLimiter(int(q.max), q.window,
		httprateredis.WithRedisLimitCounter(&httprateredis.Config{Client: l.rdb, WindowLength: q.window}))
	return throughHTTP(limiter), nil
}

// throughHTTP asks a limiter that wants a request and a response.
func throughHTTP(limiter *httprate.RateLimiter) allow {
	pool := sync.Pool{New: func() any { return &discard{header: http.Header{}} }}
	request, err := http.NewRequest(http.MethodGet, "/", nil)
	if err != nil {
		panic(err)
	}
	return func(_ context.Context, key string) (bool, error) {
		w := pool.Get().(*discard)
		defer pool.Put(w)
		w.status = 0
		clear(w.header)
		limited := limiter.OnLimit(w, request, key)
		if w.status == http.StatusPreconditionRequired { // its answer to errors
			return false, fmt.Errorf("httprate: %d", w.status)
		}
		return !limited, nil
	}
}

// discard is a response that nobody reads.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

func makeFiber(l *link, q quota) (allow, error) {
	return throughFiber(fiberlimiter.Config{
		Max: int(q.max), Expiration: q.window, Storage: fiberredis.NewFromConnection(l.rdb),
	}), nil
}

// throughFiber asks Fiber's limiter, which is a handler and nothing else.
func throughFiber(cfg fiberlimiter.Config) allow {
	const header = "X-Key"
	cfg.KeyGenerator = func(c *fiber.Ctx) string { return "fiber:" + utils.CopyString(c.Get(header)) }
	app := fiber.New()
	app.Use(fiberlimiter.New(cfg))
	app.Get("/", func(c *fiber.Ctx) error { return c.SendStatus(fiber.StatusOK) })
	handler := app.Handler()
	pool := sync.Pool{New: func() any { return &fasthttp.RequestCtx{} }}
	return func(_ context.Context, key string) (bool, error) {
		c := pool.Get().(*fasthttp.RequestCtx)
		defer pool.Put(c)
		c.Request.Reset()
		c.Response.Reset()
		c.ResetUserValues()
		c.Request.SetRequestURI("/")
		c.Request.Header.Set(header, key)
		handler(c)
		switch status := c.Response.StatusCode(); status {
		case fiber.StatusOK, fiber.StatusTooManyRequests:
			return status == fiber.StatusOK, nil
		default:
			return false, fmt.Errorf("fiber: status %d", status)
		}
	}
}

func makeFiber3(l *link, q quota) (allow, error) {
	return throughFiber3(fiber3limiter.Config{
		Max: int(q.max), Expiration: q.window, Storage: fiberredis.NewFromConnection(l.rdb),
	}), nil
}

// throughFiber3 asks Fiber 3's limiter, which is a handler and nothing else.
func throughFiber3(cfg fiber3limiter.Config) allow {
	const header = "X-Key"
	cfg.KeyGenerator = func(c fiber3.Ctx) string { return "fiber3:" + strings.Clone(c.Get(header)) }
	app := fiber3.New()
	app.Use(fiber3limiter.New(cfg))
	app.Get("/", func(c fiber3.Ctx) error { return c.SendStatus(fiber3.StatusOK) })
	handler := app.Handler()
	pool := sync.Pool{New: func() any { return &fasthttp.RequestCtx{} }}
	return func(_ context.Context, key string) (bool, error) {
		c := pool.Get().(*fasthttp.RequestCtx)
		defer pool.Put(c)
		c.Request.Reset()
		c.Response.Reset()
		c.ResetUserValues()
		c.Request.SetRequestURI("/")
		c.Request.Header.Set(header, key)
		handler(c)
		switch status := c.Response.StatusCode(); status {
		case fiber3.StatusOK, fiber3.StatusTooManyRequests:
			return status == fiber3.StatusOK, nil
		default:
			return false, fmt.Errorf("fiber3: status %d", status)
		}
	}
}

// makeTutorial is the limit of tutorials on streams, command by command.
func makeTutorial(l *link, q quota) (allow, error) {
	return func(ctx context.Context, key string) (bool, error) {
		key = "tutorial:" + key
		if err := l.rdb.XAdd(ctx, &redis.XAddArgs{Stream: key, Values: []string{"path", "/"}}).Err(); err != nil {
			return false, err
		}
		cut := strconv.FormatInt(time.Now().Add(-q.window).UnixMilli()+1, 10)
		if err := l.rdb.XTrimMinIDApprox(ctx, key, cut, 0).Err(); err != nil {
			return false, err
		}
		n, err := l.rdb.XLen(ctx, key).Result()
		return err == nil && n <= q.max, err
	}, nil
}
