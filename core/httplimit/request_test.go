package httplimit_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adaptertest"
	"github.com/streamlimit/streamlimit/core/httplimit"
)

// A server removes the files of a form that a handler has read inside of a limit.
func TestFormFilesAreRemoved(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	for name, limit := range map[string]func(http.Handler) http.Handler{
		"limited": httplimit.New(limiter, refundable("api")),
		"skipped": httplimit.New(limiter, refundable("api"), httplimit.WithSkip(func(*http.Request) bool { return true })),
		"given back": func(next http.Handler) http.Handler {
			refund := httplimit.WithRefund(httplimit.OnSuccess)
			return httplimit.New(limiter, refundable("outer"), refund)(httplimit.New(limiter, refundable("inner"), refund)(next))
		},
		"recovered": func(next http.Handler) http.Handler {
			return recovered(httplimit.New(limiter, refundable("api"))(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				next.ServeHTTP(w, r)
				panic("after the form was read")
			})))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("TMPDIR", dir)
			read := 0
			server := httptest.NewServer(limit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if err := r.ParseMultipartForm(1 << 10); err != nil {
					t.Error(err)
				}
				files, err := os.ReadDir(dir)
				if err != nil {
					t.Error(err)
				}
				read = len(files)
			})))
			defer server.Close()
			var form bytes.Buffer
			writer := multipart.NewWriter(&form)
			part, err := writer.CreateFormFile("file", "upload")
			if err != nil {
				t.Fatal(err)
			}
			part.Write(make([]byte, 1<<20))
			writer.Close()
			resp, err := http.Post(server.URL, writer.FormDataContentType(), &form)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			server.Close() // waits for the end of the request
			files, err := os.ReadDir(dir)
			if err != nil || len(files) > 0 || read != 1 {
				t.Errorf("%d files of %d left, %v", len(files), read, err)
			}
		})
	}
}

// Changes of the request inside of a limit are seen outside, as without the limit.
func TestRequestWrittenInside(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /items/{id}", func(_ http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		r.RemoteAddr = "203.0.113.7:1"
		r.Body = http.NoBody
		if _, ok := httplimit.FromContext(r); !ok {
			t.Error("no decision inside")
		}
	})
	r := httptest.NewRequest(http.MethodPost, "/items/7", strings.NewReader("a=b"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	httplimit.New(limiter, refundable("api"))(mux).ServeHTTP(httptest.NewRecorder(), r)
	if r.Pattern != "POST /items/{id}" || r.PathValue("id") != "7" || r.Form.Get("a") != "b" || r.PostForm.Get("a") != "b" ||
		r.RemoteAddr != "203.0.113.7:1" || r.Body != http.NoBody {
		t.Errorf("outside the request is %+v", r)
	}
	if _, ok := httplimit.FromContext(r); ok {
		t.Error("a decision outside")
	}
}

// Trailers, which the server adds to its own request, stay there.
func TestRequestTrailerOutside(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	httplimit.New(limiter, refundable("api"))(http.HandlerFunc(func(_ http.ResponseWriter, inside *http.Request) {
		r.Trailer = http.Header{"X-Sum": {"1"}} // as the server does at the end of the body
		inside.Method = http.MethodPut
	})).ServeHTTP(httptest.NewRecorder(), r)
	if r.Trailer.Get("X-Sum") != "1" || r.Method != http.MethodPut {
		t.Errorf("outside: %s, trailer %v", r.Method, r.Trailer)
	}
}

// A request that is too large closes its connection, as without a limit.
func TestTooLargeClosesConnection(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	limit := httplimit.New(limiter, refundable("api"), httplimit.WithRefund(httplimit.OnFailure))
	adaptertest.CheckTooLarge(t, limit(limit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 10))
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
		}
	}))))
}

// A writer that can't flush has flushed nothing: 500 is 500.
func TestFlushUnderTimeoutHandler(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	policy := core.NewPolicy("failures", core.PerHour(5), core.Refundable(0))
	handler := http.TimeoutHandler(httplimit.New(limiter, policy, httplimit.WithRefund(httplimit.OnSuccess))(
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if f, ok := w.(http.Flusher); ok {
				t.Error("a Flusher")
				f.Flush()
			}
			if err := http.NewResponseController(w).Flush(); !errors.Is(err, http.ErrNotSupported) {
				t.Errorf("flushed: %v", err)
			}
			w.WriteHeader(http.StatusInternalServerError)
		})), time.Hour, "")
	for i := range 8 {
		want := http.StatusInternalServerError
		if i >= 5 {
			want = http.StatusTooManyRequests
		}
		if w := get(handler, "/"); w.Code != want {
			t.Errorf("request %d: status %d, want %d", i, w.Code, want)
		}
	}
}

// untilDecided is long enough for a limit to pass a request on, even on a busy machine. A
// request whose deadline has passed is rejected and never gets to the handler.
const untilDecided = 100 * time.Millisecond

// The client gets the response of http.TimeoutHandler outside of the limit.
func TestTimeoutHandlerOutside(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"writes too late": func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			io.WriteString(w, "late")
		},
		"sets a status too late": func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			w.WriteHeader(http.StatusNoContent)
		},
		"wrote in time, returns too late": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "soon")
			<-r.Context().Done()
		},
		"writes nothing": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		limiter := core.New(core.NewMemory())
		defer limiter.Close()
		given, answered := make(chan int, 1), make(chan struct{})
		limit := httplimit.New(limiter, refundable("api"),
			httplimit.WithRefund(func(_ *http.Request, status int) bool { given <- status; return false }))
		w := get(http.TimeoutHandler(limit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			handler(w, r.WithContext(until{r.Context(), answered}))
			<-answered
		})), untilDecided, "too late"), "/")
		close(answered)
		if status := <-given; w.Code != http.StatusServiceUnavailable || status != w.Code {
			t.Errorf("%s: given status %d, but the client sees %d", name, status, w.Code)
		}
	}
}

// until returns a context that ends when the client has the response.
type until struct {
	context.Context
	answered <-chan struct{}
}

func (u until) Done() <-chan struct{} { return u.answered }
