package fiberlimit

import (
	"bufio"
	"context"

	"github.com/gofiber/fiber/v3"
	"github.com/valyala/fasthttp"
)

// StreamWriter makes f write the body of the response, as SetBodyStreamWriter of fasthttp
// does. The request goes on until f returns. Then its slots are released (see
// [core.NewConcurrency]), and [WithRefund] and [WithSettle] correct its charge.
//
// The functions of WithRefund and WithSettle get a copy of the request, since Fiber reuses
// c while f runs. The copy has the response's status and the Locals that the handler left.
// It has no body and no parameters of the route. If the function panics on the copy, that
// is logged and the request stays charged.
//
// f can store what it used in a value of Locals: see the example. Set the Locals before you
// call StreamWriter, since f may begin while the handler runs. The values themselves are
// not copied. Fiber reuses the memory of strings from c, such as those of c.Get and
// c.Params: copy them with strings.Clone. An io.Closer in Locals is closed by then.
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
		_ = w.Flush() // the client does not wait for the end of the request
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
	if reused(c.Context(), c) {
		copied.SetContext(context.Background())
	}
	return copied, func() { app.ReleaseCtx(copied) }
}
