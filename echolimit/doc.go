// Package echolimit is exact rate limiting for services made with Echo: limits
// for the app, a group or one route.
//
//	limiter := core.New(core.NewMemory())
//	api := core.NewPolicy("api", core.PerMinute(100))
//	strict := core.NewPolicy("strict", core.Per(5, 10*time.Second))
//
//	e := echo.New()
//	e.Use(echolimit.New(limiter, api))
//	e.GET("/strict", handler, echolimit.New(limiter, strict))
//
// A handler finds the decision on its request with [FromContext].
//
// Packages ginlimit, fiberlimit and core/httplimit are the same for Gin, Fiber and
// net/http. A client has the same key in all of them, so that services share limits
// in Redis.
package echolimit
