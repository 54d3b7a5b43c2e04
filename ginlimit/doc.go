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
// A handler finds the decision on its request with [FromContext]. [Defaults] gives
// options once for all routes.
//
// Packages echolimit, fiberlimit and core/httplimit are the same for Echo, Fiber
// and net/http. A client has the same key in all of them, so that services share
// limits in Redis.
//
// # Order of middleware
//
// Middleware that is added first is outside. From the outside to the inside:
//
//	router.Use(gin.Recovery(), cors, ginlimit.New(limiter, api), answerErrors)
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
//	ginlimit.WithCost(func(c *gin.Context) (int64, error) {
//		body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, 1<<20))
//		c.Request.Body = io.NopCloser(bytes.NewReader(body))
//		if err != nil {
//			return 0, err
//		}
//		return tokensIn(body)
//	})
//
// If a gateway and the service behind it have policies of the same name, RateLimit lists
// the name twice. [core.FieldName] gives one of the policies another name there.
//
// # Tests
//
// A request from httptest.NewRequest comes from 192.0.2.1. A request from http.NewRequest
// has no RemoteAddr unless it goes through a network, and is rejected with 401. Set
// RemoteAddr, or use httptest.
package ginlimit
