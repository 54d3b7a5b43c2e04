// Package adapter is what the framework adapters have in common: their options,
// the way a request takes through a policy, and what is kept of it. Users of
// an adapter never need it; writers of one fill in a [Framework] and an
// [Exchange], and run package adaptertest over the result.
//
// C stands for the framework's request context throughout.
package adapter

import (
	"context"
	"net/http"
	"net/netip"
	"strings"

	"github.com/streamlimit/streamlimit/core"
)

// Framework is what an adapter knows of its framework. Its methods are what
// the adapter's own functions of the same names are made of; on a wrong use
// they panic with a message that begins with Name.
type Framework[C any] struct {
	// Name is the adapter's package name.
	Name string

	// Exchange is the request and its response behind a context.
	Exchange func(c C) Exchange

	// Owns reports whether the framework answers err in its own way: err is of the
	// framework's own kind, with a status in it, or the function of the user's
	// that returned it has written the response already.
	Owns func(c C, err error) bool

	// Malformed reports whether err is of the framework's own kind, without a status
	// in it, and says that the client's request can't be read. It is nil for a
	// framework that has no such errors.
	Malformed func(err error) bool

	// Watch follows the response to the client. It is called before the handler,
	// in limits that need to know the status.
	Watch func(c C) Response

	// Respond ends the request with a status and a body.
	Respond func(c C, status int, contentType string, body []byte) error

	// Fail hands err to the framework's own handling of errors, which is to
	// answer with the status of the problem and may show its detail. The text
	// of err is not for clients. It is nil for a framework that handles none.
	Fail func(c C, problem core.Problem, err error) error
}

// Response is a response on its way to the client, as the limit sees it. What is
// outside of the limit can't be seen.
type Response interface {
	// Begun returns the status that has been sent, or 0 while another one can be.
	Begun() int

	// End returns the status of the response when the handler has returned err. If the
	// framework's handling of errors has yet to choose it, End has it answer err. The
	// error is what is left for the middleware outside.
	End(err error) (status int, left error)
}

// Exchange is one request and its response. What it returns may be reused by
// the framework after the request.
type Exchange interface {
	core.Request
	core.Router

	// Context is the request's, from [Lend] if the framework uses its memory again.
	Context() context.Context

	// SetField sets a field of the response to the one value in a slice, which may
	// be kept. The name is in the form that net/http has it in.
	SetField(name string, value []string)

	// DeleteField removes a field of the response. The name is in the same form.
	DeleteField(name string)

	// NewRecord is an empty record for this limit, which is called once. It can be
	// in the memory of the exchange.
	NewRecord() *Record

	// Record is what SetRecord was given last in this request, at least by the
	// limits outside of this one, or nil.
	Record() *Record
	SetRecord(r *Record)

	// Leave is called after SetRecord when the handlers have returned, or panicked.
	Leave()

	// Again reports whether Record is of this very request, which a handler has
	// passed to the router again. Otherwise this is a request of its own, made by
	// a handler from the one that was limited before.
	Again() bool
}

// Values returns the values of a field of a net/http request, in order. A server
// of net/http brings names into the form that name is in. Code that fills in a
// header by hand may not, so that a missing name is looked for without case.
func Values(header http.Header, name string) []string {
	if values, ok := header[name]; ok {
		return values
	}
	for other, values := range header {
		if strings.EqualFold(other, name) {
			return values
		}
	}
	return nil
}

// First returns the first of a field's values, or "".
func First(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// ParsePeer reads the RemoteAddr of net/http, or what middleware has made of it:
// an address without a port. It is the zero Addr for a peer on a Unix socket, as
// [core.Request] has it.
func ParsePeer(remoteAddr string) netip.Addr {
	if ap, err := netip.ParseAddrPort(remoteAddr); err == nil {
		return ap.Addr()
	}
	addr, err := netip.ParseAddr(remoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return addr
}
