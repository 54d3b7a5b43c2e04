// Package adapter contains what the framework adapters share: their options, the path
// of a request through a policy, and its record. Users of an adapter need at most
// [AddressKey] and [CredentialKey] of it. Writers of an adapter fill in a [Framework] and
// an [Exchange], and run package adaptertest on the result.
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

// Framework describes the framework of an adapter. The adapter's own functions call the
// methods of the same names. On a wrong use the methods panic with a message that
// begins with Name.
type Framework[C any] struct {
	// Name is the adapter's package name.
	Name string

	// Exchange is the request and its response behind a context.
	Exchange func(c C) Exchange

	// Owns reports whether the framework answers err in its own way. Then err is one of
	// the framework's own errors with a status, or the user's function that returned it
	// has already written the response.
	Owns func(c C, err error) bool

	// Malformed reports whether err is one of the framework's own errors without a
	// status, and means that the client's request can't be read. It is nil for a
	// framework without such errors.
	Malformed func(err error) bool

	// Watch follows the response to the client. It is called before the handler,
	// in limits that need to know the status.
	Watch func(c C) Response

	// Outlives reports whether the response goes on after the handlers. If so, it arranges
	// that end is called when the response has ended. It is nil for a framework whose
	// responses end with their handlers.
	Outlives func(c C, end func()) bool

	// Keep returns a copy of c that can be used after the handlers, until done is called.
	// It is nil for a framework without Outlives. [Record.Detach] needs it.
	Keep func(c C) (kept C, done func())

	// Respond responds to the request with a status and a body.
	Respond func(c C, status int, contentType string, body []byte) error

	// Fail passes err to the framework's own error handling. That must answer with the
	// status of the problem and may show its detail, but not the text of err. Fail is
	// nil for a framework that handles no errors.
	Fail func(c C, problem core.Problem, err error) error
}

// Response is a response on its way to the client, as the limit sees it. The limit
// can't see changes by middleware outside of it.
type Response interface {
	// Begun returns the status that has been sent, or 0 while another one can still be
	// sent.
	Begun() int

	// End returns the status of the response when the handler has returned err. If the
	// framework's error handling has yet to choose the status, End calls it with err.
	// The returned error is what is left for the middleware outside.
	End(err error) (status int, left error)
}

// Exchange is one request and its response. The framework may reuse the memory of what
// its methods return after the request.
type Exchange interface {
	// Peer returns the address at the other end of the connection, or the zero Addr if
	// it has none (a Unix socket). It is never taken from a header.
	Peer() netip.Addr

	// Header returns the first value of a header field, or "". The name is in the
	// canonical form of net/http, such as X-Api-Key. Header finds the field in whatever
	// case the client has written it.
	Header(name string) string

	// HeaderValues returns all values of such a field, in order.
	HeaderValues(name string) []string

	// Route returns the template that the route was set up with, or "".
	Route() string

	// Context returns the context of the request, from [Lend] if the framework reuses
	// its memory.
	Context() context.Context

	// SetField sets a field of the response to the one value in a slice, which may
	// be kept. The name is in the form that net/http uses.
	SetField(name string, value []string)

	// DeleteField removes a field of the response. The name is in the same form.
	DeleteField(name string)

	// NewRecord returns an empty record for this limit. It is called once. The record can
	// be part of the exchange's memory.
	NewRecord() *Record

	// Record returns the newest record that SetRecord was given in this request, at
	// least by the limits outside of this one, or nil.
	Record() *Record
	SetRecord(r *Record)

	// Leave is called after SetRecord, when the handlers have returned or panicked.
	Leave()

	// Again reports whether Record belongs to this same request, which a handler has
	// passed to the router again. Otherwise this is a new request, which a handler made
	// from the one that was limited before.
	Again() bool
}

// Values returns the values of a field of a net/http request, in order. name must be in
// the canonical form, which a server of net/http gives to all field names. Code that
// fills in a header by hand may use another form, so Values looks up a missing name
// without regard to case.
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

// ParsePeer parses the RemoteAddr of net/http. Middleware may have changed it to an
// address without a port. ParsePeer returns the zero Addr for a peer on a Unix socket,
// as [Exchange] requires.
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
