package httplimit_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/httplimit"
)

// CORS wraps the limit. Preflights are then not counted, and refusals have its fields
// too, without which scripts do not see their status. Scripts see the fields of the
// limit only if Access-Control-Expose-Headers lists them.
func ExampleNew_cors() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	cors := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Access-Control-Allow-Origin", "https://shop.example")
			w.Header().Set("Access-Control-Expose-Headers", "RateLimit, RateLimit-Policy, Retry-After")
			if r.Method == http.MethodOptions {
				w.WriteHeader(http.StatusNoContent)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	handler := cors(httplimit.New(limiter, core.NewPolicy("api", core.PerHour(1)))(hello))

	for _, method := range []string{"OPTIONS", "GET", "OPTIONS", "GET"} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(method, "/", nil))
		fmt.Println(method, w.Code, w.Header().Get("Access-Control-Allow-Origin"))
	}
	// Output:
	// OPTIONS 204 https://shop.example
	// GET 200 https://shop.example
	// OPTIONS 204 https://shop.example
	// GET 429 https://shop.example
}

// A client can have one export in flight, and three an hour. A request needs room in both
// policies, and takes from neither if one of them denies it.
func ExampleNew_inFlight() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	exports := core.NewConcurrency("exports", 1, 30*time.Second)
	hourly := core.NewPolicy("hourly", core.PerHour(3))

	mux := http.NewServeMux()
	limit := httplimit.New(limiter, exports, httplimit.WithPolicy(hourly, httplimit.ByAddress()))
	mux.Handle("/export", limit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("slow") != "" {
			try(mux, "/export") // the client's next request, while this one is in flight
		}
		_, _ = w.Write([]byte("done"))
	})))

	try(mux, "/export?slow=1")
	try(mux, "/export")
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
	handler := httplimit.New(limiter, core.NewPolicy("api", core.PerHour(1)))(hello) // yours, with the test's limiter

	try(handler, "/")
	now = now.Add(time.Hour - time.Millisecond)
	try(handler, "/")
	now = now.Add(time.Millisecond)
	try(handler, "/")
	// Output:
	// 200 "api";r=0;t=3600
	// 429 "api";r=0;t=1
	// 200 "api";r=0;t=3600
}

// From httprate: this responds as its middleware does.
//
//   - X-RateLimit-Reset is Unix time there, and seconds from now in [core.HeadersX].
//   - The body of a 429 is the text "Too Many Requests" there, and a problem document
//     here. Retry-After is the whole window there, and the true wait here.
//   - A key function that fails is 428 there, and 401 or 503 here: see [httplimit.Key].
//   - The key is what your function returns there. Here it is the peer's address unless
//     set, IPv6 by /64. Behind proxies, [core.WithTrustedProxies] takes the place of
//     chi's ClientIPFrom functions and of the deprecated KeyByRealIP.
//   - Counts are not carried over. Keys in Redis start with httprate there and with
//     streamlimit: here.
//   - The limit there is an estimate from two fixed windows. Here it is exact.
func ExampleNew_httprate() {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	limiter := core.New(core.NewMemory(core.WithClock(func() time.Time { return now }))) // yours needs no clock
	defer limiter.Close()

	unixReset := func(w http.ResponseWriter, d core.Decision) {
		reset := now.Add(d.ResetAfter + time.Second - 1).Unix() // yours uses time.Now()
		w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(reset, 10))
	}
	limit := httplimit.New(limiter, core.NewPolicy("api", core.PerHour(1)),
		httplimit.WithHeaders(core.HeadersX),
		httplimit.WithDenied(func(w http.ResponseWriter, _ *http.Request, d core.Decision) {
			unixReset(w, d)
			http.Error(w, "Too Many Requests", http.StatusTooManyRequests)
		}))
	handler := limit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d, ok := httplimit.FromContext(r); ok {
			unixReset(w, d)
		}
		hello(w, r)
	}))

	for range 2 {
		w := get(handler, "/")
		f := w.Header()
		fmt.Println(w.Code, f.Get("X-RateLimit-Limit"), f.Get("X-RateLimit-Remaining"), f.Get("X-RateLimit-Reset"), w.Body)
	}
	// Output:
	// 200 1 0 1767229200 hello
	// 429 1 0 1767229200 Too Many Requests
}
