package fiberlimit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/adaptor"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/fiberlimit"
)

func ExampleNew() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	api := core.NewPolicy("api", core.PerHour(100))
	strict := core.NewPolicy("strict", core.PerHour(1))

	app := fiber.New()
	app.Use(fiberlimit.New(limiter, api))
	app.Get("/", hello)
	app.Get("/strict", fiberlimit.New(limiter, strict), hello)

	try(app, "/")
	try(app, "/strict")
	try(app, "/strict")
	// Output:
	// 200 "api";r=99;t=3600
	// 200 "api";r=98;t=3600, "strict";r=0;t=3600
	// 429 "api";r=97;t=3600, "strict";r=0;t=3600
}

// Set options once for all routes. A route's own options come after them.
func ExampleDefaults() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	api := core.NewPolicy("api", core.PerHour(100))
	all := core.NewPolicy("all", core.PerHour(5000))
	user := fiberlimit.ByFunc("user", func(*fiber.Ctx) (string, error) { return "ann", nil })
	limits := fiberlimit.Defaults(limiter, fiberlimit.WithKey(user))

	app := fiber.New()
	app.Use(limits.New(api))
	app.Get("/", limits.New(all, fiberlimit.WithKey(fiberlimit.ByConstant("everyone"))), func(c *fiber.Ctx) error {
		for _, d := range fiberlimit.Decisions(c) {
			fmt.Println(d.Policy, d.Key)
		}
		return nil
	})

	try(app, "/")
	// Output:
	// api user=ann
	// all everyone
	// 200 "api";r=99;t=3600, "all";r=4999;t=3600
}

func ExampleFromContext() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	app := fiber.New()
	app.Use(fiberlimit.New(limiter, core.NewPolicy("api", core.PerHour(100))))
	app.Get("/", func(c *fiber.Ctx) error {
		if d, ok := fiberlimit.FromContext(c); ok {
			return c.SendString(fmt.Sprintf("%d of %v left for %s", d.Remaining, d.Limit, d.Key))
		}
		return c.SendString("no limit")
	})

	fmt.Println(try(app, "/"))
	// Output:
	// 200 "api";r=99;t=3600
	// 99 of 100/hour left for 192.0.2.1
}

func ExampleDecisions() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	app := fiber.New()
	app.Use(fiberlimit.New(limiter, core.NewPolicy("day", core.PerDay(1000))))
	app.Use(fiberlimit.New(limiter, core.NewPolicy("hour", core.PerHour(100))))
	app.Get("/", func(c *fiber.Ctx) error {
		for _, d := range fiberlimit.Decisions(c) {
			fmt.Println(d.Policy, d.Remaining)
		}
		return nil
	})

	try(app, "/")
	// Output:
	// day 999
	// hour 99
	// 200 "day";r=999;t=86400, "hour";r=99;t=3600
}

func ExampleByAddress() {
	// Behind a proxy, name the proxy: no other peer is trusted.
	proxies, err := core.ParsePrefixes("192.0.2.0/24")
	if err != nil {
		panic(err)
	}
	limiter := core.New(core.NewMemory(), core.WithTrustedProxies(proxies...))
	defer limiter.Close()

	app := fiber.New()
	app.Use(fiberlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), fiberlimit.WithKey(fiberlimit.ByAddress())))
	app.Get("/", hello)

	try(app, "/", "X-Forwarded-For", "203.0.113.7")
	try(app, "/", "X-Forwarded-For", "198.51.100.9, 203.0.113.7") // forged on the left
	try(app, "/", "X-Forwarded-For", "203.0.113.8")
	// Output:
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=3600
	// 200 "api";r=0;t=3600
}

func ExampleByHeader() {
	limiter := core.New(core.NewMemory(), core.WithKeySecret([]byte("from your settings")))
	defer limiter.Close()

	app := fiber.New()
	app.Use(fiberlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), fiberlimit.WithKey(fiberlimit.ByHeader("X-API-Key"))))
	app.Get("/", hello)

	try(app, "/", "X-API-Key", "alice's")
	try(app, "/", "X-API-Key", "alice's")
	try(app, "/", "X-API-Key", "bob's")
	fmt.Println(try(app, "/"))
	// Output:
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=3600
	// 200 "api";r=0;t=3600
	// 401
	// {"title":"Unauthorized","status":401,"detail":"the request lacks what it is counted by, such as a credential"}
}

func ExampleByBearer() {
	limiter := core.New(core.NewMemory(), core.WithKeySecret([]byte("from your settings")))
	defer limiter.Close()

	app := fiber.New()
	app.Use(fiberlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), fiberlimit.WithKey(fiberlimit.ByBearer())))
	app.Get("/", hello)

	try(app, "/", "Authorization", "Bearer alice's")
	try(app, "/", "Authorization", "bearer   alice's")
	try(app, "/", "Authorization", "Bearer bob's")
	try(app, "/")
	// Output:
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=3600
	// 200 "api";r=0;t=3600
	// 401
}

func ExampleByBasicUser() {
	limiter := core.New(core.NewMemory(), core.WithKeySecret([]byte("from your settings")))
	defer limiter.Close()

	app := fiber.New()
	app.Use(fiberlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), fiberlimit.WithKey(fiberlimit.ByFirst(fiberlimit.ByBasicUser(), fiberlimit.ByAddress()))))
	app.Get("/", hello)

	try(app, "/", "Authorization", "Basic YWxpY2U6b25l") // alice:one
	try(app, "/", "Authorization", "Basic YWxpY2U6dHdv") // alice:two
	try(app, "/")                                        // counted by its address
	// Output:
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=3600
	// 200 "api";r=0;t=3600
}

func ExampleBySecret() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	session := fiberlimit.BySecret("session", func(c *fiber.Ctx) (string, error) {
		return c.Cookies("session"), nil // "" when there is none
	})

	app := fiber.New()
	app.Use(fiberlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), fiberlimit.WithKey(session)))
	app.Get("/", func(c *fiber.Ctx) error {
		d, _ := fiberlimit.FromContext(c)
		return c.SendString(d.Key)
	})

	fmt.Println(try(app, "/", "Cookie", "session=0123456789"))
	// Output:
	// 200 "api";r=0;t=3600
	// session=84d89877f0d4041efb6bf91a16f0248f
}

func ExampleByFunc() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	user := fiberlimit.ByFunc("user", func(c *fiber.Ctx) (string, error) {
		id := c.Get("X-User") // in production, what your authentication has found
		if id == "mallory" {
			return "", core.Refuse(http.StatusForbidden, "your account is closed")
		}
		return id, nil
	})

	app := fiber.New()
	app.Use(fiberlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), fiberlimit.WithKey(user)))
	app.Get("/", func(c *fiber.Ctx) error {
		d, _ := fiberlimit.FromContext(c)
		return c.SendString(d.Key)
	})

	fmt.Println(try(app, "/", "X-User", "alice"))
	fmt.Println(try(app, "/", "X-User", "mallory"))
	// Output:
	// 200 "api";r=0;t=3600
	// user=alice
	// 403
	// {"title":"Forbidden","status":403,"detail":"your account is closed"}
}

// A login is counted by the client and the user that the body names.
func ExampleByFunc_login() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	// Two wrong passwords an hour for each user from each client; right ones cost nothing.
	login := core.NewPolicy("login", core.PerHour(2), core.Refundable(0))

	type form struct{ User, Password string }
	// Anybody can send anything here. Fiber has read the body already, up to the BodyLimit
	// of the app.
	read := func(c *fiber.Ctx) (f form, err error) {
		if len(c.Body()) > 4<<10 {
			return f, fiber.ErrRequestEntityTooLarge
		}
		err = json.Unmarshal(c.Body(), &f) // is answered with 400
		return f, err
	}
	user := fiberlimit.ByFunc("user", func(c *fiber.Ctx) (string, error) {
		f, err := read(c)
		return strings.ToLower(f.User), err // as the service compares users
	})
	limit := fiberlimit.New(limiter, login, fiberlimit.WithKey(fiberlimit.ByAll(fiberlimit.ByAddress(), user)), fiberlimit.WithRefund(fiberlimit.OnSuccess))

	app := fiber.New(fiber.Config{BodyLimit: 64 << 10})
	app.Post("/login", limit, func(c *fiber.Ctx) error {
		if f, err := read(c); err != nil || f.Password != "right" {
			return fiber.NewError(http.StatusUnauthorized, "wrong password")
		}
		return c.SendString("welcome")
	})

	for _, body := range []string{
		`{"user":"ann","password":"wrong"}`,
		`{"user":"Ann","password":"right"}`,
		`{"user":"ANN","password":"wrong"}`,
		`{"user":"ann","password":"right"}`,
		`{"user":"bob","password":"right"}`,
		`{"user":`,
		`{"user":"` + strings.Repeat("x", 5000) + `"}`,
	} {
		w := httptest.NewRecorder()
		adaptor.FiberApp(app)(w, httptest.NewRequest(http.MethodPost, "/login", strings.NewReader(body)))
		fmt.Print(w.Code, " ")
	}
	// Output: 401 200 401 429 200 400 413
}

func ExampleByConstant() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	app := fiber.New()
	app.Use(fiberlimit.New(limiter, core.NewPolicy("service", core.PerHour(2)), fiberlimit.WithKey(fiberlimit.ByConstant("shop"))))
	app.Get("/", hello)

	try(app, "/", "X-User", "alice")
	try(app, "/", "X-User", "bob")
	try(app, "/", "X-User", "carol")
	// Output:
	// 200 "service";r=1;t=3600
	// 200 "service";r=0;t=3600
	// 429 "service";r=0;t=3600
}

func ExampleByAll() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	symbol := fiberlimit.ByFunc("symbol", func(c *fiber.Ctx) (string, error) { return c.Params("symbol"), nil })

	app := fiber.New()
	app.Get("/stocks/:symbol", fiberlimit.New(limiter, core.NewPolicy("stocks", core.PerHour(1)),
		fiberlimit.WithKey(fiberlimit.ByAll(fiberlimit.ByAddress(), symbol))), hello)

	try(app, "/stocks/ACME")
	try(app, "/stocks/ACME")
	try(app, "/stocks/INIT")
	// Output:
	// 200 "stocks";r=0;t=3600
	// 429 "stocks";r=0;t=3600
	// 200 "stocks";r=0;t=3600
}

func ExampleByFirst() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	app := fiber.New()
	app.Use(fiberlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)),
		fiberlimit.WithKey(fiberlimit.ByFirst(fiberlimit.ByHeader("X-API-Key"), fiberlimit.ByAddress()))))
	app.Get("/", hello)

	try(app, "/", "X-API-Key", "alice's")
	try(app, "/")
	try(app, "/")
	// Output:
	// 200 "api";r=0;t=3600
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=3600
}

func ExampleKeyFunc() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	api := core.NewPolicy("api", core.PerHour(100))
	keyOf := fiberlimit.KeyFunc(limiter, fiberlimit.ByAddress())

	app := fiber.New()
	app.Get("/", fiberlimit.New(limiter, api), hello)
	app.Get("/quota", func(c *fiber.Ctx) error {
		key, err := keyOf(c)
		if err != nil {
			return err
		}
		d, err := limiter.Peek(c.UserContext(), api, key)
		if err != nil {
			return err
		}
		return c.SendString(fmt.Sprint(d.Remaining, " left"))
	})

	try(app, "/")
	fmt.Println(try(app, "/quota"))
	// Output:
	// 200 "api";r=99;t=3600
	// 200
	// 99 left
}

func ExampleWithPolicy() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	perAddress := core.NewPolicy("address", core.PerHour(100))
	perUser := core.NewPolicy("user", core.PerHour(2))
	perService := core.NewPolicy("service", core.PerHour(10_000))
	user := fiberlimit.ByFunc("user", func(c *fiber.Ctx) (string, error) {
		return c.Get("X-User"), nil // in production, what your authentication has found
	})

	app := fiber.New()
	app.Use(fiberlimit.New(limiter, perAddress,
		fiberlimit.WithPolicy(perUser, user),
		fiberlimit.WithPolicy(perService, fiberlimit.ByConstant("shop"))))
	app.Get("/", hello)

	try(app, "/", "X-User", "alice")
	try(app, "/", "X-User", "alice")
	try(app, "/", "X-User", "alice") // denied by one, so counted by none
	try(app, "/", "X-User", "bob")
	// Output:
	// 200 "address";r=99;t=3600, "user";r=1;t=3600, "service";r=9999;t=3600
	// 200 "address";r=98;t=3600, "user";r=0;t=3600, "service";r=9998;t=3600
	// 429 "address";r=98;t=3600, "user";r=0;t=3600, "service";r=9998;t=3600
	// 200 "address";r=97;t=3600, "user";r=1;t=3600, "service";r=9997;t=3600
}

func ExampleWithCost() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	tokens := core.NewPolicy("tokens", core.PerHour(1000), core.VariableCost())

	app := fiber.New()
	app.Use(fiberlimit.New(limiter, tokens, fiberlimit.WithCost(func(c *fiber.Ctx) (int64, error) {
		n, err := strconv.ParseInt(c.Get("X-Tokens"), 10, 64)
		if err != nil {
			return 0, core.Refuse(http.StatusBadRequest, "X-Tokens must be a number")
		}
		return n, nil
	})))
	app.Get("/", hello)

	try(app, "/", "X-Tokens", "600")
	try(app, "/", "X-Tokens", "600")
	fmt.Println(try(app, "/", "X-Tokens", "lots"))
	// Output:
	// 200 "tokens";r=400;t=3600
	// 429 "tokens";r=400;t=3600
	// 400
	// {"title":"Bad Request","status":400,"detail":"X-Tokens must be a number"}
}

func ExampleWithSkip() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	app := fiber.New()
	app.Use(fiberlimit.New(limiter, core.NewPolicy("api", core.PerHour(100)), fiberlimit.WithSkip(func(c *fiber.Ctx) bool {
		return c.Path() == "/healthz"
	})))
	app.Get("/", hello)
	app.Get("/healthz", hello)

	try(app, "/")
	try(app, "/healthz")
	// Output:
	// 200 "api";r=99;t=3600
	// 200
}

func ExampleWithTier() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	free := core.NewPolicy("free", core.PerHour(10))
	pro := core.NewPolicy("pro", core.PerHour(1000))
	limiter.Register(pro) // New registers the policy free

	app := fiber.New()
	app.Use(fiberlimit.New(limiter, free, fiberlimit.WithTier(func(c *fiber.Ctx) *core.Policy {
		if c.Get("X-Plan") == "pro" { // in production, the plan of the user
			return pro
		}
		return nil // free
	})))
	app.Get("/", hello)

	try(app, "/")
	try(app, "/", "X-Plan", "pro")
	// Output:
	// 200 "free";r=9;t=3600
	// 200 "pro";r=999;t=3600
}

func ExampleWithRefund() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	// Two wrong passwords an hour; right ones cost nothing.
	login := core.NewPolicy("login", core.PerHour(2), core.Refundable(0))

	app := fiber.New()
	app.Get("/login", fiberlimit.New(limiter, login, fiberlimit.WithRefund(fiberlimit.OnSuccess)), func(c *fiber.Ctx) error {
		if c.Get("X-Password") != "right" {
			return fiber.NewError(http.StatusUnauthorized, "wrong password")
		}
		return c.SendString("welcome")
	})

	for _, password := range []string{"right", "wrong", "right", "wrong", "right"} {
		try(app, "/login", "X-Password", password)
	}
	// Output:
	// 200 "login";r=1;t=3600
	// 401 "login";r=1;t=3600
	// 200 "login";r=0;t=3600
	// 401 "login";r=0;t=3600
	// 429 "login";r=0;t=3600
}

func ExampleWithSettle() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	tokens := core.NewPolicy("tokens", core.PerHour(1000), core.VariableCost(), core.Refundable(0))

	app := fiber.New()
	app.Use(fiberlimit.New(limiter, tokens,
		// No answer is longer than 600 tokens, and most are shorter.
		fiberlimit.WithCost(func(*fiber.Ctx) (int64, error) { return 600, nil }),
		fiberlimit.WithSettle(func(c *fiber.Ctx, _ int) int64 {
			if used, ok := c.Locals("used").(int64); ok {
				return used
			}
			return -1 // leaves the estimate: the handler did not get so far
		})))
	app.Get("/complete", func(c *fiber.Ctx) error {
		if c.Query("cut") != "" {
			return nil // as when the client leaves: what was used is not known
		}
		c.Locals("used", int64(150))
		return c.SendString("an answer of 150 tokens")
	})

	try(app, "/complete")
	try(app, "/complete")
	try(app, "/complete?cut=1")
	try(app, "/complete")
	// Output:
	// 200 "tokens";r=400;t=3600
	// 200 "tokens";r=250;t=3600
	// 200 "tokens";r=100;t=3600
	// 429 "tokens";r=100;t=3600
}

// A blocked client is denied with 403, so take the status from the problem.
func ExampleWithDenied() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	app := fiber.New()
	app.Use(fiberlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), fiberlimit.WithDenied(func(c *fiber.Ctx, d core.Decision) error {
		return c.Status(core.ProblemFor(d.Err()).Status).SendString("No more than " + d.Limit.String() + ", please.")
	})))
	app.Get("/", hello)

	try(app, "/")
	fmt.Println(try(app, "/"))
	// Output:
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=3600
	// No more than 1/hour, please.
}

func ExampleWithErrorHandler() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	app := fiber.New()
	app.Use(fiberlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)),
		fiberlimit.WithKey(fiberlimit.ByHeader("X-API-Key")),
		fiberlimit.WithErrorHandler(func(c *fiber.Ctx, err error) error {
			if errors.Is(err, core.ErrNoKey) {
				return c.Status(http.StatusUnauthorized).SendString("Get a key at /keys.")
			}
			return c.Status(core.ProblemFor(err).Status).SendString("Try again.")
		})))
	app.Get("/", hello)

	fmt.Println(try(app, "/"))
	// Output:
	// 401
	// Get a key at /keys.
}

func ExampleWithFrameworkErrors() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	app := fiber.New(fiber.Config{ErrorHandler: func(c *fiber.Ctx, err error) error {
		var limited *core.LimitedError
		if !errors.As(err, &limited) {
			return fiber.DefaultErrorHandler(c, err)
		}
		hours := limited.Decision.RetryAfter.Round(time.Hour).Hours()
		return c.Status(http.StatusTooManyRequests).JSON(fiber.Map{"retry_in": fmt.Sprintf("%gh", hours)})
	}})
	app.Use(fiberlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), fiberlimit.WithFrameworkErrors()))
	app.Get("/", hello)

	try(app, "/")
	fmt.Println(try(app, "/"))
	// Output:
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=3600
	// {"retry_in":"1h"}
}

func ExampleWithHeaders() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	app := fiber.New()
	app.Use(fiberlimit.New(limiter, core.NewPolicy("api", core.PerHour(100)), fiberlimit.WithHeaders(core.HeadersX)))
	app.Get("/", func(c *fiber.Ctx) error {
		return c.SendString(string(c.Response().Header.Peek("X-RateLimit-Remaining")))
	})

	fmt.Println(try(app, "/"))
	// Output:
	// 200
	// 99
}

func hello(c *fiber.Ctx) error { return c.SendString("hello") }

// try requests a path. A name and a value of a field may follow. It prints the status and
// the RateLimit field, and returns the body.
func try(app *fiber.App, path string, field ...string) (body string) {
	w := get(app, path, field...)
	fmt.Println(strings.TrimSpace(fmt.Sprint(w.Code, " ", w.Header().Get("RateLimit"))))
	return strings.TrimSpace(w.Body.String())
}
