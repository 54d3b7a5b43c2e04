// Package httplimit is exact rate limiting for services made with net/http, and
// with routers whose middleware is a func(http.Handler) http.Handler, such as
// chi and gorilla/mux: limits for all of a service, some of it or one route.
//
//	limiter := core.New(core.NewMemory())
//	api := core.NewPolicy("api", core.PerMinute(100))
//	strict := core.NewPolicy("strict", core.Per(5, 10*time.Second))
//
//	mux := http.NewServeMux()
//	mux.Handle("GET /strict", httplimit.New(limiter, strict)(handler))
//	http.ListenAndServe(":8080", httplimit.New(limiter, api)(mux))
//
// A handler finds the decision on its request with [FromContext].
//
// Packages ginlimit, echolimit and fiberlimit are the same for Gin, Echo and
// Fiber. A client has the same key in all of them, so that services share limits
// in Redis.
//
// # Order of middleware
//
// Middleware that wraps another is outside of it. From the outside to the inside:
//
//	handler := cors(httplimit.New(limiter, api)(http.TimeoutHandler(mux, time.Second, "")))
//
// The reasons:
//
//   - Outside of the limit: CORS. It answers a preflight, which is not counted then, and
//     gives refusals the fields without which a browser shows scripts no status. A limit
//     outside of CORS counts preflights.
//   - Outside: what finds out who a client is, if that is the key.
//   - Inside of the limit: caches of responses, and those for idempotent requests. Outside
//     they answer clients with what others got.
//   - Inside: timeouts, and what answers errors or changes a status, if [WithRefund] or
//     [WithSettle] are to know it.
//
// A function for [WithCost] that reads the body leaves it to the handler as it was:
//
//	httplimit.WithCost(func(r *http.Request) (int64, error) {
//		body, err := io.ReadAll(r.Body)
//		r.Body = io.NopCloser(bytes.NewReader(body))
//		if err != nil {
//			return 0, err
//		}
//		return tokensIn(body)
//	})
//
// Bound the body before, with http.MaxBytesHandler outside of the limit.
//
// A gateway and the service behind it that limit by policies of one name give a client
// that name twice in RateLimit. [core.FieldName] gives one of them another name there.
//
// # Tests
//
// A request from httptest.NewRequest comes from 192.0.2.1. One from http.NewRequest
// that is served without a network has no RemoteAddr, and is refused with 401: set it, or
// use httptest.
package httplimit
