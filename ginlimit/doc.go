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
//
// # Order of middleware
//
// Middleware that is added first is outside. From the outside to the inside:
//
//	router.Use(gin.Recovery(), cors, ginlimit.New(limiter, api), answerErrors)
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
//	ginlimit.WithCost(func(c *gin.Context) (int64, error) {
//		body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, 1<<20))
//		c.Request.Body = io.NopCloser(bytes.NewReader(body))
//		if err != nil {
//			return 0, err
//		}
//		return tokensIn(body)
//	})
//
// A gateway and the service behind it that limit by policies of one name give a client
// that name twice in RateLimit. [core.FieldName] gives one of them another name there.
//
// # Tests
//
// A request from httptest.NewRequest comes from 192.0.2.1. One from http.NewRequest
// that is served without a network has no RemoteAddr, and is refused with 401: set it, or
// use httptest.
package ginlimit
