package adapter

import (
	"io"
	"net/http"
	"reflect"
)

// WriteBack copies the changes of a request's copy inside of a limit to the request, as
// if both were one request. A server removes the files of its own request's form, and
// http.ServeMux sets the pattern for the middleware outside of it.
func WriteBack(outside, inside *http.Request) {
	if unwritten(outside, inside) {
		return // handlers that share a request can be in concurrent limits
	}
	trailer := outside.Trailer
	*outside = *inside.WithContext(outside.Context())
	if outside.Trailer == nil {
		outside.Trailer = trailer // the server adds it to its own request
	}
}

// unwritten reports whether a copy of a request has no changes.
func unwritten(a, b *http.Request) bool {
	return a.Method == b.Method && a.URL == b.URL && sameMap(a.Header, b.Header) && sameBody(a.Body, b.Body) &&
		a.ContentLength == b.ContentLength && a.Host == b.Host && sameMap(a.Form, b.Form) && sameMap(a.PostForm, b.PostForm) &&
		a.MultipartForm == b.MultipartForm && a.RemoteAddr == b.RemoteAddr && a.RequestURI == b.RequestURI &&
		a.TLS == b.TLS && a.Pattern == b.Pattern
}

func sameMap[M ~map[string][]string](a, b M) bool {
	return reflect.ValueOf(a).UnsafePointer() == reflect.ValueOf(b).UnsafePointer()
}

func sameBody(a, b io.ReadCloser) bool {
	return reflect.TypeOf(a) == reflect.TypeOf(b) && reflect.ValueOf(a).Comparable() && a == b
}
