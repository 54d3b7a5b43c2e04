package fiberlimit

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
)

var framework = adapter.Framework[*fiber.Ctx]{
	Name:     "fiberlimit",
	Exchange: func(c *fiber.Ctx) adapter.Exchange { return exchange{c} },
	Owns:     owns,
	Watch:    watch,
	Outlives: outlives,
	Keep:     keep,
	Respond:  respond,
	Fail:     fail,
}

// owns: a *fiber.Error has a status for the ErrorHandler.
func owns(_ *fiber.Ctx, err error) bool {
	var own *fiber.Error
	return errors.As(err, &own)
}

func respond(c *fiber.Ctx, status int, contentType string, body []byte) error {
	c.Set(fiber.HeaderContentType, contentType)
	return c.Status(status).Send(body)
}

// fail returns an error for the ErrorHandler.
func fail(_ *fiber.Ctx, problem core.Problem, err error) error {
	return &failure{answer: fiber.NewError(problem.Status, problem.Detail), cause: err}
}

// failure wraps a *fiber.Error and its cause for errors.As. Its text has only the text of
// the response, since Fiber's default ErrorHandler shows it to the client.
type failure struct {
	answer *fiber.Error
	cause  error
}

func (f *failure) Error() string   { return f.answer.Error() }
func (f *failure) Unwrap() []error { return []error{f.answer, f.cause} }

// exchange is one request and its response. Fiber reuses the memory of the strings that
// its methods return after the request. Package core keeps none of them.
type exchange struct{ c *fiber.Ctx }

// recordKey is the key of the record in the context.
type recordKey struct{}

// Peer does not use c.IP(), which trusts the ProxyHeader of the app's settings. The
// limiter decides which proxies to trust.
func (x exchange) Peer() netip.Addr {
	switch addr := x.c.Context().RemoteAddr().(type) {
	case *net.TCPAddr:
		return addr.AddrPort().Addr()
	case nil:
		return netip.Addr{}
	default:
		return adapter.ParsePeer(addr.String())
	}
}

func (x exchange) Header(name string) string {
	if x.asSent() {
		return adapter.First(x.HeaderValues(name))
	}
	return trim(x.c.Get(name))
}

func (x exchange) HeaderValues(name string) (values []string) {
	if x.asSent() {
		x.c.Request().Header.VisitAll(func(field, value []byte) { //nolint:staticcheck // the fasthttp that Fiber 2 requires has no All
			if strings.EqualFold(string(field), name) {
				values = append(values, trim(string(value)))
			}
		})
		return values
	}
	for _, line := range x.c.Request().Header.PeekAll(name) {
		values = append(values, trim(string(line)))
	}
	return values
}

// asSent reports whether Fiber leaves the names of fields as clients write them:
// see DisableHeaderNormalizing in [fiber.Config].
func (x exchange) asSent() bool { return x.c.App().Server().DisableHeaderNamesNormalizing }

// trim removes the white space that Fiber leaves around a field's value. Equal values
// then have equal digests.
func trim(value string) string { return strings.Trim(value, " \t") }

// contextKey is the key of a mark that identifies the contexts of a request.
type contextKey struct{}

// Context returns the user's context, which Fiber never cancels when a client leaves. It
// can be the request itself, or be derived from it, and Fiber reuses the request.
func (x exchange) Context() context.Context {
	ctx := x.c.UserContext()
	if reused(ctx, x.c) {
		return adapter.Lend(ctx)
	}
	return ctx
}

// reused reports whether ctx is the request, or is derived from it.
func reused(ctx context.Context, c *fiber.Ctx) bool {
	if ctx == context.Background() {
		return false
	}
	c.Locals(contextKey{}, true)
	return ctx.Value(contextKey{}) != nil
}

// Route returns the route of the limit. Fiber does not know the final route before the
// handlers run.
func (x exchange) Route() string { return x.c.Route().Path }

// SetField does not check the name and the value: neither contains a line break.
func (x exchange) SetField(name string, value []string) {
	x.c.Response().Header.SetCanonical([]byte(name), []byte(value[0]))
}

func (x exchange) DeleteField(name string) { x.c.Response().Header.Del(name) }

func (x exchange) NewRecord() *adapter.Record { return &adapter.Record{} }

func (x exchange) Record() *adapter.Record {
	r, _ := x.c.Locals(recordKey{}).(*adapter.Record)
	return r
}

func (x exchange) SetRecord(r *adapter.Record) { x.c.Locals(recordKey{}, r) }

// Leave restores the fields that were lost when a handler replaced the response with the
// response of another server, as proxy.Do does.
func (x exchange) Leave() {
	header := &x.c.Response().Header
	x.Record().Restore(
		func(name, value string) bool {
			return slices.ContainsFunc(header.PeekAll(name), func(v []byte) bool { return string(v) == value })
		},
		header.Add,
	)
}

// Again returns true: a context belongs to one request, even after RestartRouting.
func (x exchange) Again() bool { return true }
