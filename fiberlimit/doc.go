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
//
// # Order of middleware
//
// Middleware that is added first is outside. From the outside to the inside:
//
//	app.Use(recover.New(), cors.New(), fiberlimit.New(limiter, api), cache.New())
//
// The reasons:
//
//   - Outside of the limit: CORS. It answers a preflight, which is not counted then, and
//     gives refusals the fields without which a browser shows scripts no status. A limit
//     outside of CORS counts preflights.
//   - Outside: what finds out who a client is, if that is the key.
//   - Inside of the limit: cache and idempotency. Outside they answer clients with what
//     others got, and Fiber's cache keeps refusals although these forbid it. Where a
//     cache must be outside, its Next leaves out what is limited.
//   - Inside: timeouts, and what answers errors or changes a status, if [WithRefund] or
//     [WithSettle] are to know it.
//
// A function for [WithCost] may read the body with c.Body: the handler finds it there as
// well. With StreamRequestBody it reads c.Context().RequestBodyStream, and nobody else
// can after it.
//
// A gateway and the service behind it that limit by policies of one name give a client
// that name twice in RateLimit. [core.FieldName] gives one of them another name there.
//
// # Tests
//
// A request of app.Test comes from 0.0.0.0, whatever its RemoteAddr is. Two tests of one
// limiter share its budget.
//
// # Prefork
//
// With Prefork each child is a process with a memory of its own: with [core.NewMemory]
// and 8 children a client gets up to 8 times the limit, on one connection after another.
// Share the limits in Redis instead.
package fiberlimit
