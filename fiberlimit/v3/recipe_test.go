package fiberlimit_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/cors"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/fiberlimit/v3"
)

// CORS comes first, outside of the limit. Preflights are then not counted, and refusals
// have its fields too, without which scripts do not see their status. Scripts see the
// fields of the limit only if ExposeHeaders lists them.
func ExampleNew_cors() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	app := fiber.New()
	app.Use(cors.New(cors.Config{
		AllowOrigins:  []string{"https://shop.example"},
		ExposeHeaders: []string{"RateLimit", "RateLimit-Policy", "Retry-After"},
	}))
	app.Use(fiberlimit.New(limiter, core.NewPolicy("api", core.PerHour(1))))
	app.Get("/", hello)

	for _, method := range []string{"OPTIONS", "GET", "OPTIONS", "GET"} {
		r := httptest.NewRequest(method, "/", nil)
		r.Header.Set("Origin", "https://shop.example")
		r.Header.Set("Access-Control-Request-Method", http.MethodGet)
		resp, err := app.Test(r)
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
		fmt.Println(method, resp.StatusCode, resp.Header.Get("Access-Control-Allow-Origin"))
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
	authenticate := func(c fiber.Ctx) error {
		user, plan, _ := strings.Cut(c.Get("X-Token"), "/") // yours verifies a token
		c.Locals("user", strings.Clone(user))               // Fiber reuses the memory of c.Get
		c.Locals("plan", strings.Clone(plan))
		return c.Next()
	}
	user := fiberlimit.ByFunc("user", func(c fiber.Ctx) (string, error) { return fiber.Locals[string](c, "user"), nil })

	app := fiber.New()
	app.Use(authenticate, fiberlimit.New(limiter, anonymous,
		fiberlimit.WithKey(fiberlimit.ByFirst(user, fiberlimit.ByAddress())),
		fiberlimit.WithTier(func(c fiber.Ctx) *core.Policy { return plans[fiber.Locals[string](c, "plan")] })))
	app.Get("/", func(c fiber.Ctx) error {
		d, _ := fiberlimit.FromContext(c)
		return c.SendString(d.Key)
	})

	fmt.Println(try(app, "/", "X-Token", "ann/pro"))
	fmt.Println(try(app, "/", "X-Token", "bob/free"))
	fmt.Println(try(app, "/"))
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

	answer := func(c fiber.Ctx, p core.Problem) error {
		if p.RetryAfter > 0 {
			c.Set("Retry-After", strconv.FormatInt(p.RetryAfter, 10))
		}
		return c.Status(p.Status).JSON(fiber.Map{"error": p.Detail, "limits": p.Violated})
	}
	refusals := []fiberlimit.Option{
		fiberlimit.WithDenied(func(c fiber.Ctx, _ core.Decision) error {
			return answer(c, core.ProblemFor(core.Denied(fiberlimit.Decisions(c))))
		}),
		fiberlimit.WithErrorHandler(func(c fiber.Ctx, err error) error { return answer(c, core.ProblemFor(err)) }),
	}

	app := fiber.New()
	byKey := fiberlimit.WithKey(fiberlimit.ByHeader("X-API-Key"))
	app.Get("/", fiberlimit.New(limiter, search, append(refusals, byKey)...), hello)

	fmt.Println(try(app, "/", "X-API-Key", "alice's"))
	fmt.Println(try(app, "/", "X-API-Key", "alice's"))
	fmt.Println(get(app, "/").Code)
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

	app := fiber.New()
	app.Get("/export", fiberlimit.New(limiter, exports, fiberlimit.WithPolicy(hourly, fiberlimit.ByAddress())), func(c fiber.Ctx) error {
		if c.Query("slow") != "" {
			try(app, "/export") // the client's next request, while this one is in flight
		}
		return c.SendString("done")
	})

	try(app, "/export?slow=1")
	try(app, "/export")
	// Output:
	// 429 "exports";r=0, "hourly";r=2;t=3600
	// 200 "exports";r=0, "hourly";r=2;t=3600
	// 200 "exports";r=0, "hourly";r=1;t=3600
}

// A stream holds its slot until it has ended. Then it is charged for what it has used.
func ExampleStreamWriter() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	streams := core.NewConcurrency("streams", 5, 30*time.Second)
	words := core.NewPolicy("words", core.PerHour(1000), core.VariableCost(), core.Refundable(0))

	app := fiber.New()
	app.Get("/", fiberlimit.New(limiter, streams,
		fiberlimit.WithPolicy(words, fiberlimit.ByAddress()),
		// No answer is longer than 600 words, and most are shorter.
		fiberlimit.WithCost(func(fiber.Ctx) (int64, error) { return 600, nil }),
		fiberlimit.WithSettle(func(c fiber.Ctx, _ int) int64 {
			if used, ok := c.Locals("used").(*int64); ok {
				return *used
			}
			return -1 // keeps the estimate: the handler has not set used
		})), func(c fiber.Ctx) error {
		used := new(int64)
		c.Locals("used", used)
		fiberlimit.StreamWriter(c, func(w *bufio.Writer) {
			for range 150 {
				if _, err := w.WriteString("word "); err != nil || w.Flush() != nil {
					return // the client has gone
				}
				*used++
			}
		})
		return nil
	})

	fmt.Println(len(try(app, "/")), "bytes")
	d, err := limiter.Peek(context.Background(), words, "192.0.2.1")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(d.Remaining, "words left")
	// Output:
	// 200 "streams";r=4, "words";r=400;t=3600
	// 749 bytes
	// 850 words left
}

// A test of your own handlers needs neither Redis nor time: it gives the memory store a
// clock. Tests in a bubble of testing/synctest need no clock.
func ExampleNew_testing() {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	limiter := core.New(core.NewMemory(core.WithClock(func() time.Time { return now })))
	defer limiter.Close()

	app := fiber.New() // yours, with the test's limiter
	app.Use(fiberlimit.New(limiter, core.NewPolicy("api", core.PerHour(1))))
	app.Get("/", hello)

	try(app, "/")
	now = now.Add(time.Hour - time.Millisecond)
	try(app, "/")
	now = now.Add(time.Millisecond)
	try(app, "/")
	// Output:
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=1
	// 200 "api";r=0;t=3600
}
