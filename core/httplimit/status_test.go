package httplimit_test

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/httplimit"
)

func refundable(name string) *core.Policy {
	return core.NewPolicy(name, core.PerHour(100), core.Refundable(0))
}

// The status for WithRefund is the one that the client sees, whichever way the
// handler writes, and handlers can do what they can do without the limit.
func TestRefundStatus(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"written":         func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") },
		"status":          func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"two statuses":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404); w.WriteHeader(200) },
		"status too late": func(w http.ResponseWriter, _ *http.Request) { w.Write(nil); w.WriteHeader(500) },
		"early hints": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusCreated)
		},
		"flushed": func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			w.WriteHeader(http.StatusInternalServerError)
		},
		"flushed by controller": func(w http.ResponseWriter, _ *http.Request) {
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			w.WriteHeader(http.StatusInternalServerError)
		},
		"controlled": func(w http.ResponseWriter, _ *http.Request) {
			if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Hour)); err != nil {
				t.Error(err)
			}
			w.WriteHeader(http.StatusAccepted)
		},
		"copied": func(w http.ResponseWriter, _ *http.Request) {
			n, err := io.Copy(w, io.LimitReader(strings.NewReader("whole or not"), 5))
			if _, ok := w.(io.ReaderFrom); !ok || n != 5 || err != nil {
				t.Errorf("copied %d bytes, %v, with ReadFrom: %v", n, err, ok)
			}
			w.WriteHeader(http.StatusInternalServerError)
		},
		"copied nothing": func(w http.ResponseWriter, _ *http.Request) {
			if _, err := io.Copy(w, failing{}); err != nil {
				w.WriteHeader(http.StatusBadGateway)
			}
		},
		"hijacked": func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			limiter := core.New(core.NewMemory())
			defer limiter.Close()
			given := make(chan int, 1)
			limit := httplimit.New(limiter, refundable("api"),
				httplimit.WithRefund(func(_ *http.Request, status int) bool { given <- status; return false }))
			server := httptest.NewUnstartedServer(limit(handler))
			server.Config.ErrorLog = log.New(io.Discard, "", 0) // of statuses that come too late
			server.Start()
			defer server.Close()
			resp, err := http.Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if status := <-given; status != resp.StatusCode {
				t.Errorf("given status %d, but the client sees %d", status, resp.StatusCode)
			}
		})
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("no file") }

// If no option needs the status, handlers get the original writer.
func TestWriterItself(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	var given http.ResponseWriter
	handler := httplimit.New(limiter, refundable("outer"))(httplimit.New(limiter, refundable("inner"))(
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { given = w })))
	if w := get(handler, "/"); given != http.ResponseWriter(w) {
		t.Errorf("the handler is given %T", given)
	}
}

// Each limit sees the same response as the code outside of it.
func TestStatusOfEachLimit(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	var inner, outer int
	refund := func(status *int) httplimit.Option {
		return httplimit.WithRefund(func(_ *http.Request, s int) bool { *status = s; return false })
	}
	limited := httplimit.New(limiter, refundable("inner"), refund(&inner))(
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("no") }))
	handler := httplimit.New(limiter, refundable("outer"), refund(&outer))(
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				_ = recover()
				w.WriteHeader(http.StatusBadGateway)
			}()
			limited.ServeHTTP(w, r)
		}))
	if w := get(handler, "/"); w.Code != http.StatusBadGateway || inner != http.StatusInternalServerError || outer != http.StatusBadGateway {
		t.Errorf("answered %d; the limits were given %d within and %d outside", w.Code, inner, outer)
	}
}

// A handler that http.TimeoutHandler has abandoned, and a limit inside of it, do not
// affect the limit outside.
func TestHandlerLeftBehind(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	status := 0
	late, done := make(chan struct{}), make(chan struct{})
	inner := httplimit.New(limiter, refundable("inner"), httplimit.WithRefund(httplimit.OnSuccess))
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-late
		inner(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n := len(httplimit.Decisions(r)); n != 2 {
				t.Errorf("%d decisions, want 2", n)
			}
			io.WriteString(w, "late")
		})).ServeHTTP(w, r)
		close(done)
	})
	outer := httplimit.New(limiter, refundable("outer"), httplimit.WithRefund(func(r *http.Request, s int) bool {
		close(late) // runs beside what follows
		status = s
		if n := len(httplimit.Decisions(r)); n != 1 {
			t.Errorf("%d decisions outside, want 1", n)
		}
		return true
	}))
	w := get(outer(http.TimeoutHandler(slow, time.Millisecond, "too late")), "/")
	<-done
	if w.Code != http.StatusServiceUnavailable || status != w.Code || w.Body.String() != "too late" {
		t.Errorf("answered %d with %q; the limit was given %d", w.Code, w.Body, status)
	}
}

// The decision is in the context of the request that a limit passes on.
func TestRequestOutside(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	handler := httplimit.New(limiter, refundable("api"))(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, ok := httplimit.FromContext(r.WithContext(r.Context())); !ok {
			t.Error("no decision inside")
		}
	}))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	handler.ServeHTTP(httptest.NewRecorder(), r)
	if _, ok := httplimit.FromContext(r); ok || httplimit.Decisions(r) != nil {
		t.Error("a decision outside")
	}
}

func TestNilHandler(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	defer func() {
		if message, _ := recover().(string); !strings.HasPrefix(message, "httplimit: New: nil handler") {
			t.Errorf("panicked with %q", message)
		}
	}()
	httplimit.New(limiter, refundable("api"))(nil)
}
