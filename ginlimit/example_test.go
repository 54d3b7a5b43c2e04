package ginlimit_test

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

	"github.com/gin-gonic/gin"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/ginlimit"
)

func ExampleNew() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	api := core.NewPolicy("api", core.PerHour(100))
	strict := core.NewPolicy("strict", core.PerHour(1))

	router := gin.New()
	router.Use(ginlimit.New(limiter, api))
	router.GET("/", hello)
	router.GET("/strict", ginlimit.New(limiter, strict), hello)

	try(router, "/")
	try(router, "/strict")
	try(router, "/strict")
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
	user := ginlimit.ByFunc("user", func(*gin.Context) (string, error) { return "ann", nil })
	limits := ginlimit.Defaults(limiter, ginlimit.WithKey(user))

	router := gin.New()
	router.Use(limits.New(api))
	router.GET("/", limits.New(all, ginlimit.WithKey(ginlimit.ByConstant("everyone"))), func(c *gin.Context) {
		for _, d := range ginlimit.Decisions(c) {
			fmt.Println(d.Policy, d.Key)
		}
	})

	try(router, "/")
	// Output:
	// api user=ann
	// all everyone
	// 200 "api";r=99;t=3600, "all";r=4999;t=3600
}

func ExampleFromContext() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	router := gin.New()
	router.Use(ginlimit.New(limiter, core.NewPolicy("api", core.PerHour(100))))
	router.GET("/", func(c *gin.Context) {
		if d, ok := ginlimit.FromContext(c); ok {
			c.String(http.StatusOK, "%d of %v left for %s", d.Remaining, d.Limit, d.Key)
			return
		}
		c.String(http.StatusOK, "no limit")
	})

	fmt.Println(try(router, "/"))
	// Output:
	// 200 "api";r=99;t=3600
	// 99 of 100/hour left for 192.0.2.1
}

func ExampleDecisions() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	router := gin.New()
	router.Use(ginlimit.New(limiter, core.NewPolicy("day", core.PerDay(1000))))
	router.Use(ginlimit.New(limiter, core.NewPolicy("hour", core.PerHour(100))))
	router.GET("/", func(c *gin.Context) {
		for _, d := range ginlimit.Decisions(c) {
			fmt.Println(d.Policy, d.Remaining)
		}
		c.Status(http.StatusOK)
	})

	try(router, "/")
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

	router := gin.New()
	router.Use(ginlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), ginlimit.WithKey(ginlimit.ByAddress())))
	router.GET("/", hello)

	try(router, "/", "X-Forwarded-For", "203.0.113.7")
	try(router, "/", "X-Forwarded-For", "198.51.100.9, 203.0.113.7") // forged on the left
	try(router, "/", "X-Forwarded-For", "203.0.113.8")
	// Output:
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=3600
	// 200 "api";r=0;t=3600
}

func ExampleByHeader() {
	limiter := core.New(core.NewMemory(), core.WithKeySecret([]byte("from your settings")))
	defer limiter.Close()

	router := gin.New()
	router.Use(ginlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), ginlimit.WithKey(ginlimit.ByHeader("X-API-Key"))))
	router.GET("/", hello)

	try(router, "/", "X-API-Key", "alice's")
	try(router, "/", "X-API-Key", "alice's")
	try(router, "/", "X-API-Key", "bob's")
	fmt.Println(try(router, "/"))
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

	router := gin.New()
	router.Use(ginlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), ginlimit.WithKey(ginlimit.ByBearer())))
	router.GET("/", hello)

	try(router, "/", "Authorization", "Bearer alice's")
	try(router, "/", "Authorization", "bearer   alice's")
	try(router, "/", "Authorization", "Bearer bob's")
	try(router, "/")
	// Output:
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=3600
	// 200 "api";r=0;t=3600
	// 401
}

func ExampleByBasicUser() {
	limiter := core.New(core.NewMemory(), core.WithKeySecret([]byte("from your settings")))
	defer limiter.Close()

	router := gin.New()
	router.Use(ginlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), ginlimit.WithKey(ginlimit.ByFirst(ginlimit.ByBasicUser(), ginlimit.ByAddress()))))
	router.GET("/", hello)

	try(router, "/", "Authorization", "Basic YWxpY2U6b25l") // alice:one
	try(router, "/", "Authorization", "Basic YWxpY2U6dHdv") // alice:two
	try(router, "/")                                        // counted by its address
	// Output:
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=3600
	// 200 "api";r=0;t=3600
}

func ExampleBySecret() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	session := ginlimit.BySecret("session", func(c *gin.Context) (string, error) {
		value, _ := c.Cookie("session") // "" when there is none
		return value, nil
	})

	router := gin.New()
	router.Use(ginlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), ginlimit.WithKey(session)))
	router.GET("/", func(c *gin.Context) {
		d, _ := ginlimit.FromContext(c)
		c.String(http.StatusOK, d.Key)
	})

	fmt.Println(try(router, "/", "Cookie", "session=0123456789"))
	// Output:
	// 200 "api";r=0;t=3600
	// session=84d89877f0d4041efb6bf91a16f0248f
}

func ExampleByFunc() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	user := ginlimit.ByFunc("user", func(c *gin.Context) (string, error) {
		id := c.GetHeader("X-User") // in production, what your authentication has found
		if id == "mallory" {
			return "", core.Refuse(http.StatusForbidden, "your account is closed")
		}
		return id, nil
	})

	router := gin.New()
	router.Use(ginlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), ginlimit.WithKey(user)))
	router.GET("/", func(c *gin.Context) {
		d, _ := ginlimit.FromContext(c)
		c.String(http.StatusOK, d.Key)
	})

	fmt.Println(try(router, "/", "X-User", "alice"))
	fmt.Println(try(router, "/", "X-User", "mallory"))
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
	read := func(c *gin.Context) (f form, err error) {
		body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, 4<<10))
		if err != nil {
			return f, err // is answered with 413 when there is more
		}
		c.Request.Body = io.NopCloser(bytes.NewReader(body))
		err = json.Unmarshal(body, &f) // is answered with 400
		return f, err
	}
	user := ginlimit.ByFunc("user", func(c *gin.Context) (string, error) {
		f, err := read(c)
		return strings.ToLower(f.User), err // as the service compares users
	})
	limit := ginlimit.New(limiter, login, ginlimit.WithKey(ginlimit.ByAll(ginlimit.ByAddress(), user)), ginlimit.WithRefund(ginlimit.OnSuccess))

	router := gin.New()
	router.POST("/login", limit, func(c *gin.Context) {
		if f, err := read(c); err != nil || f.Password != "right" {
			c.String(http.StatusUnauthorized, "wrong password")
			return
		}
		c.String(http.StatusOK, "welcome")
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
		router.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/login", strings.NewReader(body)))
		fmt.Print(w.Code, " ")
	}
	// Output: 401 200 401 429 200 400 413
}

func ExampleByConstant() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	router := gin.New()
	router.Use(ginlimit.New(limiter, core.NewPolicy("service", core.PerHour(2)), ginlimit.WithKey(ginlimit.ByConstant("shop"))))
	router.GET("/", hello)

	try(router, "/", "X-User", "alice")
	try(router, "/", "X-User", "bob")
	try(router, "/", "X-User", "carol")
	// Output:
	// 200 "service";r=1;t=3600
	// 200 "service";r=0;t=3600
	// 429 "service";r=0;t=3600
}

func ExampleByAll() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	symbol := ginlimit.ByFunc("symbol", func(c *gin.Context) (string, error) { return c.Param("symbol"), nil })

	router := gin.New()
	router.GET("/stocks/:symbol", ginlimit.New(limiter, core.NewPolicy("stocks", core.PerHour(1)),
		ginlimit.WithKey(ginlimit.ByAll(ginlimit.ByAddress(), symbol))), hello)

	try(router, "/stocks/ACME")
	try(router, "/stocks/ACME")
	try(router, "/stocks/INIT")
	// Output:
	// 200 "stocks";r=0;t=3600
	// 429 "stocks";r=0;t=3600
	// 200 "stocks";r=0;t=3600
}

func ExampleByFirst() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	router := gin.New()
	router.Use(ginlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)),
		ginlimit.WithKey(ginlimit.ByFirst(ginlimit.ByHeader("X-API-Key"), ginlimit.ByAddress()))))
	router.GET("/", hello)

	try(router, "/", "X-API-Key", "alice's")
	try(router, "/")
	try(router, "/")
	// Output:
	// 200 "api";r=0;t=3600
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=3600
}

func ExampleKeyFunc() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	api := core.NewPolicy("api", core.PerHour(100))
	keyOf := ginlimit.KeyFunc(limiter, ginlimit.ByAddress())

	router := gin.New()
	router.GET("/", ginlimit.New(limiter, api), hello)
	router.GET("/quota", func(c *gin.Context) {
		key, err := keyOf(c)
		if err != nil {
			_ = c.AbortWithError(http.StatusInternalServerError, err)
			return
		}
		d, err := limiter.Peek(c.Request.Context(), api, key)
		if err != nil {
			_ = c.AbortWithError(http.StatusInternalServerError, err)
			return
		}
		c.String(http.StatusOK, fmt.Sprint(d.Remaining, " left"))
	})

	try(router, "/")
	fmt.Println(try(router, "/quota"))
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
	user := ginlimit.ByFunc("user", func(c *gin.Context) (string, error) {
		return c.GetHeader("X-User"), nil // in production, what your authentication has found
	})

	router := gin.New()
	router.Use(ginlimit.New(limiter, perAddress,
		ginlimit.WithPolicy(perUser, user),
		ginlimit.WithPolicy(perService, ginlimit.ByConstant("shop"))))
	router.GET("/", hello)

	try(router, "/", "X-User", "alice")
	try(router, "/", "X-User", "alice")
	try(router, "/", "X-User", "alice") // denied by one, so counted by none
	try(router, "/", "X-User", "bob")
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

	router := gin.New()
	router.Use(ginlimit.New(limiter, tokens, ginlimit.WithCost(func(c *gin.Context) (int64, error) {
		n, err := strconv.ParseInt(c.GetHeader("X-Tokens"), 10, 64)
		if err != nil {
			return 0, core.Refuse(http.StatusBadRequest, "X-Tokens must be a number")
		}
		return n, nil
	})))
	router.GET("/", hello)

	try(router, "/", "X-Tokens", "600")
	try(router, "/", "X-Tokens", "600")
	fmt.Println(try(router, "/", "X-Tokens", "lots"))
	// Output:
	// 200 "tokens";r=400;t=3600
	// 429 "tokens";r=400;t=3600
	// 400
	// {"title":"Bad Request","status":400,"detail":"X-Tokens must be a number"}
}

func ExampleWithSkip() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	router := gin.New()
	router.Use(ginlimit.New(limiter, core.NewPolicy("api", core.PerHour(100)), ginlimit.WithSkip(func(c *gin.Context) bool {
		return c.FullPath() == "/healthz"
	})))
	router.GET("/", hello)
	router.GET("/healthz", hello)

	try(router, "/")
	try(router, "/healthz")
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

	router := gin.New()
	router.Use(ginlimit.New(limiter, free, ginlimit.WithTier(func(c *gin.Context) *core.Policy {
		if c.GetHeader("X-Plan") == "pro" { // in production, the plan of the user
			return pro
		}
		return nil // free
	})))
	router.GET("/", hello)

	try(router, "/")
	try(router, "/", "X-Plan", "pro")
	// Output:
	// 200 "free";r=9;t=3600
	// 200 "pro";r=999;t=3600
}

func ExampleWithRefund() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	// Two wrong passwords an hour; right ones cost nothing.
	login := core.NewPolicy("login", core.PerHour(2), core.Refundable(0))

	router := gin.New()
	router.GET("/login", ginlimit.New(limiter, login, ginlimit.WithRefund(ginlimit.OnSuccess)), func(c *gin.Context) {
		if c.GetHeader("X-Password") != "right" {
			c.String(http.StatusUnauthorized, "wrong password")
			return
		}
		c.String(http.StatusOK, "welcome")
	})

	for _, password := range []string{"right", "wrong", "right", "wrong", "right"} {
		try(router, "/login", "X-Password", password)
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

	router := gin.New()
	router.Use(ginlimit.New(limiter, tokens,
		// No answer is longer than 600 tokens, and most are shorter.
		ginlimit.WithCost(func(*gin.Context) (int64, error) { return 600, nil }),
		ginlimit.WithSettle(func(c *gin.Context, _ int) int64 {
			if used, ok := c.Get("used"); ok {
				return used.(int64)
			}
			return -1 // leaves the estimate: the handler did not get so far
		})))
	router.GET("/complete", func(c *gin.Context) {
		if c.Query("cut") != "" {
			return // as when the client leaves: what was used is not known
		}
		c.Set("used", int64(150))
		c.String(http.StatusOK, "an answer of 150 tokens")
	})

	try(router, "/complete")
	try(router, "/complete")
	try(router, "/complete?cut=1")
	try(router, "/complete")
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

	router := gin.New()
	router.Use(ginlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), ginlimit.WithDenied(func(c *gin.Context, d core.Decision) {
		c.String(core.ProblemFor(d.Err()).Status, "No more than "+d.Limit.String()+", please.")
	})))
	router.GET("/", hello)

	try(router, "/")
	fmt.Println(try(router, "/"))
	// Output:
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=3600
	// No more than 1/hour, please.
}

func ExampleWithErrorHandler() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	router := gin.New()
	router.Use(ginlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)),
		ginlimit.WithKey(ginlimit.ByHeader("X-API-Key")),
		ginlimit.WithErrorHandler(func(c *gin.Context, err error) {
			if errors.Is(err, core.ErrNoKey) {
				c.String(http.StatusUnauthorized, "Get a key at /keys.")
				return
			}
			c.String(core.ProblemFor(err).Status, "Try again.")
		})))
	router.GET("/", hello)

	fmt.Println(try(router, "/"))
	// Output:
	// 401
	// Get a key at /keys.
}

func ExampleWithFrameworkErrors() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	router := gin.New()
	router.Use(func(c *gin.Context) {
		c.Next()
		var limited *core.LimitedError
		if err := c.Errors.Last(); err != nil && errors.As(err, &limited) {
			hours := limited.Decision.RetryAfter.Round(time.Hour).Hours()
			c.JSON(-1, gin.H{"retry_in": fmt.Sprintf("%gh", hours)}) // -1 keeps the status
		}
	})
	router.Use(ginlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), ginlimit.WithFrameworkErrors()))
	router.GET("/", hello)

	try(router, "/")
	fmt.Println(try(router, "/"))
	// Output:
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=3600
	// {"retry_in":"1h"}
}

func ExampleWithHeaders() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	router := gin.New()
	router.Use(ginlimit.New(limiter, core.NewPolicy("api", core.PerHour(100)), ginlimit.WithHeaders(core.HeadersX)))
	router.GET("/", func(c *gin.Context) {
		c.String(http.StatusOK, c.Writer.Header().Get("X-RateLimit-Remaining"))
	})

	fmt.Println(try(router, "/"))
	// Output:
	// 200
	// 99
}

func hello(c *gin.Context) { c.String(http.StatusOK, "hello") }

// try requests a path. A name and a value of a field may follow. It prints the status and
// the RateLimit field, and returns the body.
func try(h http.Handler, path string, field ...string) (body string) {
	w := get(h, path, field...)
	fmt.Println(strings.TrimSpace(fmt.Sprint(w.Code, " ", w.Header().Get("RateLimit"))))
	return strings.TrimSpace(w.Body.String())
}
