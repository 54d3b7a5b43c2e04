package ginlimit

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/streamlimit/streamlimit/core/adapter"
)

// watch puts a writer below the writers of the middleware inside of the limit, which can
// send another response than the handler's.
func watch(c *gin.Context) adapter.Response {
	w := &response{ResponseWriter: c.Writer, c: c, ctx: c.Request.Context()}
	c.Writer = w
	return w
}

// response is the response as Gin sends it: when it is written, or after all
// middleware. It notes what Gin's does not: that a connection was taken over, and that
// http.TimeoutHandler has answered.
type response struct {
	gin.ResponseWriter
	c        *gin.Context
	ctx      context.Context // of the request, outside of the limit
	hijacked bool            // before the response began
	late     bool
}

// Begun implements [adapter.Response].
func (r *response) Begun() int {
	switch {
	case r.hijacked:
		return http.StatusSwitchingProtocols
	case r.Written():
		return sent(r.Status())
	}
	return 0
}

// sent returns the status of a response that Gin has begun with status. For Gin an
// informational one begins it too. It sends no other, and net/http sends 200.
func sent(status int) int {
	if status < http.StatusOK && status != http.StatusSwitchingProtocols {
		return http.StatusOK
	}
	return status
}

// End implements [adapter.Response]. Errors in c.Errors, without an answer, are left to
// middleware outside of the limit, which is to make a failure of them.
func (r *response) End(err error) (int, error) {
	begun, status := r.Begun(), r.Status()
	switch {
	case r.late, adapter.GivenUp(r.ctx, r.ResponseWriter, begun != 0 || status != http.StatusOK):
		return http.StatusServiceUnavailable, err
	case begun != 0:
		return begun, err
	case status == http.StatusOK && len(r.c.Errors) > 0:
		return http.StatusInternalServerError, err
	}
	return sent(status), err
}

func (r *response) Write(b []byte) (int, error) {
	n, err := r.ResponseWriter.Write(b)
	r.late = r.late || errors.Is(err, http.ErrHandlerTimeout)
	return n, err
}

func (r *response) WriteString(s string) (int, error) {
	n, err := r.ResponseWriter.WriteString(s)
	r.late = r.late || errors.Is(err, http.ErrHandlerTimeout)
	return n, err
}

// Hijack implements [http.Hijacker]. Whoever takes a connection over sends what no
// writer sees; nearly always it is another protocol.
func (r *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	begun := r.Written()
	conn, buffer, err := r.ResponseWriter.Hijack()
	r.hijacked = r.hijacked || err == nil && !begun
	return conn, buffer, err
}

// Unwrap is for [http.ResponseController].
func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }
