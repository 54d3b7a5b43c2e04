package ginlimit_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/ginlimit"
)

// CORS comes first, outside of the limit. Preflights are then not counted, and refusals
// have its fields too, without which scripts do not see their status. Scripts see the
// fields of the limit only if Access-Control-Expose-Headers lists them.
func ExampleNew_cors() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	cors := func(c *gin.Context) {
		c.Header("Access-Control-Allow-Origin", "https://shop.example")
		c.Header("Access-Control-Expose-Headers", "RateLimit, RateLimit-Policy, Retry-After")
		if c.Request.Method == http.MethodOptions {
			c.AbortWithStatus(http.StatusNoContent)
		}
	}

	router := gin.New()
	router.Use(cors, ginlimit.New(limiter, core.NewPolicy("api", core.PerHour(1))))
	router.GET("/", hello)

	for _, method := range []string{"OPTIONS", "GET", "OPTIONS", "GET"} {
		w := httptest.NewRecorder()
		router.ServeHTTP(w, httptest.NewRequest(method, "/", nil))
		fmt.Println(method, w.Code, w.Header().Get("Access-Control-Allow-Origin"))
	}
	// Output:
	// OPTIONS 204 https://shop.example
	// GET 200 https://shop.example
	// OPTIONS 204 https://shop.example
	// GET 429 https://shop.example
}

// Users are counted by their ID, each under the policy of their plan. Clients without an
// account are counted by address, under the policy that New has.
func ExampleWithTier_plan() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	anonymous := core.NewPolicy("anonymous", core.PerHour(10))
	plans := map[string]*core.Policy{
		"free": core.NewPolicy("free", core.PerHour(100)),
		"pro":  core.NewPolicy("pro", core.PerHour(1000)),
	}
	authenticate := func(c *gin.Context) {
		if user, plan, ok := strings.Cut(c.GetHeader("X-Token"), "/"); ok { // yours verifies a token
			c.Set("user", user)
			c.Set("plan", plan)
		}
	}
	user := ginlimit.ByFunc("user", func(c *gin.Context) (string, error) { return c.GetString("user"), nil })

	router := gin.New()
	router.Use(authenticate, ginlimit.New(limiter, anonymous,
		ginlimit.WithKey(ginlimit.ByFirst(user, ginlimit.ByAddress())),
		ginlimit.WithTier(func(c *gin.Context) *core.Policy { return plans[c.GetString("plan")] })))
	router.GET("/", func(c *gin.Context) {
		d, _ := ginlimit.FromContext(c)
		c.String(http.StatusOK, d.Key)
	})

	fmt.Println(try(router, "/", "X-Token", "ann/pro"))
	fmt.Println(try(router, "/", "X-Token", "bob/free"))
	fmt.Println(try(router, "/"))
	// Output:
	// 200 "pro";r=999;t=3600
	// user=ann
	// 200 "free";r=99;t=3600
	// user=bob
	// 200 "anonymous";r=9;t=3600
	// 192.0.2.1
}

// One format for every refusal: 429, and 403 of a blocked client, by WithDenied; 400, 401
// and 503 by WithErrorHandler.
func ExampleWithDenied_allRefusals() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	// A request can violate several limits: the client has to wait for all of them.
	search := core.NewPolicy("search", core.PerMinute(1), core.PerHour(1))

	answer := func(c *gin.Context, p core.Problem) {
		if p.RetryAfter > 0 {
			c.Header("Retry-After", strconv.FormatInt(p.RetryAfter, 10))
		}
		c.JSON(p.Status, gin.H{"error": p.Detail, "limits": p.Violated})
	}
	refusals := []ginlimit.Option{
		ginlimit.WithDenied(func(c *gin.Context, _ core.Decision) {
			answer(c, core.ProblemFor(core.Denied(ginlimit.Decisions(c))))
		}),
		ginlimit.WithErrorHandler(func(c *gin.Context, err error) { answer(c, core.ProblemFor(err)) }),
	}

	router := gin.New()
	byKey := ginlimit.WithKey(ginlimit.ByHeader("X-API-Key"))
	router.GET("/", ginlimit.New(limiter, search, append(refusals, byKey)...), hello)

	fmt.Println(try(router, "/", "X-API-Key", "alice's"))
	fmt.Println(try(router, "/", "X-API-Key", "alice's"))
	fmt.Println(get(router, "/").Code)
	// Output:
	// 200 "search";r=0;t=60, "search-hour";r=0;t=3600
	// hello
	// 429 "search";r=0;t=60, "search-hour";r=0;t=3600
	// {"error":"1 request per hour; retry in 3600s","limits":["search","search-hour"]}
	// 401
}

// A client can have one export in flight, and three an hour. A request needs room in both
// policies, and takes from neither if one of them denies it.
func ExampleNew_inFlight() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	exports := core.NewConcurrency("exports", 1, 30*time.Second)
	hourly := core.NewPolicy("hourly", core.PerHour(3))

	router := gin.New()
	router.GET("/export", ginlimit.New(limiter, exports, ginlimit.WithPolicy(hourly, ginlimit.ByAddress())), func(c *gin.Context) {
		if c.Query("slow") != "" {
			try(router, "/export") // the client's next request, while this one is in flight
		}
		c.String(http.StatusOK, "done")
	})

	try(router, "/export?slow=1")
	try(router, "/export")
	// Output:
	// 429 "exports";r=0, "hourly";r=2;t=3600
	// 200 "exports";r=0, "hourly";r=2;t=3600
	// 200 "exports";r=0, "hourly";r=1;t=3600
}

// A test of your own handlers needs neither Redis nor time: it gives the memory store a
// clock. Tests in a bubble of testing/synctest need no clock.
func ExampleNew_testing() {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	limiter := core.New(core.NewMemory(core.WithClock(func() time.Time { return now })))
	defer limiter.Close()

	router := gin.New() // yours, with the test's limiter
	router.Use(ginlimit.New(limiter, core.NewPolicy("api", core.PerHour(1))))
	router.GET("/", hello)

	try(router, "/")
	now = now.Add(time.Hour - time.Millisecond)
	try(router, "/")
	now = now.Add(time.Millisecond)
	try(router, "/")
	// Output:
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=1
	// 200 "api";r=0;t=3600
}

// From ulule/limiter: this responds as its middleware for Gin does.
//
//   - X-RateLimit-Reset is Unix time there, and seconds from now in [core.HeadersX].
//   - The body of a 429 is the text "Limit exceeded" there, and a problem document here.
//     Retry-After is new.
//   - The key is Gin's ClientIP there. Here it is the peer's address, unless
//     [core.WithTrustedProxies] names the proxies; IPv6 is counted by /64.
//   - Keys in Redis start with "limiter:" there and with "streamlimit:" here, so both can
//     use one Redis. Counts are not carried over.
//   - Windows are fixed there and slide here: at a window's boundary fewer requests pass.
//   - When Redis fails, the middleware there panics. Here the failure mode decides.
func ExampleNew_ulule() {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	limiter := core.New(core.NewMemory(core.WithClock(func() time.Time { return now }))) // yours needs no clock
	defer limiter.Close()

	unixReset := func(c *gin.Context, d core.Decision) {
		reset := now.Add(d.ResetAfter + time.Second - 1).Unix() // yours uses time.Now()
		c.Header("X-RateLimit-Reset", strconv.FormatInt(reset, 10))
	}
	router := gin.New()
	router.Use(
		ginlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)),
			ginlimit.WithHeaders(core.HeadersX),
			ginlimit.WithDenied(func(c *gin.Context, d core.Decision) {
				unixReset(c, d)
				c.String(http.StatusTooManyRequests, "Limit exceeded")
			})),
		func(c *gin.Context) {
			if d, ok := ginlimit.FromContext(c); ok {
				unixReset(c, d)
			}
		})
	router.GET("/", hello)

	for range 2 {
		w := get(router, "/")
		f := w.Header()
		fmt.Println(w.Code, f.Get("X-RateLimit-Limit"), f.Get("X-RateLimit-Remaining"), f.Get("X-RateLimit-Reset"), w.Body)
	}
	// Output:
	// 200 1 0 1767229200 hello
	// 429 1 0 1767229200 Limit exceeded
}
