package fiberlimit

import (
	"net/http"

	"github.com/gofiber/fiber/v2"

	"github.com/streamlimit/streamlimit/core/adapter"
)

// watch needs no writer: Fiber sends a response after all handlers.
func watch(c *fiber.Ctx) adapter.Response { return response{c} }

type response struct{ c *fiber.Ctx }

// Begun implements [adapter.Response].
func (response) Begun() int { return 0 }

// End calls the ErrorHandler with err, like Fiber's own middleware that needs the status.
func (r response) End(err error) (int, error) {
	if err != nil && r.c.App().ErrorHandler(r.c, err) != nil {
		_ = r.c.SendStatus(http.StatusInternalServerError) // as Fiber does
	}
	if late := r.c.Context().LastTimeoutErrorResponse(); late != nil {
		return late.StatusCode(), nil // is sent in place of the response
	}
	return r.c.Response().StatusCode(), nil
}
