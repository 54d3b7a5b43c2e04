// Package fiberlimit is exact rate limiting for services made with Fiber:
// limits for the app, a group or one route.
//
//	limiter := core.New(core.NewMemory())
//	api := core.NewPolicy("api", core.PerMinute(100))
//	strict := core.NewPolicy("strict", core.Per(5, 10*time.Second))
//
//	app := fiber.New()
//	app.Use(fiberlimit.New(limiter, api))
//	app.Get("/strict", fiberlimit.New(limiter, strict), handler)
//
// A handler finds the decision on its request with [FromContext]. [Defaults] gives
// options once for all routes.
//
// Packages ginlimit, echolimit and core/httplimit are the same for Gin, Echo and
// net/http. A client has the same key in all of them, so that services share limits
// in Redis.
//
// # Order of middleware
//
// Middleware that is added first is outside. From the outside to the inside:
//
//	app.Use(recover.New(), cors.New(), fiberlimit.New(limiter, api), cache.New())
//
// The reasons:
//
//   - Outside of the limit: CORS. It answers preflights, so they are not counted, and adds
//     fields to refusals. Without those fields a browser hides the status from scripts.
//   - Outside: authentication, if the key is the user that it finds.
//   - Inside of the limit: cache and idempotency. Outside they answer clients with
//     responses to others, and Fiber's cache keeps refusals despite their no-store. If a
//     cache must be outside, let its Next skip the limited routes.
//   - Inside: timeouts, and what answers errors or changes a status, if [WithRefund] or
//     [WithSettle] depend on that status.
//
// A function for [WithCost] may read the body with c.Body: the handler can read it
// again. With StreamRequestBody the function reads c.Context().RequestBodyStream, and the
// handler can't read the body again.
//
// If a gateway and the service behind it have policies of the same name, RateLimit lists
// the name twice. [core.FieldName] gives one of the policies another name there.
//
// # Tests
//
// A request of app.Test comes from 0.0.0.0, whatever its RemoteAddr is. Two tests of one
// limiter share its budget.
//
// In a bubble of testing/synctest, call app.Test of any app once before the bubble, or use
// [core.WithClock] instead: fasthttp starts a goroutine that never ends.
//
// # Prefork
//
// With Prefork each child is a process with its own memory. With [core.NewMemory]
// and 8 children, a client that reconnects gets up to 8 times the limit.
// Share the limits in Redis instead.
package fiberlimit
