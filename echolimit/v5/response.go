package echolimit

import (
	"github.com/labstack/echo/v5"

	"github.com/streamlimit/streamlimit/core/adapter"
)

// watch puts a writer below Echo's response. Echo's response does not see what some
// middleware sends: http.TimeoutHandler in echo.WrapMiddleware, or a writer given to
// SetResponse. A writer from outside of the limit can hold the response back, so it is
// watched in place of the response. The writer stays, since handlers that a timeout has
// abandoned still use the response.
func watch(c *echo.Context) adapter.Response {
	ctx := c.Request().Context()
	if r, ok := c.Response().(*echo.Response); ok {
		w, sent := adapter.Watch(ctx, r.ResponseWriter)
		r.ResponseWriter = w
		return response{sent, c}
	}
	w, sent := adapter.Watch(ctx, c.Response())
	c.SetResponse(w)
	return response{sent, c}
}

type response struct {
	*adapter.Sent
	c *echo.Context
}

// End calls the HTTPErrorHandler with err, like Echo's own middleware that needs the
// status.
func (r response) End(err error) (int, error) {
	if err != nil && r.Begun() == 0 {
		r.c.Echo().HTTPErrorHandler(r.c, err)
		err = nil
	}
	return r.Sent.End(err)
}
