package echolimit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/echolimit"
)

func ExampleNew() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	api := core.NewPolicy("api", core.PerHour(100))
	strict := core.NewPolicy("strict", core.PerHour(1))

	e := echo.New()
	e.Use(echolimit.New(limiter, api))
	e.GET("/", hello)
	e.GET("/strict", hello, echolimit.New(limiter, strict))

	try(e, "/")
	try(e, "/strict")
	try(e, "/strict")
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
	user := echolimit.ByFunc("user", func(echo.Context) (string, error) { return "ann", nil })
	limits := echolimit.Defaults(limiter, echolimit.WithKey(user))

	e := echo.New()
	e.Use(limits.New(api))
	e.GET("/", func(c echo.Context) error {
		for _, d := range echolimit.Decisions(c) {
			fmt.Println(d.Policy, d.Key)
		}
		return c.NoContent(http.StatusOK)
	}, limits.New(all, echolimit.WithKey(echolimit.ByConstant("everyone"))))

	try(e, "/")
	// Output:
	// api user=ann
	// all everyone
	// 200 "api";r=99;t=3600, "all";r=4999;t=3600
}

func ExampleFromContext() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	e := echo.New()
	e.Use(echolimit.New(limiter, core.NewPolicy("api", core.PerHour(100))))
	e.GET("/", func(c echo.Context) error {
		if d, ok := echolimit.FromContext(c); ok {
			return c.String(http.StatusOK, fmt.Sprintf("%d of %v left for %s", d.Remaining, d.Limit, d.Key))
		}
		return c.String(http.StatusOK, "no limit")
	})

	fmt.Println(try(e, "/"))
	// Output:
	// 200 "api";r=99;t=3600
	// 99 of 100/hour left for 192.0.2.1
}

func ExampleDecisions() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	e := echo.New()
	e.Use(echolimit.New(limiter, core.NewPolicy("day", core.PerDay(1000))))
	e.Use(echolimit.New(limiter, core.NewPolicy("hour", core.PerHour(100))))
	e.GET("/", func(c echo.Context) error {
		for _, d := range echolimit.Decisions(c) {
			fmt.Println(d.Policy, d.Remaining)
		}
		return c.NoContent(http.StatusOK)
	})

	try(e, "/")
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

	e := echo.New()
	e.Use(echolimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), echolimit.WithKey(echolimit.ByAddress())))
	e.GET("/", hello)

	try(e, "/", "X-Forwarded-For", "203.0.113.7")
	try(e, "/", "X-Forwarded-For", "198.51.100.9, 203.0.113.7") // forged on the left
	try(e, "/", "X-Forwarded-For", "203.0.113.8")
	// Output:
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=3600
	// 200 "api";r=0;t=3600
}

func ExampleByHeader() {
	limiter := core.New(core.NewMemory(), core.WithKeySecret([]byte("from your settings")))
	defer limiter.Close()

	e := echo.New()
	e.Use(echolimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), echolimit.WithKey(echolimit.ByHeader("X-API-Key"))))
	e.GET("/", hello)

	try(e, "/", "X-API-Key", "alice's")
	try(e, "/", "X-API-Key", "alice's")
	try(e, "/", "X-API-Key", "bob's")
	fmt.Println(try(e, "/"))
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

	e := echo.New()
	e.Use(echolimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), echolimit.WithKey(echolimit.ByBearer())))
	e.GET("/", hello)

	try(e, "/", "Authorization", "Bearer alice's")
	try(e, "/", "Authorization", "bearer   alice's")
	try(e, "/", "Authorization", "Bearer bob's")
	try(e, "/")
	// Output:
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=3600
	// 200 "api";r=0;t=3600
	// 401
}

func ExampleByBasicUser() {
	limiter := core.New(core.NewMemory(), core.WithKeySecret([]byte("from your settings")))
	defer limiter.Close()

	e := echo.New()
	e.Use(echolimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), echolimit.WithKey(echolimit.ByFirst(echolimit.ByBasicUser(), echolimit.ByAddress()))))
	e.GET("/", hello)

	try(e, "/", "Authorization", "Basic YWxpY2U6b25l") // alice:one
	try(e, "/", "Authorization", "Basic YWxpY2U6dHdv") // alice:two
	try(e, "/")                                        // counted by its address
	// Output:
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=3600
	// 200 "api";r=0;t=3600
}

func ExampleBySecret() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	session := echolimit.BySecret("session", func(c echo.Context) (string, error) {
		cookie, err := c.Cookie("session")
		if err != nil {
			return "", core.ErrNoKey
		}
		return cookie.Value, nil
	})

	e := echo.New()
	e.Use(echolimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), echolimit.WithKey(session)))
	e.GET("/", func(c echo.Context) error {
		d, _ := echolimit.FromContext(c)
		return c.String(http.StatusOK, d.Key)
	})

	fmt.Println(try(e, "/", "Cookie", "session=0123456789"))
	// Output:
	// 200 "api";r=0;t=3600
	// session=84d89877f0d4041efb6bf91a16f0248f
}

func ExampleByFunc() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	user := echolimit.ByFunc("user", func(c echo.Context) (string, error) {
		id := c.Request().Header.Get("X-User") // in production, what your authentication has found
		if id == "mallory" {
			return "", core.Refuse(http.StatusForbidden, "your account is closed")
		}
		return id, nil
	})

	e := echo.New()
	e.Use(echolimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), echolimit.WithKey(user)))
	e.GET("/", func(c echo.Context) error {
		d, _ := echolimit.FromContext(c)
		return c.String(http.StatusOK, d.Key)
	})

	fmt.Println(try(e, "/", "X-User", "alice"))
	fmt.Println(try(e, "/", "X-User", "mallory"))
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
	// Any client can send any body here: read no more than a login needs, and restore the
	// body for the handler, which must find the same user in it.
	read := func(c echo.Context) (f form, err error) {
		body, err := io.ReadAll(http.MaxBytesReader(c.Response(), c.Request().Body, 4<<10))
		if err != nil {
			return f, err // is answered with 413 when there is more
		}
		c.Request().Body = io.NopCloser(bytes.NewReader(body))
		err = json.Unmarshal(body, &f) // is answered with 400
		return f, err
	}
	user := echolimit.ByFunc("user", func(c echo.Context) (string, error) {
		f, err := read(c)
		return strings.ToLower(f.User), err // as the service compares users
	})
	limit := echolimit.New(limiter, login, echolimit.WithKey(echolimit.ByAll(echolimit.ByAddress(), user)), echolimit.WithRefund(echolimit.OnSuccess))

	e := echo.New()
	e.POST("/login", func(c echo.Context) error {
		if f, err := read(c); err != nil || f.Password != "right" {
			return echo.NewHTTPError(http.StatusUnauthorized, "wrong password")
		}
		return c.String(http.StatusOK, "welcome")
	}, limit)

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
		e.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/login", strings.NewReader(body)))
		fmt.Print(w.Code, " ")
	}
	// Output: 401 200 401 429 200 400 413
}

func ExampleByConstant() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	e := echo.New()
	e.Use(echolimit.New(limiter, core.NewPolicy("service", core.PerHour(2)), echolimit.WithKey(echolimit.ByConstant("shop"))))
	e.GET("/", hello)

	try(e, "/", "X-User", "alice")
	try(e, "/", "X-User", "bob")
	try(e, "/", "X-User", "carol")
	// Output:
	// 200 "service";r=1;t=3600
	// 200 "service";r=0;t=3600
	// 429 "service";r=0;t=3600
}

func ExampleByAll() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	symbol := echolimit.ByFunc("symbol", func(c echo.Context) (string, error) { return c.Param("symbol"), nil })

	e := echo.New()
	e.GET("/stocks/:symbol", hello, echolimit.New(limiter, core.NewPolicy("stocks", core.PerHour(1)),
		echolimit.WithKey(echolimit.ByAll(echolimit.ByAddress(), symbol))))

	try(e, "/stocks/ACME")
	try(e, "/stocks/ACME")
	try(e, "/stocks/INIT")
	// Output:
	// 200 "stocks";r=0;t=3600
	// 429 "stocks";r=0;t=3600
	// 200 "stocks";r=0;t=3600
}

func ExampleByFirst() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	e := echo.New()
	e.Use(echolimit.New(limiter, core.NewPolicy("api", core.PerHour(1)),
		echolimit.WithKey(echolimit.ByFirst(echolimit.ByHeader("X-API-Key"), echolimit.ByAddress()))))
	e.GET("/", hello)

	try(e, "/", "X-API-Key", "alice's")
	try(e, "/")
	try(e, "/")
	// Output:
	// 200 "api";r=0;t=3600
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=3600
}

func ExampleKeyFunc() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	api := core.NewPolicy("api", core.PerHour(100))
	keyOf := echolimit.KeyFunc(limiter, echolimit.ByAddress())

	e := echo.New()
	e.GET("/", hello, echolimit.New(limiter, api))
	e.GET("/quota", func(c echo.Context) error {
		key, err := keyOf(c)
		if err != nil {
			return err
		}
		d, err := limiter.Peek(c.Request().Context(), api, key)
		if err != nil {
			return err
		}
		return c.String(http.StatusOK, fmt.Sprint(d.Remaining, " left"))
	})

	try(e, "/")
	fmt.Println(try(e, "/quota"))
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
	user := echolimit.ByFunc("user", func(c echo.Context) (string, error) {
		return c.Request().Header.Get("X-User"), nil // in production, what your authentication has found
	})

	e := echo.New()
	e.Use(echolimit.New(limiter, perAddress,
		echolimit.WithPolicy(perUser, user),
		echolimit.WithPolicy(perService, echolimit.ByConstant("shop"))))
	e.GET("/", hello)

	try(e, "/", "X-User", "alice")
	try(e, "/", "X-User", "alice")
	try(e, "/", "X-User", "alice") // denied by one, so counted by none
	try(e, "/", "X-User", "bob")
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

	e := echo.New()
	e.Use(echolimit.New(limiter, tokens, echolimit.WithCost(func(c echo.Context) (int64, error) {
		n, err := strconv.ParseInt(c.Request().Header.Get("X-Tokens"), 10, 64)
		if err != nil {
			return 0, core.Refuse(http.StatusBadRequest, "X-Tokens must be a number")
		}
		return n, nil
	})))
	e.GET("/", hello)

	try(e, "/", "X-Tokens", "600")
	try(e, "/", "X-Tokens", "600")
	fmt.Println(try(e, "/", "X-Tokens", "lots"))
	// Output:
	// 200 "tokens";r=400;t=3600
	// 429 "tokens";r=400;t=3600
	// 400
	// {"title":"Bad Request","status":400,"detail":"X-Tokens must be a number"}
}

func ExampleWithSkip() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	e := echo.New()
	e.Use(echolimit.New(limiter, core.NewPolicy("api", core.PerHour(100)), echolimit.WithSkip(func(c echo.Context) bool {
		return c.Path() == "/healthz"
	})))
	e.GET("/", hello)
	e.GET("/healthz", hello)

	try(e, "/")
	try(e, "/healthz")
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

	e := echo.New()
	e.Use(echolimit.New(limiter, free, echolimit.WithTier(func(c echo.Context) *core.Policy {
		if c.Request().Header.Get("X-Plan") == "pro" { // in production, the plan of the user
			return pro
		}
		return nil // free
	})))
	e.GET("/", hello)

	try(e, "/")
	try(e, "/", "X-Plan", "pro")
	// Output:
	// 200 "free";r=9;t=3600
	// 200 "pro";r=999;t=3600
}

func ExampleWithRefund() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	// Two wrong passwords an hour; right ones cost nothing.
	login := core.NewPolicy("login", core.PerHour(2), core.Refundable(0))

	e := echo.New()
	e.GET("/login", func(c echo.Context) error {
		if c.Request().Header.Get("X-Password") != "right" {
			return echo.NewHTTPError(http.StatusUnauthorized, "wrong password")
		}
		return c.String(http.StatusOK, "welcome")
	}, echolimit.New(limiter, login, echolimit.WithRefund(echolimit.OnSuccess)))

	for _, password := range []string{"right", "wrong", "right", "wrong", "right"} {
		try(e, "/login", "X-Password", password)
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

	e := echo.New()
	e.Use(echolimit.New(limiter, tokens,
		// No answer is longer than 600 tokens, and most are shorter.
		echolimit.WithCost(func(echo.Context) (int64, error) { return 600, nil }),
		echolimit.WithSettle(func(c echo.Context, _ int) int64 {
			if used, ok := c.Get("used").(int64); ok {
				return used
			}
			return -1 // leaves the estimate: the handler did not get so far
		})))
	e.GET("/complete", func(c echo.Context) error {
		if c.QueryParam("cut") != "" {
			return c.NoContent(http.StatusOK) // as when the client leaves: what was used is not known
		}
		c.Set("used", int64(150))
		return c.String(http.StatusOK, "an answer of 150 tokens")
	})

	try(e, "/complete")
	try(e, "/complete")
	try(e, "/complete?cut=1")
	try(e, "/complete")
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

	e := echo.New()
	e.Use(echolimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), echolimit.WithDenied(func(c echo.Context, d core.Decision) error {
		return c.String(core.ProblemFor(d.Err()).Status, "No more than "+d.Limit.String()+", please.")
	})))
	e.GET("/", hello)

	try(e, "/")
	fmt.Println(try(e, "/"))
	// Output:
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=3600
	// No more than 1/hour, please.
}

func ExampleWithErrorHandler() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	e := echo.New()
	e.Use(echolimit.New(limiter, core.NewPolicy("api", core.PerHour(1)),
		echolimit.WithKey(echolimit.ByHeader("X-API-Key")),
		echolimit.WithErrorHandler(func(c echo.Context, err error) error {
			if errors.Is(err, core.ErrNoKey) {
				return c.String(http.StatusUnauthorized, "Get a key at /keys.")
			}
			return c.String(core.ProblemFor(err).Status, "Try again.")
		})))
	e.GET("/", hello)

	fmt.Println(try(e, "/"))
	// Output:
	// 401
	// Get a key at /keys.
}

func ExampleWithFrameworkErrors() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	e := echo.New()
	e.HTTPErrorHandler = func(err error, c echo.Context) {
		var limited *core.LimitedError
		if !errors.As(err, &limited) {
			e.DefaultHTTPErrorHandler(err, c)
			return
		}
		hours := limited.Decision.RetryAfter.Round(time.Hour).Hours()
		_ = c.JSON(http.StatusTooManyRequests, echo.Map{"retry_in": fmt.Sprintf("%gh", hours)})
	}
	e.Use(echolimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), echolimit.WithFrameworkErrors()))
	e.GET("/", hello)

	try(e, "/")
	fmt.Println(try(e, "/"))
	// Output:
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=3600
	// {"retry_in":"1h"}
}

func ExampleWithHeaders() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	e := echo.New()
	e.Use(echolimit.New(limiter, core.NewPolicy("api", core.PerHour(100)), echolimit.WithHeaders(core.HeadersX)))
	e.GET("/", func(c echo.Context) error {
		return c.String(http.StatusOK, c.Response().Header().Get("X-RateLimit-Remaining"))
	})

	fmt.Println(try(e, "/"))
	// Output:
	// 200
	// 99
}

func hello(c echo.Context) error { return c.String(http.StatusOK, "hello") }

// try requests a path. A name and a value of a field may follow. It prints the status and
// the RateLimit field, and returns the body.
func try(h http.Handler, path string, field ...string) (body string) {
	w := get(h, path, field...)
	fmt.Println(strings.TrimSpace(fmt.Sprint(w.Code, " ", w.Header().Get("RateLimit"))))
	return strings.TrimSpace(w.Body.String())
}
