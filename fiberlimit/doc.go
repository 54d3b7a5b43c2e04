// Package fiberlimit is exact rate limiting for services made with Fiber: limits
// for the app, a group or one route.
//
//	limiter := core.New(core.NewMemory())
//	api := core.NewPolicy("api", core.PerMinute(100))
//	strict := core.NewPolicy("strict", core.Per(5, 10*time.Second))
//
//	app := fiber.New()
//	app.Use(fiberlimit.New(limiter, api))
//	app.Get("/strict", fiberlimit.New(limiter, strict), handler)
//
// A handler finds the decision on its request with [FromContext].
//
// Packages ginlimit, echolimit and core/httplimit are the same for Gin, Echo and
// net/http. A client has the same key in all of them, so that services share limits
// in Redis.
package fiberlimit
