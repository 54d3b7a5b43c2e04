package httplimit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/httplimit"
)

func ExampleNew() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	api := core.NewPolicy("api", core.PerHour(100))
	strict := core.NewPolicy("strict", core.PerHour(1))

	mux := http.NewServeMux()
	mux.Handle("GET /{$}", hello)
	mux.Handle("GET /strict/{id}", httplimit.New(limiter, strict)(hello))
	handler := httplimit.New(limiter, api)(mux)

	try(handler, "/")
	try(handler, "/strict/1")
	try(handler, "/strict/2")
	// Output:
	// 200 "api";r=99;t=3600
	// 200 "api";r=98;t=3600, "strict";r=0;t=3600
	// 429 "api";r=97;t=3600, "strict";r=0;t=3600
}

// It fits where middleware is a func(http.Handler) http.Handler, such as in the
// Use and With of chi and gorilla/mux.
func ExampleNew_router() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	api := core.NewPolicy("api", core.PerHour(100))
	strict := core.NewPolicy("strict", core.PerHour(1))

	router := &router{} // in production, chi.NewRouter()
	router.Use(httplimit.New(limiter, api))
	router.Use(httplimit.New(limiter, strict))
	router.Get(hello)

	try(router, "/")
	try(router, "/")
	// Output:
	// 200 "api";r=99;t=3600, "strict";r=0;t=3600
	// 429 "api";r=98;t=3600, "strict";r=0;t=3600
}

// router is a router with middleware.
type router struct {
	http.Handler
	middleware []func(http.Handler) http.Handler
}

func (r *router) Use(m func(http.Handler) http.Handler) { r.middleware = append(r.middleware, m) }
func (r *router) Get(h http.Handler)                    { r.Handler = wrap(h, r.middleware) }

// Set options once for all routes. A route's own options come after them.
func ExampleDefaults() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	api := core.NewPolicy("api", core.PerHour(100))
	all := core.NewPolicy("all", core.PerHour(5000))
	user := httplimit.ByFunc("user", func(*http.Request) (string, error) { return "ann", nil })
	limits := httplimit.Defaults(limiter, httplimit.WithKey(user))

	mux := http.NewServeMux()
	mux.Handle("GET /{$}", limits.New(all, httplimit.WithKey(httplimit.ByConstant("everyone")))(
		http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			for _, d := range httplimit.Decisions(r) {
				fmt.Println(d.Policy, d.Key)
			}
		})))

	try(limits.New(api)(mux), "/")
	// Output:
	// api user=ann
	// all everyone
	// 200 "api";r=99;t=3600, "all";r=4999;t=3600
}

func ExampleFromContext() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	handler := httplimit.New(limiter, core.NewPolicy("api", core.PerHour(100)))(
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if d, ok := httplimit.FromContext(r); ok {
				fmt.Fprintf(w, "%d of %v left for %s", d.Remaining, d.Limit, d.Key)
				return
			}
			io.WriteString(w, "no limit")
		}))

	fmt.Println(try(handler, "/"))
	// Output:
	// 200 "api";r=99;t=3600
	// 99 of 100/hour left for 192.0.2.1
}

func ExampleDecisions() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	var handler http.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		for _, d := range httplimit.Decisions(r) {
			fmt.Println(d.Policy, d.Remaining)
		}
	})
	handler = httplimit.New(limiter, core.NewPolicy("hour", core.PerHour(100)))(handler)
	handler = httplimit.New(limiter, core.NewPolicy("day", core.PerDay(1000)))(handler)

	try(handler, "/")
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

	handler := httplimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), httplimit.WithKey(httplimit.ByAddress()))(hello)

	try(handler, "/", "X-Forwarded-For", "203.0.113.7")
	try(handler, "/", "X-Forwarded-For", "198.51.100.9, 203.0.113.7") // forged on the left
	try(handler, "/", "X-Forwarded-For", "203.0.113.8")
	// Output:
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=3600
	// 200 "api";r=0;t=3600
}

func ExampleByHeader() {
	limiter := core.New(core.NewMemory(), core.WithKeySecret([]byte("from your settings")))
	defer limiter.Close()

	handler := httplimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), httplimit.WithKey(httplimit.ByHeader("X-API-Key")))(hello)

	try(handler, "/", "X-API-Key", "alice's")
	try(handler, "/", "X-API-Key", "alice's")
	try(handler, "/", "X-API-Key", "bob's")
	fmt.Println(try(handler, "/"))
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

	handler := httplimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), httplimit.WithKey(httplimit.ByBearer()))(hello)

	try(handler, "/", "Authorization", "Bearer alice's")
	try(handler, "/", "Authorization", "bearer   alice's")
	try(handler, "/", "Authorization", "Bearer bob's")
	try(handler, "/")
	// Output:
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=3600
	// 200 "api";r=0;t=3600
	// 401
}

func ExampleByBasicUser() {
	limiter := core.New(core.NewMemory(), core.WithKeySecret([]byte("from your settings")))
	defer limiter.Close()

	handler := httplimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), httplimit.WithKey(httplimit.ByFirst(httplimit.ByBasicUser(), httplimit.ByAddress())))(hello)

	try(handler, "/", "Authorization", "Basic YWxpY2U6b25l") // alice:one
	try(handler, "/", "Authorization", "Basic YWxpY2U6dHdv") // alice:two
	try(handler, "/")                                        // counted by its address
	// Output:
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=3600
	// 200 "api";r=0;t=3600
}

func ExampleBySecret() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	session := httplimit.BySecret("session", func(r *http.Request) (string, error) {
		cookie, err := r.Cookie("session")
		if err != nil {
			return "", core.ErrNoKey
		}
		return cookie.Value, nil
	})

	handler := httplimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), httplimit.WithKey(session))(
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			d, _ := httplimit.FromContext(r)
			io.WriteString(w, d.Key)
		}))

	fmt.Println(try(handler, "/", "Cookie", "session=0123456789"))
	// Output:
	// 200 "api";r=0;t=3600
	// session=84d89877f0d4041efb6bf91a16f0248f
}

func ExampleByFunc() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	user := httplimit.ByFunc("user", func(r *http.Request) (string, error) {
		id := r.Header.Get("X-User") // in production, what your authentication has found
		if id == "mallory" {
			return "", core.Refuse(http.StatusForbidden, "your account is closed")
		}
		return id, nil
	})

	handler := httplimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), httplimit.WithKey(user))(
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			d, _ := httplimit.FromContext(r)
			io.WriteString(w, d.Key)
		}))

	fmt.Println(try(handler, "/", "X-User", "alice"))
	fmt.Println(try(handler, "/", "X-User", "mallory"))
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
	read := func(r *http.Request) (f form, err error) {
		body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, 4<<10))
		if err != nil {
			return f, err // is answered with 413 when there is more
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		err = json.Unmarshal(body, &f) // is answered with 400
		return f, err
	}
	user := httplimit.ByFunc("user", func(r *http.Request) (string, error) {
		f, err := read(r)
		return strings.ToLower(f.User), err // as the service compares users
	})
	limit := httplimit.New(limiter, login, httplimit.WithKey(httplimit.ByAll(httplimit.ByAddress(), user)), httplimit.WithRefund(httplimit.OnSuccess))

	handler := limit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f, err := read(r); err != nil || f.Password != "right" {
			http.Error(w, "wrong password", http.StatusUnauthorized)
			return
		}
		io.WriteString(w, "welcome")
	}))

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
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/login", strings.NewReader(body)))
		fmt.Print(w.Code, " ")
	}
	// Output: 401 200 401 429 200 400 413
}

func ExampleByConstant() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	handler := httplimit.New(limiter, core.NewPolicy("service", core.PerHour(2)), httplimit.WithKey(httplimit.ByConstant("shop")))(hello)

	try(handler, "/", "X-User", "alice")
	try(handler, "/", "X-User", "bob")
	try(handler, "/", "X-User", "carol")
	// Output:
	// 200 "service";r=1;t=3600
	// 200 "service";r=0;t=3600
	// 429 "service";r=0;t=3600
}

func ExampleByAll() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	symbol := httplimit.ByFunc("symbol", func(r *http.Request) (string, error) { return r.PathValue("symbol"), nil })

	mux := http.NewServeMux()
	mux.Handle("GET /stocks/{symbol}", httplimit.New(limiter, core.NewPolicy("stocks", core.PerHour(1)),
		httplimit.WithKey(httplimit.ByAll(httplimit.ByAddress(), symbol)))(hello))

	try(mux, "/stocks/ACME")
	try(mux, "/stocks/ACME")
	try(mux, "/stocks/INIT")
	// Output:
	// 200 "stocks";r=0;t=3600
	// 429 "stocks";r=0;t=3600
	// 200 "stocks";r=0;t=3600
}

func ExampleByFirst() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	handler := httplimit.New(limiter, core.NewPolicy("api", core.PerHour(1)),
		httplimit.WithKey(httplimit.ByFirst(httplimit.ByHeader("X-API-Key"), httplimit.ByAddress())))(hello)

	try(handler, "/", "X-API-Key", "alice's")
	try(handler, "/")
	try(handler, "/")
	// Output:
	// 200 "api";r=0;t=3600
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=3600
}

func ExampleKeyFunc() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	api := core.NewPolicy("api", core.PerHour(100))
	keyOf := httplimit.KeyFunc(limiter, httplimit.ByAddress())

	mux := http.NewServeMux()
	mux.Handle("GET /{$}", httplimit.New(limiter, api)(hello))
	mux.HandleFunc("GET /quota", func(w http.ResponseWriter, r *http.Request) {
		key, err := keyOf(r)
		if err != nil {
			http.Error(w, "no key", http.StatusInternalServerError)
			return
		}
		d, err := limiter.Peek(r.Context(), api, key)
		if err != nil {
			http.Error(w, "no decision", http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, d.Remaining, " left")
	})

	try(mux, "/")
	fmt.Println(try(mux, "/quota"))
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
	user := httplimit.ByFunc("user", func(r *http.Request) (string, error) {
		return r.Header.Get("X-User"), nil // in production, what your authentication has found
	})

	handler := httplimit.New(limiter, perAddress,
		httplimit.WithPolicy(perUser, user),
		httplimit.WithPolicy(perService, httplimit.ByConstant("shop")))(hello)

	try(handler, "/", "X-User", "alice")
	try(handler, "/", "X-User", "alice")
	try(handler, "/", "X-User", "alice") // denied by one, so counted by none
	try(handler, "/", "X-User", "bob")
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

	handler := httplimit.New(limiter, tokens, httplimit.WithCost(func(r *http.Request) (int64, error) {
		n, err := strconv.ParseInt(r.Header.Get("X-Tokens"), 10, 64)
		if err != nil {
			return 0, core.Refuse(http.StatusBadRequest, "X-Tokens must be a number")
		}
		return n, nil
	}))(hello)

	try(handler, "/", "X-Tokens", "600")
	try(handler, "/", "X-Tokens", "600")
	fmt.Println(try(handler, "/", "X-Tokens", "lots"))
	// Output:
	// 200 "tokens";r=400;t=3600
	// 429 "tokens";r=400;t=3600
	// 400
	// {"title":"Bad Request","status":400,"detail":"X-Tokens must be a number"}
}

func ExampleWithSkip() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	mux := http.NewServeMux()
	mux.Handle("GET /{$}", hello)
	mux.Handle("GET /healthz", hello)
	handler := httplimit.New(limiter, core.NewPolicy("api", core.PerHour(100)), httplimit.WithSkip(func(r *http.Request) bool {
		return r.URL.Path == "/healthz"
	}))(mux)

	try(handler, "/")
	try(handler, "/healthz")
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

	handler := httplimit.New(limiter, free, httplimit.WithTier(func(r *http.Request) *core.Policy {
		if r.Header.Get("X-Plan") == "pro" { // in production, the plan of the user
			return pro
		}
		return nil // free
	}))(hello)

	try(handler, "/")
	try(handler, "/", "X-Plan", "pro")
	// Output:
	// 200 "free";r=9;t=3600
	// 200 "pro";r=999;t=3600
}

func ExampleWithRefund() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	// Two wrong passwords an hour; right ones cost nothing.
	login := core.NewPolicy("login", core.PerHour(2), core.Refundable(0))

	handler := httplimit.New(limiter, login, httplimit.WithRefund(httplimit.OnSuccess))(
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Password") != "right" {
				http.Error(w, "wrong password", http.StatusUnauthorized)
				return
			}
			io.WriteString(w, "welcome")
		}))

	for _, password := range []string{"right", "wrong", "right", "wrong", "right"} {
		try(handler, "/", "X-Password", password)
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

	limit := httplimit.New(limiter, tokens,
		// No answer is longer than 600 tokens, and most are shorter.
		httplimit.WithCost(func(*http.Request) (int64, error) { return 600, nil }),
		httplimit.WithSettle(func(r *http.Request, _ int) int64 { return *used(r) }))
	complete := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("cut") {
			return // as when the client leaves: what was used is not known
		}
		*used(r) = 150
		io.WriteString(w, "an answer of 150 tokens")
	})
	// Middleware outside of the limit keeps the number from the handler for used.
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		charge := int64(-1) // leaves the estimate, until the handler says more
		ctx := context.WithValue(r.Context(), usedKey{}, &charge)
		limit(complete).ServeHTTP(w, r.WithContext(ctx))
	})

	try(handler, "/")
	try(handler, "/")
	try(handler, "/?cut=1")
	try(handler, "/")
	// Output:
	// 200 "tokens";r=400;t=3600
	// 200 "tokens";r=250;t=3600
	// 200 "tokens";r=100;t=3600
	// 429 "tokens";r=100;t=3600
}

type usedKey struct{}

func used(r *http.Request) *int64 { return r.Context().Value(usedKey{}).(*int64) }

// A blocked client is denied with 403, so take the status from the problem.
func ExampleWithDenied() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	handler := httplimit.New(limiter, core.NewPolicy("api", core.PerHour(1)),
		httplimit.WithDenied(func(w http.ResponseWriter, _ *http.Request, d core.Decision) {
			http.Error(w, "No more than "+d.Limit.String()+", please.", core.ProblemFor(d.Err()).Status)
		}))(hello)

	try(handler, "/")
	fmt.Println(try(handler, "/"))
	// Output:
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=3600
	// No more than 1/hour, please.
}

func ExampleWithErrorHandler() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	handler := httplimit.New(limiter, core.NewPolicy("api", core.PerHour(1)),
		httplimit.WithKey(httplimit.ByHeader("X-API-Key")),
		httplimit.WithErrorHandler(func(w http.ResponseWriter, _ *http.Request, err error) {
			if errors.Is(err, core.ErrNoKey) {
				http.Error(w, "Get a key at /keys.", http.StatusUnauthorized)
				return
			}
			http.Error(w, "Try again.", core.ProblemFor(err).Status)
		}))(hello)

	fmt.Println(try(handler, "/"))
	// Output:
	// 401
	// Get a key at /keys.
}

func ExampleWithHeaders() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	handler := httplimit.New(limiter, core.NewPolicy("api", core.PerHour(100)), httplimit.WithHeaders(core.HeadersX))(
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, w.Header().Get("X-RateLimit-Remaining"))
		}))

	fmt.Println(try(handler, "/"))
	// Output:
	// 200
	// 99
}

var hello = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })

// try requests a path. A name and a value of a field may follow. It prints the status and
// the RateLimit field, and returns the body.
func try(h http.Handler, path string, field ...string) (body string) {
	w := get(h, path, field...)
	fmt.Println(strings.TrimSpace(fmt.Sprint(w.Code, " ", w.Header().Get("RateLimit"))))
	return strings.TrimSpace(w.Body.String())
}
