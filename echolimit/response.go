package echolimit

import (
	"github.com/labstack/echo/v4"

	"github.com/streamlimit/streamlimit/core/adapter"
)

// watch puts a writer that records the status below Echo's response. Echo's response does
// not see what some middleware sends: http.TimeoutHandler in echo.WrapMiddleware, or a
// writer that has replaced Response.Writer. The writer stays, since handlers that a
// timeout has abandoned still use the response.
func watch(c echo.Context) adapter.Response {
	w, sent := adapter.Watch(c.Request().Context(), c.Response().Writer)
	c.Response().Writer = w
	return response{sent, c}
}

type response struct {
	*adapter.Sent
	c echo.Context
}

// End calls the HTTPErrorHandler with err, like Echo's own middleware that needs the
// status.
func (r response) End(err error) (int, error) {
	if err != nil && r.Begun() == 0 {
		r.c.Error(err)
		err = nil
	}
	return r.Sent.End(err)
}
