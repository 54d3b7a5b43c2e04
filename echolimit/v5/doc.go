// Package echolimit is exact rate limiting for services made with Echo v5:
// limits for the app, a group or one route.
//
//	limiter := core.New(core.NewMemory())
//	api := core.NewPolicy("api", core.PerMinute(100))
//	strict := core.NewPolicy("strict", core.Per(5, 10*time.Second))
//
//	e := echo.New()
//	e.Use(echolimit.New(limiter, api))
//	e.GET("/strict", handler, echolimit.New(limiter, strict))
//
// A handler finds the decision on its request with [FromContext]. [Defaults] gives
// options once for all routes.
//
// Packages ginlimit, fiberlimit and core/httplimit are the same for Gin, Fiber and
// net/http. A client has the same key in all of them, so that services share limits
// in Redis.
//
// # Order of middleware
//
// Middleware that is added first is outside. From the outside to the inside:
//
//	e.Use(middleware.Recover(), middleware.CORS("https://example.com"), echolimit.New(limiter, api), middleware.ContextTimeout(time.Second))
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
//	echolimit.WithCost(func(c *echo.Context) (int64, error) {
//		r := c.Request()
//		body, err := io.ReadAll(r.Body)
//		r.Body = io.NopCloser(bytes.NewReader(body))
//		if err != nil {
//			return 0, err
//		}
//		return tokensIn(body)
//	})
//
// Limit the size of the body first, with middleware.BodyLimit outside of the limit.
//
// If a gateway and the service behind it have policies of the same name, RateLimit lists
// the name twice. [core.FieldName] gives one of the policies another name there.
//
// # Tests
//
// A request from httptest.NewRequest comes from 192.0.2.1. A request from http.NewRequest
// has no RemoteAddr unless it goes through a network, and is rejected with 401. Set
// RemoteAddr, or use httptest.
package echolimit
