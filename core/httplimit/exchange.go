package httplimit

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/streamlimit/streamlimit/core/adapter"
)

// There is no Fail: net/http handles no errors.
var framework = adapter.Framework[*http.Request]{
	Name:     "httplimit",
	Exchange: exchangeOf,
	Owns:     func(*http.Request, error) bool { return false },
	Watch:    watch,
	Respond:  respond,
}

func respond(r *http.Request, status int, contentType string, body []byte) error {
	w := visitOf(r).writer
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}

// visit is one request and its response, in the context of the request. Each limit has
// its own visit, since a handler inside can outlive the limit, as under
// http.TimeoutHandler.
type visit struct {
	context.Context // the request's before

	request *http.Request
	writer  http.ResponseWriter
	record  *adapter.Record // of the limits so far
	own     adapter.Record
}

// visitKey is where the context keeps the visit.
type visitKey struct{}

// Value implements [context.Context].
func (v *visit) Value(key any) any {
	if key == (visitKey{}) {
		return v
	}
	return v.Context.Value(key)
}

// visitOf returns the visit of the innermost limit so far, or nil.
func visitOf(r *http.Request) *visit {
	v, _ := r.Context().Value(visitKey{}).(*visit)
	return v
}

// enter returns the request for the limit and the handlers inside of it.
func enter(w http.ResponseWriter, r *http.Request) *http.Request {
	v := &visit{Context: r.Context(), writer: w, record: recordOf(r)}
	v.request = r.WithContext(v)
	return v.request
}

func recordOf(r *http.Request) *adapter.Record {
	if v := visitOf(r); v != nil {
		return v.record
	}
	return nil
}

// exchange adapts a visit for the limit.
type exchange struct{ v *visit }

// exchangeOf returns the exchange of a request that enters a limit, or an exchange to
// find the key of another request.
func exchangeOf(r *http.Request) adapter.Exchange {
	v := visitOf(r)
	if v == nil || v.request != r {
		v = &visit{Context: r.Context(), request: r}
	}
	return exchange{v}
}

func (x exchange) Peer() netip.Addr { return adapter.ParsePeer(x.v.request.RemoteAddr) }

func (x exchange) Header(name string) string { return adapter.First(x.HeaderValues(name)) }

func (x exchange) HeaderValues(name string) []string {
	return adapter.Values(x.v.request.Header, name)
}

func (x exchange) Context() context.Context { return x.v.request.Context() }

// Route returns the pattern of http.ServeMux. It is not known outside of the ServeMux.
func (x exchange) Route() string { return x.v.request.Pattern }

func (x exchange) SetField(name string, value []string) { x.v.writer.Header()[name] = value }

func (x exchange) DeleteField(name string) { delete(x.v.writer.Header(), name) }

func (x exchange) NewRecord() *adapter.Record { return &x.v.own }

func (x exchange) Record() *adapter.Record { return x.v.record }

func (x exchange) SetRecord(r *adapter.Record) { x.v.record = r }

// Leave leaves the request to New, which copies it for a skipped limit, too.
func (x exchange) Leave() {}

// Again compares the request with the one inside of the limit before.
func (x exchange) Again() bool {
	before, ok := x.v.Context.Value(visitKey{}).(*visit)
	return ok && adapter.SameRequest(before.request, x.v.request)
}
