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
package httplimit
