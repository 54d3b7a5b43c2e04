package main

import (
	"net"
	"net/http"
	"time"

	ratelimit "github.com/JGLTechnologies/gin-rate-limit"
	"github.com/gin-gonic/gin"
	"github.com/go-chi/httprate"
	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/limiter"
	fiber3 "github.com/gofiber/fiber/v3"
	limiter3 "github.com/gofiber/fiber/v3/middleware/limiter"
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	echo5 "github.com/labstack/echo/v5"
	middleware5 "github.com/labstack/echo/v5/middleware"
	ulule "github.com/ulule/limiter/v3"
	ululegin "github.com/ulule/limiter/v3/drivers/middleware/gin"
	ululememory "github.com/ulule/limiter/v3/drivers/store/memory"
	"github.com/valyala/fasthttp"
	"golang.org/x/time/rate"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/httplimit"
	"github.com/streamlimit/streamlimit/echolimit"
	echolimit5 "github.com/streamlimit/streamlimit/echolimit/v5"
	"github.com/streamlimit/streamlimit/fiberlimit"
	fiberlimit3 "github.com/streamlimit/streamlimit/fiberlimit/v3"
	"github.com/streamlimit/streamlimit/ginlimit"
)

// variant is a service on a framework, with or without a limiter.
type variant struct {
	name string
	make func() func()
}

// framework is a service without a limiter, with streamlimit's, and with those
// that are usual there.
type framework struct {
	name        string
	plain, ours func() func()
	usual       []variant
	ourName     string
}

func policy() *core.Policy {
	return core.NewPolicy("benchmark", core.Per(inMemory.max, inMemory.window))
}

// frameworks are asked without a network between.
func frameworks(local *core.Limiter) []framework {
	return []framework{
		{
			name: "Gin", ourName: "ginlimit",
			plain: func() func() { return throughGin() },
			ours:  func() func() { return throughGin(ginlimit.New(local, policy())) },
			usual: []variant{
				{"ulule/limiter", func() func() {
					return throughGin(ululegin.NewMiddleware(ulule.New(ululememory.NewStore(), ulule.Rate{Limit: inMemory.max, Period: inMemory.window})))
				}},
				{"gin-rate-limit", func() func() {
					store := ratelimit.InMemoryStore(&ratelimit.InMemoryOptions{Rate: inMemory.window, Limit: uint(inMemory.max)})
					return throughGin(ratelimit.RateLimiter(store, &ratelimit.Options{
						KeyFunc: func(c *gin.Context) string { return c.ClientIP() },
						ErrorHandler: func(c *gin.Context, info ratelimit.Info) {
							c.String(http.StatusTooManyRequests, "Too many requests. Try again in %v", time.Until(info.ResetTime))
						},
					}))
				}},
			},
		},
		{
			name: "Echo", ourName: "echolimit",
			plain: func() func() { return throughEcho() },
			ours:  func() func() { return throughEcho(echolimit.New(local, policy())) },
			usual: []variant{{"Echo's limiter", func() func() {
				return throughEcho(middleware.RateLimiter(middleware.NewRateLimiterMemoryStoreWithConfig(middleware.RateLimiterMemoryStoreConfig{
					Rate: rate.Limit(float64(inMemory.max) / inMemory.window.Seconds()), Burst: int(inMemory.max),
				})))
			}}},
		},
		{
			name: "Echo 5", ourName: "echolimit/v5",
			plain: func() func() { return throughEcho5() },
			ours:  func() func() { return throughEcho5(echolimit5.New(local, policy())) },
			usual: []variant{{"Echo 5's limiter", func() func() {
				return throughEcho5(middleware5.RateLimiter(middleware5.NewRateLimiterMemoryStoreWithConfig(middleware5.RateLimiterMemoryStoreConfig{
					Rate: float64(inMemory.max) / inMemory.window.Seconds(), Burst: int(inMemory.max),
				})))
			}}},
		},
		{
			name: "Fiber", ourName: "fiberlimit",
			plain: func() func() { return handleFiber() },
			ours:  func() func() { return handleFiber(fiberlimit.New(local, policy())) },
			usual: []variant{{"Fiber's limiter", func() func() {
				return handleFiber(limiter.New(limiter.Config{Max: int(inMemory.max), Expiration: inMemory.window}))
			}}},
		},
		{
			name: "Fiber 3", ourName: "fiberlimit/v3",
			plain: func() func() { return handleFiber3() },
			ours:  func() func() { return handleFiber3(fiberlimit3.New(local, policy())) },
			usual: []variant{{"Fiber 3's limiter", func() func() {
				return handleFiber3(limiter3.New(limiter3.Config{Max: int(inMemory.max), Expiration: inMemory.window}))
			}}},
		},
		{
			name: "net/http", ourName: "httplimit",
			plain: func() func() { return handle(hello) },
			ours:  func() func() { return handle(httplimit.New(local, policy())(hello)) },
			usual: []variant{{"httprate", func() func() {
				return handle(httprate.LimitBy(int(inMemory.max), inMemory.window, byPeer)(hello))
			}}},
		},
	}
}

var hello = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) })

// clients is how many addresses the requests come from, in turn.
const clients = 1000

// handle is a request to a handler, each time of another client. A response is
// one that nobody reads, so that what is gauged is the service.
func handle(h http.Handler) func() {
	requests := make([]*http.Request, clients)
	for i := range requests {
		r, err := http.NewRequest(http.MethodGet, "/", nil)
		if err != nil {
			panic(err)
		}
		r.RemoteAddr = address(i).String()
		requests[i] = r
	}
	w := &discard{header: http.Header{}}
	i := 0
	return func() {
		clear(w.header)
		w.status = http.StatusOK
		h.ServeHTTP(w, requests[i])
		if w.status != http.StatusOK {
			panic("a request far below the limit was denied")
		}
		i = (i + 1) % clients
	}
}

// byPeer is the key that httprate uses where there is no proxy.
func byPeer(r *http.Request) (string, error) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	return httprate.CanonicalizeIP(host), err
}

func address(i int) *net.TCPAddr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, byte(i>>8), byte(i)), Port: 1234}
}

func throughGin(limit ...gin.HandlerFunc) func() {
	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	router.Use(limit...)
	router.GET("/", func(c *gin.Context) { c.String(http.StatusOK, "hello") })
	return handle(router)
}

func throughEcho(limit ...echo.MiddlewareFunc) func() {
	e := echo.New()
	e.Use(limit...)
	e.GET("/", func(c echo.Context) error { return c.String(http.StatusOK, "hello") })
	return handle(e)
}

func throughEcho5(limit ...echo5.MiddlewareFunc) func() {
	e := echo5.New()
	e.Use(limit...)
	e.GET("/", func(c *echo5.Context) error { return c.String(http.StatusOK, "hello") })
	return handle(e)
}

func handleFiber(limit ...fiber.Handler) func() {
	app := fiber.New()
	for _, l := range limit {
		app.Use(l)
	}
	app.Get("/", func(c *fiber.Ctx) error { return c.SendString("hello") })
	return handleFast(app.Handler())
}

func handleFiber3(limit ...fiber3.Handler) func() {
	app := fiber3.New()
	for _, l := range limit {
		app.Use(l)
	}
	app.Get("/", func(c fiber3.Ctx) error { return c.SendString("hello") })
	return handleFast(app.Handler())
}

// handleFast is handle for Fiber.
func handleFast(handler fasthttp.RequestHandler) func() {
	c := &fasthttp.RequestCtx{}
	addresses := make([]*net.TCPAddr, clients)
	for i := range addresses {
		addresses[i] = address(i)
	}
	i := 0
	return func() {
		c.Request.Reset()
		c.Response.Reset()
		c.ResetUserValues()
		c.SetRemoteAddr(addresses[i])
		c.Request.SetRequestURI("/")
		handler(c)
		if c.Response.StatusCode() != fiber.StatusOK {
			panic("a request far below the limit was denied")
		}
		i = (i + 1) % clients
	}
}

// measureRequests gauges whole requests through each framework.
func measureRequests(b *bench) error {
	t := table{Name: "request", Title: "A request through a framework, limited by this process's memory"}
	local := core.New(core.NewMemory())
	defer local.Close()
	for _, f := range frameworks(local) {
		b.step("Requests: %s", f.name)
		all := []gauged{{f.name + " alone", f.plain()}, {f.name + ", " + f.ourName, f.ours()}}
		for _, u := range f.usual {
			all = append(all, gauged{f.name + ", " + u.name, u.make()})
		}
		ns := alternate(b.pick(3, 7), time.Duration(b.pick(30, 100))*time.Millisecond, &t, "", all)
		for _, u := range f.usual {
			c := contest{f.name + ", " + f.ourName, f.name + ", " + u.name}
			b.contests = append(b.contests, c)
			t.keep("ns", c.usual, ns.ratio(c.ours, c.usual))
		}
	}
	b.add(t)
	return nil
}

// contest is a pair of rows of the requests' table.
type contest struct{ ours, usual string }
