package echolimit

import (
	"context"
	"errors"
	"net/netip"

	"github.com/labstack/echo/v4"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
)

var framework = adapter.Framework[echo.Context]{
	Name:      "echolimit",
	Exchange:  func(c echo.Context) adapter.Exchange { return &exchange{c: c} },
	Owns:      owns,
	Malformed: malformed,
	Watch:     watch,
	Respond:   respond,
	Fail:      fail,
}

// owns: an *echo.HTTPError has a status for the HTTPErrorHandler, which does not change a
// response that has been written.
func owns(c echo.Context, err error) bool {
	var own *echo.HTTPError
	return c.Response().Committed || errors.As(err, &own)
}

// malformed: a binder of parameters returns an *echo.BindingError. Echo's own
// HTTPErrorHandler does not handle it.
func malformed(err error) bool {
	var own *echo.BindingError
	return errors.As(err, &own)
}

func respond(c echo.Context, status int, contentType string, body []byte) error {
	return c.Blob(status, contentType, body)
}

// fail returns an error for the HTTPErrorHandler, which responds with the status and the
// message. It shows the inner error only in Echo's debug mode.
func fail(_ echo.Context, problem core.Problem, err error) error {
	return echo.NewHTTPError(problem.Status, problem.Detail).SetInternal(err)
}

// exchange is one request and its response.
type exchange struct {
	c     echo.Context
	own   adapter.Record
	visit adapter.Visit
}

// Peer does not use c.RealIP(), which trusts the leftmost address from any peer until
// IPExtractor is set. The limiter decides which proxies to trust.
func (x *exchange) Peer() netip.Addr { return adapter.ParsePeer(x.c.Request().RemoteAddr) }

func (x *exchange) Header(name string) string { return adapter.First(x.HeaderValues(name)) }

func (x *exchange) HeaderValues(name string) []string {
	return adapter.Values(x.c.Request().Header, name)
}

func (x *exchange) Context() context.Context { return x.c.Request().Context() }

func (x *exchange) Route() string { return x.c.Path() }

func (x *exchange) SetField(name string, value []string) { x.c.Response().Header()[name] = value }

func (x *exchange) DeleteField(name string) { delete(x.c.Response().Header(), name) }

func (x *exchange) NewRecord() *adapter.Record { return &x.own }

func (x *exchange) Record() *adapter.Record { return recordOf(x.c) }

func recordOf(c echo.Context) *adapter.Record {
	return adapter.RecordOf(c.Request())
}

func (x *exchange) SetRecord(r *adapter.Record) {
	x.c.SetRequest(x.visit.Enter(x.c.Request(), r))
}

func (x *exchange) Leave() { x.visit.Leave() }

func (x *exchange) Again() bool { return adapter.Again(x.c.Request()) }
