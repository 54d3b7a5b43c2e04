package adapter

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
)

// Watch returns a writer in place of w that records the status it sends, and the [Sent]
// that holds the record. ctx is the request's context outside of the limit.
//
// The writer is an [http.Flusher], [http.Hijacker], [http.Pusher] and [io.ReaderFrom]
// where w is one. An [http.ResponseController] finds what else w can do.
func Watch(ctx context.Context, w http.ResponseWriter) (http.ResponseWriter, *Sent) {
	s := &watcher{w: w, sent: Sent{ctx: ctx, writer: w}}
	return s.like(w), &s.sent
}

// Sent is the state of a net/http response in a limit. It implements [Response] for
// frameworks that handle no errors.
type Sent struct {
	ctx    context.Context
	writer http.ResponseWriter
	status int // 0 before the response begins
}

// Begun implements [Response].
func (s *Sent) Begun() int { return s.status }

// End implements [Response].
func (s *Sent) End(err error) (int, error) {
	switch {
	case GivenUp(s.ctx, s.writer, s.status != 0):
		return http.StatusServiceUnavailable, err
	case s.status == 0:
		return http.StatusOK, err // as net/http responds for a handler that has written nothing
	}
	return s.status, err
}

func (s *Sent) begin(status int) {
	if s.status == 0 {
		s.status = status
	}
}

// GivenUp reports whether middleware outside of a limit, such as http.TimeoutHandler,
// has answered in place of the handler because the request timed out. ctx is the
// request's context outside of the limit, and w the writer there. begun reports whether
// a response has begun.
func GivenUp(ctx context.Context, w http.ResponseWriter, begun bool) bool {
	if begun && ctx.Err() != nil {
		// An empty write sends nothing. Only its error shows whether a write is still
		// possible.
		_, err := w.Write(nil)
		return errors.Is(err, http.ErrHandlerTimeout)
	}
	return !begun && errors.Is(ctx.Err(), context.DeadlineExceeded)
}

// watcher is an [http.ResponseWriter] around another. It records what it has done, not
// the calls.
type watcher struct {
	w    http.ResponseWriter
	sent Sent
}

func (s *watcher) Header() http.Header { return s.w.Header() }

// WriteHeader implements [http.ResponseWriter]. Informational statuses precede the
// response, except for 101, which ends it.
func (s *watcher) WriteHeader(status int) {
	if status == http.StatusRequestEntityTooLarge && s.sent.status == 0 {
		tellTooLarge(s.w)
	}
	s.w.WriteHeader(status)
	if status >= 200 || status == http.StatusSwitchingProtocols {
		s.sent.begin(status)
	}
}

func (s *watcher) Write(b []byte) (int, error) {
	n, err := s.w.Write(b)
	s.wrote(err)
	return n, err
}

func (s *watcher) wrote(err error) {
	if errors.Is(err, http.ErrHandlerTimeout) {
		s.sent.status = http.StatusServiceUnavailable // http.TimeoutHandler has sent it
		return
	}
	s.sent.begin(http.StatusOK)
}

// Unwrap is for [http.ResponseController].
func (s *watcher) Unwrap() http.ResponseWriter { return s.w }

// FlushError is for [http.ResponseController], which would otherwise flush the inner
// writer unnoticed.
func (s *watcher) FlushError() error {
	err := http.NewResponseController(s.w).Flush()
	if err == nil {
		s.sent.begin(http.StatusOK)
	}
	return err
}

// tellTooLarge does to w what http.MaxBytesReader does to the server's own writer if a
// request is too large: the response closes the connection. MaxBytesReader does not find
// the server's writer inside another.
func tellTooLarge(w http.ResponseWriter) {
	var b [1]byte
	_, _ = http.MaxBytesReader(w, io.NopCloser(strings.NewReader("x")), 0).Read(b[:])
}

// The following are the methods of a watcher that not all writers have.

type flusher struct{ s *watcher }

func (f flusher) Flush() { _ = f.s.FlushError() }

// CloseNotify implements http.CloseNotifier, which is deprecated. Gin streams need it on
// the server's writer.
func (f flusher) CloseNotify() <-chan bool {
	if w, ok := f.s.w.(interface{ CloseNotify() <-chan bool }); ok {
		return w.CloseNotify()
	}
	gone := make(chan bool, 1)
	context.AfterFunc(f.s.sent.ctx, func() { gone <- true })
	return gone
}

type hijacker struct{ s *watcher }

// Hijack implements [http.Hijacker]. The handler then sends bytes that no writer sees,
// nearly always in another protocol.
func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffer, err := h.s.w.(http.Hijacker).Hijack()
	if err == nil {
		h.s.sent.begin(http.StatusSwitchingProtocols)
	}
	return conn, buffer, err
}

type readerFrom struct{ s *watcher }

// ReadFrom implements [io.ReaderFrom]. A source that fails before its first byte starts
// no response.
func (r readerFrom) ReadFrom(source io.Reader) (int64, error) {
	n, err := r.s.w.(io.ReaderFrom).ReadFrom(source)
	if n > 0 || errors.Is(err, http.ErrHandlerTimeout) {
		r.s.wrote(err)
	}
	return n, err
}

// like returns the watcher with the methods that w has.
func (s *watcher) like(w http.ResponseWriter) http.ResponseWriter {
	const (
		flush = 1 << iota
		hijack
		push
		read
	)
	has := 0
	if _, ok := w.(http.Flusher); ok {
		has |= flush
	}
	if _, ok := w.(http.Hijacker); ok {
		has |= hijack
	}
	pusher, ok := w.(http.Pusher)
	if ok {
		has |= push
	}
	if _, ok := w.(io.ReaderFrom); ok {
		has |= read
	}
	f, h, r := flusher{s}, hijacker{s}, readerFrom{s}
	switch has {
	case flush:
		return struct {
			*watcher
			flusher
		}{s, f}
	case hijack:
		return struct {
			*watcher
			hijacker
		}{s, h}
	case flush | hijack:
		return struct {
			*watcher
			flusher
			hijacker
		}{s, f, h}
	case push:
		return struct {
			*watcher
			http.Pusher
		}{s, pusher}
	case flush | push:
		return struct {
			*watcher
			flusher
			http.Pusher
		}{s, f, pusher}
	case hijack | push:
		return struct {
			*watcher
			hijacker
			http.Pusher
		}{s, h, pusher}
	case flush | hijack | push:
		return struct {
			*watcher
			flusher
			hijacker
			http.Pusher
		}{s, f, h, pusher}
	case read:
		return struct {
			*watcher
			readerFrom
		}{s, r}
	case flush | read:
		return struct {
			*watcher
			flusher
			readerFrom
		}{s, f, r}
	case hijack | read:
		return struct {
			*watcher
			hijacker
			readerFrom
		}{s, h, r}
	case flush | hijack | read:
		return struct {
			*watcher
			flusher
			hijacker
			readerFrom
		}{s, f, h, r}
	case push | read:
		return struct {
			*watcher
			http.Pusher
			readerFrom
		}{s, pusher, r}
	case flush | push | read:
		return struct {
			*watcher
			flusher
			http.Pusher
			readerFrom
		}{s, f, pusher, r}
	case hijack | push | read:
		return struct {
			*watcher
			hijacker
			http.Pusher
			readerFrom
		}{s, h, pusher, r}
	case flush | hijack | push | read:
		return struct {
			*watcher
			flusher
			hijacker
			http.Pusher
			readerFrom
		}{s, f, h, pusher, r}
	}
	return s
}
