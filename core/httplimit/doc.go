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
// A handler finds the decision on its request with [FromContext]. [Defaults] gives
// options once for all routes.
//
// Packages ginlimit, echolimit and fiberlimit are the same for Gin, Echo and
// Fiber. A client has the same key in all of them, so that services share limits
// in Redis.
//
// [Transport] is for the other side: an http.Client whose requests keep to the limits of
// somebody else's service, for all processes together.
//
// # Order of middleware
//
// Middleware that wraps another is outside of it. From the outside to the inside:
//
//	handler := cors(httplimit.New(limiter, api)(http.TimeoutHandler(mux, time.Second, "")))
//
// The reasons:
//
//   - Outside of the limit: CORS. It answers preflights, so they are not counted, and adds
//     fields to refusals. Without those fields a browser hides the status from scripts.
//   - Outside: authentication, if the key is the user that it finds.
//   - Inside of the limit: response and idempotency caches. Outside they answer clients
//     with responses to others.
//   - Inside: timeouts, and what answers errors or changes a status, if [WithRefund] or
//     [WithSettle] depend on that status.
//
// A function for [WithCost] that reads the body must restore it for the handler:
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
// Limit the size of the body first, with http.MaxBytesHandler outside of the limit.
//
// If a gateway and the service behind it have policies of the same name, RateLimit lists
// the name twice. [core.FieldName] gives one of the policies another name there.
//
// # Tests
//
// A request from httptest.NewRequest comes from 192.0.2.1. A request from http.NewRequest
// has no RemoteAddr unless it goes through a network, and is rejected with 401. Set
// RemoteAddr, or use httptest.
package httplimit
