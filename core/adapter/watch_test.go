package adapter

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

var time0 = time.Unix(1_700_000_000, 0)

// The interfaces of writers.
type (
	base  struct{ http.ResponseWriter }
	flush struct{}
	take  struct{}
	push  struct{}
	read  struct{}
)

func (flush) Flush()                                      {}
func (take) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, nil }
func (push) Push(string, *http.PushOptions) error         { return nil }
func (read) ReadFrom(r io.Reader) (int64, error)          { return io.Copy(io.Discard, r) }
func is[T any](w http.ResponseWriter) (ok bool)           { _, ok = w.(T); return ok }
func methods(w http.ResponseWriter) (flush, hijack, push, read bool) {
	return is[http.Flusher](w), is[http.Hijacker](w), is[http.Pusher](w), is[io.ReaderFrom](w)
}

// A watched writer has the methods of its own writer, and no others.
func TestWatchMethods(t *testing.T) {
	b := base{httptest.NewRecorder()}
	for _, w := range []http.ResponseWriter{
		b,
		struct {
			base
			flush
		}{base: b},
		struct {
			base
			take
		}{base: b},
		struct {
			base
			push
		}{base: b},
		struct {
			base
			read
		}{base: b},
		struct {
			base
			flush
			take
		}{base: b},
		struct {
			base
			flush
			push
		}{base: b},
		struct {
			base
			flush
			read
		}{base: b},
		struct {
			base
			take
			push
		}{base: b},
		struct {
			base
			take
			read
		}{base: b},
		struct {
			base
			push
			read
		}{base: b},
		struct {
			base
			flush
			take
			push
		}{base: b},
		struct {
			base
			flush
			take
			read
		}{base: b},
		struct {
			base
			flush
			push
			read
		}{base: b},
		struct {
			base
			take
			push
			read
		}{base: b},
		struct {
			base
			flush
			take
			push
			read
		}{base: b},
	} {
		watched, _ := Watch(t.Context(), w)
		f, h, p, r := methods(w)
		if wf, wh, wp, wr := methods(watched); wf != f || wh != h || wp != p || wr != r {
			t.Errorf("%T: Flusher %v, Hijacker %v, Pusher %v, ReaderFrom %v; want %v, %v, %v, %v", w, wf, wh, wp, wr, f, h, p, r)
		}
		if own := watched.(interface{ Unwrap() http.ResponseWriter }).Unwrap(); own != w {
			t.Errorf("%T: unwrapped to %T", w, own)
		}
		if err := http.NewResponseController(watched).Flush(); (err == nil) != f || err != nil && !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("%T: flushed with %v", w, err)
		}
	}
}

// scripted is a writer that fails on demand.
type scripted struct {
	http.ResponseWriter
	err error
}

func (w *scripted) Write(b []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	return w.ResponseWriter.Write(b)
}

func (w *scripted) FlushError() error { return w.err }
func (w *scripted) Flush()            {}

func (w *scripted) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, w.err }

// The status is recorded after it was sent, not when it was set.
func TestSent(t *testing.T) {
	failed := errors.New("no")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time0)
	defer cancel()
	for name, c := range map[string]struct {
		ctx        context.Context
		do         func(w http.ResponseWriter, own *scripted)
		begun, end int
	}{
		"nothing":  {t.Context(), func(http.ResponseWriter, *scripted) {}, 0, 200},
		"a status": {t.Context(), func(w http.ResponseWriter, _ *scripted) { w.WriteHeader(404); w.WriteHeader(200) }, 404, 404},
		"a flush that fails": {t.Context(), func(w http.ResponseWriter, own *scripted) {
			own.err = failed
			_ = http.NewResponseController(w).Flush()
		}, 0, 200},
		"a hijack that fails": {t.Context(), func(w http.ResponseWriter, own *scripted) {
			own.err = failed
			_, _, _ = http.NewResponseController(w).Hijack()
			own.err = nil
			w.WriteHeader(500)
		}, 500, 500},
		"a hijack": {t.Context(), func(w http.ResponseWriter, _ *scripted) {
			_, _, _ = http.NewResponseController(w).Hijack()
		}, 101, 101},
		"a hijack of a response": {t.Context(), func(w http.ResponseWriter, _ *scripted) {
			w.WriteHeader(200)
			_, _, _ = http.NewResponseController(w).Hijack()
		}, 200, 200},
		"a status that is none": {t.Context(), func(w http.ResponseWriter, _ *scripted) {
			defer func() { _ = recover() }()
			w.WriteHeader(99)
		}, 0, 200},
		"written too late": {t.Context(), func(w http.ResponseWriter, own *scripted) {
			w.WriteHeader(200)
			own.err = http.ErrHandlerTimeout
			_, _ = io.WriteString(w, "late")
		}, 503, 503},
		"returned too late": {late, func(w http.ResponseWriter, own *scripted) {
			w.WriteHeader(200)
			own.err = http.ErrHandlerTimeout
		}, 200, 503},
		"in time, and late": {late, func(w http.ResponseWriter, _ *scripted) { w.WriteHeader(200) }, 200, 200},
		"nothing in time":   {late, func(http.ResponseWriter, *scripted) {}, 0, 503},
		"nobody reads it":   {gone, func(http.ResponseWriter, *scripted) {}, 0, 200},
	} {
		own := &scripted{ResponseWriter: httptest.NewRecorder()}
		w, sent := Watch(c.ctx, own)
		c.do(w, own)
		begun := sent.Begun()
		if end, _ := sent.End(nil); begun != c.begun || end != c.end {
			t.Errorf("%s: begun with %d, ended with %d; want %d, %d", name, begun, end, c.begun, c.end)
		}
	}
}

// A lent context is not read after its end. Until then it equals its parent.
func TestLend(t *testing.T) {
	type key struct{}
	parent, cancel := context.WithDeadline(context.WithValue(t.Context(), key{}, "v"), time0.AddDate(1000, 0, 0))
	ctx := Lend(parent)
	if deadline, ok := ctx.Deadline(); !ok || deadline.Year() < 2900 || ctx.Value(key{}) != "v" || ctx.Err() != nil {
		t.Errorf("%v %v %v", deadline, ctx.Value(key{}), ctx.Err())
	}
	made, stop := context.WithCancel(ctx)
	defer stop()
	recall(ctx)
	if _, ok := ctx.Deadline(); ok || ctx.Value(key{}) != nil || !errors.Is(ctx.Err(), context.Canceled) {
		t.Errorf("after its end: %v %v", ctx.Value(key{}), ctx.Err())
	}
	cancel()
	<-made.Done() // contexts derived from it end with the parent
	recall(t.Context())
}
