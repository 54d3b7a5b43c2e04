package echolimit_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/echolimit"
)

// CORS comes first, outside of the limit. Preflights are then not counted, and refusals
// have its fields too, without which scripts do not see their status. Scripts see the
// fields of the limit only if ExposeHeaders lists them.
func ExampleNew_cors() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	e := echo.New()
	e.Use(middleware.CORSWithConfig(middleware.CORSConfig{
		AllowOrigins:  []string{"https://shop.example"},
		ExposeHeaders: []string{"RateLimit", "RateLimit-Policy", "Retry-After"},
	}))
	e.Use(echolimit.New(limiter, core.NewPolicy("api", core.PerHour(1))))
	e.GET("/", hello)

	for _, method := range []string{"OPTIONS", "GET", "OPTIONS", "GET"} {
		r := httptest.NewRequest(method, "/", nil)
		r.Header.Set("Origin", "https://shop.example")
		r.Header.Set("Access-Control-Request-Method", http.MethodGet)
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
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
	authenticate := func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			user, plan, _ := strings.Cut(c.Request().Header.Get("X-Token"), "/") // yours verifies a token
			c.Set("user", user)
			c.Set("plan", plan)
			return next(c)
		}
	}
	user := echolimit.ByFunc("user", func(c echo.Context) (string, error) { return c.Get("user").(string), nil })

	e := echo.New()
	e.Use(authenticate, echolimit.New(limiter, anonymous,
		echolimit.WithKey(echolimit.ByFirst(user, echolimit.ByAddress())),
		echolimit.WithTier(func(c echo.Context) *core.Policy { return plans[c.Get("plan").(string)] })))
	e.GET("/", func(c echo.Context) error {
		d, _ := echolimit.FromContext(c)
		return c.String(http.StatusOK, d.Key)
	})

	fmt.Println(try(e, "/", "X-Token", "ann/pro"))
	fmt.Println(try(e, "/", "X-Token", "bob/free"))
	fmt.Println(try(e, "/"))
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

	answer := func(c echo.Context, p core.Problem) error {
		if p.RetryAfter > 0 {
			c.Response().Header().Set("Retry-After", strconv.FormatInt(p.RetryAfter, 10))
		}
		return c.JSON(p.Status, map[string]any{"error": p.Detail, "limits": p.Violated})
	}
	refusals := []echolimit.Option{
		echolimit.WithDenied(func(c echo.Context, _ core.Decision) error {
			return answer(c, core.ProblemFor(core.Denied(echolimit.Decisions(c))))
		}),
		echolimit.WithErrorHandler(func(c echo.Context, err error) error { return answer(c, core.ProblemFor(err)) }),
	}

	e := echo.New()
	byKey := echolimit.WithKey(echolimit.ByHeader("X-API-Key"))
	e.GET("/", hello, echolimit.New(limiter, search, append(refusals, byKey)...))

	fmt.Println(try(e, "/", "X-API-Key", "alice's"))
	fmt.Println(try(e, "/", "X-API-Key", "alice's"))
	fmt.Println(get(e, "/").Code)
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

	e := echo.New()
	e.GET("/export", func(c echo.Context) error {
		if c.QueryParam("slow") != "" {
			try(e, "/export") // the client's next request, while this one is in flight
		}
		return c.String(http.StatusOK, "done")
	}, echolimit.New(limiter, exports, echolimit.WithPolicy(hourly, echolimit.ByAddress())))

	try(e, "/export?slow=1")
	try(e, "/export")
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

	e := echo.New() // yours, with the test's limiter
	e.Use(echolimit.New(limiter, core.NewPolicy("api", core.PerHour(1))))
	e.GET("/", hello)

	try(e, "/")
	now = now.Add(time.Hour - time.Millisecond)
	try(e, "/")
	now = now.Add(time.Millisecond)
	try(e, "/")
	// Output:
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=1
	// 200 "api";r=0;t=3600
}
