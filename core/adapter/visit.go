package adapter

import (
	"context"
	"net/http"
	"sync/atomic"
)

// Visit is the context of a net/http request inside of the first limit of a framework. A
// framework's own context is replaced or empty after a handler passes the request to the
// router again.
type Visit struct {
	context.Context // the context of the request before

	outside, inside *http.Request
	record          atomic.Pointer[Record] // the newest
}

// visitKey is the key of the visit in a request's context.
type visitKey struct{}

// Value implements [context.Context].
func (v *Visit) Value(key any) any {
	if key == (visitKey{}) {
		return v
	}
	return v.Context.Value(key)
}

func visitOf(r *http.Request) *Visit {
	if r == nil {
		return nil
	}
	v, _ := r.Context().Value(visitKey{}).(*Visit)
	return v
}

// Enter stores a record with the request, and returns the request to pass on. It uses
// the memory of v for the first record.
func (v *Visit) Enter(r *http.Request, record *Record) *http.Request {
	if first := visitOf(r); first != nil && SameRequest(first.outside, r) {
		first.record.Store(record)
		return r
	}
	v.Context, v.outside = r.Context(), r
	v.record.Store(record)
	v.inside = r.WithContext(v)
	return v.inside
}

// Leave copies changes by handlers to the request that this one was made from: see
// [WriteBack].
func (v *Visit) Leave() {
	if v.inside != nil {
		WriteBack(v.outside, v.inside)
	}
}

// RecordOf returns the newest record that is kept with the request, or nil.
func RecordOf(r *http.Request) *Record {
	if v := visitOf(r); v != nil {
		return v.record.Load()
	}
	return nil
}

// Again reports whether this same request has passed through a limit before.
func Again(r *http.Request) bool {
	v := visitOf(r)
	return v != nil && SameRequest(v.outside, r)
}

// SameRequest reports whether a and b are one request of a client. Such requests share
// their header, even if middleware has changed their path, context or body. A request
// that a handler has made, by NewRequest or Clone, has its own header.
func SameRequest(a, b *http.Request) bool { return sameMap(a.Header, b.Header) }
