package fiberlimit

import (
	"bufio"

	"github.com/gofiber/fiber/v3"
	"github.com/valyala/fasthttp"
)

// StreamWriter makes f write the body of the response, as SetBodyStreamWriter of fasthttp
// does. The request goes on until f returns. Then its slots are released (see
// [core.NewConcurrency]), and [WithRefund] and [WithSettle] correct its charge.
//
// The functions of WithRefund and WithSettle get a copy of the request, since Fiber
// reuses c while f runs. The copy has the Locals that the handler left, and the
// response's status. It has no body and no parameters of the route. f can store what it
// used in a value of Locals: see the example.
//
// If a handler calls SetBodyStreamWriter itself, the charge is corrected after the
// handler. The slots are released when the body is closed. If the client goes away, the
// body can be closed before its writer returns.
func StreamWriter(c fiber.Ctx, f func(w *bufio.Writer)) {
	end := func() {}
	if c.RequestCtx().LastTimeoutErrorResponse() == nil { // otherwise nobody reads the body
		end = recordOf(c).Detach()
	}
	c.RequestCtx().SetBodyStreamWriter(func(w *bufio.Writer) {
		defer end()
		f(w)
	})
}

// outlives: fasthttp writes the body of a stream after the handlers, and then also runs
// the function that has taken over the connection. When all of that has ended, fasthttp
// closes the values of the request. Fiber's adaptor for net/http does not close them. Its
// requests have no number.
func outlives(c fiber.Ctx, end func()) bool {
	ctx := c.RequestCtx()
	served := ctx.ConnRequestNum() > 0 && ctx.LastTimeoutErrorResponse() == nil
	if !served || !ctx.Response.IsBodyStream() && !ctx.Hijacked() {
		return false
	}
	last := &ending{end}
	ctx.SetUserValue(last, last)
	return true
}

// ending calls a function at the end of a request.
type ending struct{ end func() }

// Close implements [io.Closer].
func (e *ending) Close() error {
	e.end()
	return nil
}

// keep copies all but the bodies. No stream needs those, and they can be large.
func keep(c fiber.Ctx) (kept fiber.Ctx, done func()) {
	from, to := c.RequestCtx(), &fasthttp.RequestCtx{}
	to.Init(&fasthttp.Request{}, from.RemoteAddr(), nil)
	from.Request.Header.CopyTo(&to.Request.Header)
	from.Response.Header.CopyTo(&to.Response.Header)
	from.VisitUserValuesAll(to.SetUserValue)
	app := c.App()
	copied := app.AcquireCtx(to)
	return copied, func() { app.ReleaseCtx(copied) }
}
