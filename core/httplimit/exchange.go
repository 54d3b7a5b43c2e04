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
	Exchange: func(r *http.Request) adapter.Exchange { return exchange{r, visitOf(r)} },
	Owns:     func(*http.Request, error) bool { return false },
	Status:   func(r *http.Request, _ error) int { return visitOf(r).writer.(*statusWriter).result() },
	Respond:  respond,
}

func respond(r *http.Request, status int, contentType string, body []byte) error {
	w := visitOf(r).writer
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}

// visit is what a limit puts into the context of its request. Each limit has its
// own, since what is inside of it may outlive it, as under http.TimeoutHandler.
type visit struct {
	writer http.ResponseWriter
	record *adapter.Record // of the limits so far
}

// visitKey is where the context keeps the visit.
type visitKey struct{}

// visitOf is the visit of the innermost limit so far, or nil.
func visitOf(r *http.Request) *visit {
	v, _ := r.Context().Value(visitKey{}).(*visit)
	return v
}

// enter is the request as the limit and what is inside of it see it.
func enter(w http.ResponseWriter, r *http.Request) *http.Request {
	v := &visit{writer: w, record: recordOf(r)}
	return r.WithContext(context.WithValue(r.Context(), visitKey{}, v))
}

func recordOf(r *http.Request) *adapter.Record {
	if v := visitOf(r); v != nil {
		return v.record
	}
	return nil
}

// exchange is one request and its response.
type exchange struct {
	r *http.Request
	v *visit
}

func (x exchange) Peer() netip.Addr { return adapter.ParsePeer(x.r.RemoteAddr) }

func (x exchange) Header(name string) string { return x.r.Header.Get(name) }

func (x exchange) HeaderValues(name string) []string { return x.r.Header.Values(name) }

func (x exchange) Context() context.Context { return x.r.Context() }

// Route is the pattern of http.ServeMux, which is not known outside of it.
func (x exchange) Route() string { return x.r.Pattern }

func (x exchange) SetHeader(name, value string) { x.v.writer.Header().Set(name, value) }

func (x exchange) Record() *adapter.Record { return x.v.record }

func (x exchange) SetRecord(r *adapter.Record) { x.v.record = r }
