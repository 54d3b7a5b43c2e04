package httplimit

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// statusWriter remembers the status of the response. It can do what the writer
// in it can do: see [http.ResponseController], whose ways it follows.
type statusWriter struct {
	http.ResponseWriter
	status int // 0 before the response begins
}

// result is the status that the response has, or will have when the handler has
// returned.
func (w *statusWriter) result() int {
	w.begin(http.StatusOK)
	return w.status
}

// begin notes the status of a response that begins now, unless it has before.
func (w *statusWriter) begin(status int) {
	if w.status == 0 {
		w.status = status
	}
}

// WriteHeader implements [http.ResponseWriter]. The informational statuses come
// before the response, except for the one that ends it.
func (w *statusWriter) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.begin(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	w.begin(http.StatusOK)
	return w.ResponseWriter.Write(b)
}

// ReadFrom lets the writer within copy files without reading them.
func (w *statusWriter) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(w.ResponseWriter, r)
	if n > 0 {
		w.begin(http.StatusOK)
	}
	return n, err
}

// Unwrap is for [http.ResponseController].
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// FlushError is for [http.ResponseController].
func (w *statusWriter) FlushError() error {
	w.begin(http.StatusOK)
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush implements [http.Flusher], for handlers that ask for one.
func (w *statusWriter) Flush() { _ = w.FlushError() }

// Hijack implements [http.Hijacker], for handlers that ask for one.
func (w *statusWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.ResponseWriter).Hijack()
}
