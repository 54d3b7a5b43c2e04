package ginlimit

import (
	"context"
	"errors"
	"net/netip"

	"github.com/gin-gonic/gin"
	"github.com/gin-gonic/gin/binding"
	"github.com/go-playground/validator/v10"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
)

var framework = adapter.Framework[*gin.Context]{
	Name:      "ginlimit",
	Exchange:  func(c *gin.Context) adapter.Exchange { return &exchange{c: c} },
	Owns:      owns,
	Malformed: malformed,
	Watch:     watch,
	Respond:   respond,
	Fail:      fail,
}

// owns: Gin has no errors with a status. Functions of the user abort and write the
// response themselves.
func owns(c *gin.Context, _ error) bool { return c.Writer.Written() }

// malformed: ShouldBind returns the errors of the validator as they are.
func malformed(err error) bool {
	var (
		invalid validator.ValidationErrors
		several binding.SliceValidationError
	)
	return errors.As(err, &invalid) || errors.As(err, &several)
}

func respond(c *gin.Context, status int, contentType string, body []byte) error {
	c.Data(status, contentType, body)
	return nil
}

// fail sets the status and does not send it, unlike c.AbortWithError. Middleware that
// answers c.Errors can still write fields and a body.
func fail(c *gin.Context, problem core.Problem, err error) error {
	c.Status(problem.Status)
	_ = c.Error(err)
	return nil
}

// exchange is one request and its response.
type exchange struct {
	c     *gin.Context
	own   adapter.Record
	visit adapter.Visit
}

// Peer does not use c.ClientIP(), which trusts every peer's forwarded fields until
// SetTrustedProxies is called. The limiter decides which proxies to trust.
func (x *exchange) Peer() netip.Addr { return adapter.ParsePeer(x.c.Request.RemoteAddr) }

func (x *exchange) Header(name string) string { return adapter.First(x.HeaderValues(name)) }

func (x *exchange) HeaderValues(name string) []string {
	return adapter.Values(x.c.Request.Header, name)
}

// Context returns the request's context, since a *gin.Context never ends by default.
// Middleware may have derived it from a *gin.Context, which Gin reuses.
func (x *exchange) Context() context.Context {
	ctx := x.c.Request.Context()
	if ctx.Value(gin.ContextKey) != nil {
		return adapter.Lend(ctx)
	}
	return ctx
}

func (x *exchange) Route() string { return x.c.FullPath() }

func (x *exchange) SetField(name string, value []string) { x.c.Writer.Header()[name] = value }

func (x *exchange) DeleteField(name string) { delete(x.c.Writer.Header(), name) }

func (x *exchange) NewRecord() *adapter.Record { return &x.own }

func (x *exchange) Record() *adapter.Record { return recordOf(x.c) }

func recordOf(c *gin.Context) *adapter.Record {
	return adapter.RecordOf(c.Request)
}

func (x *exchange) SetRecord(r *adapter.Record) {
	x.c.Request = x.visit.Enter(x.c.Request, r)
}

func (x *exchange) Leave() { x.visit.Leave() }

func (x *exchange) Again() bool { return adapter.Again(x.c.Request) }
