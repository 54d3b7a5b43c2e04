package fiberlimit

import (
	"bufio"

	"github.com/gofiber/fiber/v2"
)

// StreamWriter makes f write the body of the response, as SetBodyStreamWriter of fasthttp
// does. f runs after the handler has returned, so the slots that the request holds are
// released when f returns: see [core.NewConcurrency].
//
// The slots of a request that calls SetBodyStreamWriter itself are released when the body
// is closed. That can be before its writer returns, if the client goes away.
func StreamWriter(c *fiber.Ctx, f func(w *bufio.Writer)) {
	release := exchange{c}.Record().Detach()
	c.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
		defer release()
		f(w)
	})
}

// outlives: fasthttp writes the body of a stream after the handlers, and then also runs
// the function that has taken over the connection. When all of that has ended, it closes
// the values of the request.
func outlives(c *fiber.Ctx, release func()) bool {
	ctx := c.Context()
	if ctx.LastTimeoutErrorResponse() != nil || !ctx.Response.IsBodyStream() && !ctx.Hijacked() {
		return false
	}
	end := &ending{release}
	ctx.SetUserValue(end, end)
	return true
}

// ending calls a function at the end of a request.
type ending struct{ release func() }

// Close implements [io.Closer].
func (e *ending) Close() error {
	e.release()
	return nil
}
