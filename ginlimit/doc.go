// Package ginlimit is exact rate limiting for services made with Gin: limits
// for the app, a group or one route.
//
//	limiter := core.New(core.NewMemory())
//	api := core.NewPolicy("api", core.PerMinute(100))
//	strict := core.NewPolicy("strict", core.Per(5, 10*time.Second))
//
//	router := gin.New()
//	router.Use(ginlimit.New(limiter, api))
//	router.GET("/strict", ginlimit.New(limiter, strict), handler)
//
// A handler finds the decision on its request with [FromContext].
//
// Packages echolimit, fiberlimit and core/httplimit are the same for Echo, Fiber
// and net/http. A client has the same key in all of them, so that services share
// limits in Redis.
package ginlimit
