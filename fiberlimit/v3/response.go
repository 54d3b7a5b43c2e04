package fiberlimit

import (
	"context"
	"net/http"

	"github.com/gofiber/fiber/v3"

	"github.com/streamlimit/streamlimit/core/adapter"
)

// watch needs no writer: Fiber sends a response after all handlers.
func watch(c fiber.Ctx) adapter.Response { return response{c, c.Context()} }

type response struct {
	c   fiber.Ctx
	ctx context.Context // of the request, outside of the limit
}

// Begun implements [adapter.Response].
func (response) Begun() int { return 0 }

// End calls the ErrorHandler with err, like Fiber's own middleware that needs the status.
func (r response) End(err error) (int, error) {
	if err != nil && r.c.App().ErrorHandler(r.c, err) != nil {
		_ = r.c.SendStatus(http.StatusInternalServerError) // as Fiber does
	}
	// A timeout outside of the limit makes its response concurrently with the handler.
	// The response exists when the context is abandoned.
	if r.ctx.Err() == nil || r.c.IsAbandoned() {
		if late := r.c.RequestCtx().LastTimeoutErrorResponse(); late != nil {
			return late.StatusCode(), nil // is sent in place of the response
		}
	}
	return r.c.Response().StatusCode(), nil
}
