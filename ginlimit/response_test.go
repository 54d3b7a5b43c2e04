package ginlimit_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/httplimit"
	"github.com/streamlimit/streamlimit/core/store"
	"github.com/streamlimit/streamlimit/ginlimit"
)

func refundable(name string) *core.Policy {
	return core.NewPolicy(name, core.PerHour(100), core.Refundable(0))
}

// untilDecided is long enough for a limit to pass a request on, even on a busy machine. A
// request whose deadline has passed is rejected and never gets to the handler.
const untilDecided = 100 * time.Millisecond

// The client gets the response of http.TimeoutHandler around the engine.
func TestTimeoutHandlerOutside(t *testing.T) {
	for name, handler := range map[string]func(c *gin.Context, late <-chan struct{}){
		"writes too late": func(c *gin.Context, late <-chan struct{}) { <-late; c.String(http.StatusOK, "late") },
		"writes bytes too late": func(c *gin.Context, late <-chan struct{}) {
			<-late
			c.Data(http.StatusOK, "text/plain", []byte("late"))
		},
		"sets a status too late":  func(c *gin.Context, late <-chan struct{}) { <-late; c.AbortWithStatus(http.StatusNoContent) },
		"wrote in time, and late": func(c *gin.Context, late <-chan struct{}) { c.String(http.StatusOK, "soon"); <-late },
		"writes nothing":          func(_ *gin.Context, late <-chan struct{}) { <-late },
	} {
		limiter := core.New(core.NewMemory())
		defer limiter.Close()
		given, late := make(chan int, 1), make(chan struct{})
		router := gin.New()
		router.Use(ginlimit.New(limiter, refundable("api"),
			ginlimit.WithRefund(func(_ *gin.Context, status int) bool { given <- status; return false })))
		router.GET("/", func(c *gin.Context) { handler(c, late) })
		w := get(http.TimeoutHandler(router, untilDecided, "too late"), "/")
		close(late)
		if status := <-given; w.Code != http.StatusServiceUnavailable || status != w.Code {
			t.Errorf("%s: given status %d, but the client sees %d", name, status, w.Code)
		}
	}
}

// A response controller finds what the server's writer can do, and a flush is the
// beginning of a response.
func TestResponseController(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	given := make(chan int, 1)
	router := gin.New()
	router.Use(ginlimit.New(limiter, refundable("api"),
		ginlimit.WithRefund(func(_ *gin.Context, status int) bool { given <- status; return false })))
	router.GET("/", func(c *gin.Context) {
		control := http.NewResponseController(c.Writer)
		if err := errors.Join(control.SetWriteDeadline(time.Now().Add(time.Hour)), control.Flush()); err != nil {
			t.Error(err)
		}
		c.AbortWithStatus(http.StatusInternalServerError)
	})
	server := httptest.NewServer(router)
	defer server.Close()
	resp, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if status := <-given; resp.StatusCode != http.StatusOK || status != resp.StatusCode {
		t.Errorf("given status %d, but the client sees %d", status, resp.StatusCode)
	}
}

// An engine in a limit of net/http finds all that Gin needs of a server's writer.
func TestStreamInsideHTTPLimit(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	router := gin.New()
	router.GET("/", func(c *gin.Context) {
		c.Stream(func(w io.Writer) bool { _, _ = io.WriteString(w, "part"); return false })
	})
	server := httptest.NewServer(httplimit.New(limiter, refundable("api"), httplimit.WithRefund(httplimit.OnSuccess))(router))
	defer server.Close()
	resp, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); string(body) != "part" || err != nil {
		t.Errorf("streamed %q, %v", body, err)
	}
}

// keeping is a store that keeps the contexts of its calls.
type keeping struct {
	core.Store
	contexts chan context.Context
	value    any
}

func (s keeping) Take(ctx context.Context, p *store.Log, key string, cost int64) (store.Usage, error) {
	if ctx.Value("name") != s.value {
		return store.Usage{}, errors.New("the value is not in the context")
	}
	s.contexts <- ctx
	return s.Store.Take(ctx, p, key, cost)
}

func (s keeping) Settle(ctx context.Context, p *store.Log, key string, entry store.EntryID, correction int64) error {
	s.contexts <- ctx
	return s.Store.Settle(ctx, p, key, entry, correction)
}

// Gin uses the memory of a *gin.Context again. A context that was made of one is not
// read after the request, whoever has kept it.
func TestGinContextIsNotKept(t *testing.T) {
	store := keeping{core.NewMemory(), make(chan context.Context, 10), "alice"}
	limiter := core.New(store, core.WithFailureMode(core.FailClosed))
	defer limiter.Close()
	router := gin.New()
	router.Use(func(c *gin.Context) {
		c.Set("name", "alice")
		ctx, cancel := context.WithTimeout(c, time.Hour)
		defer cancel()
		c.Request = c.Request.WithContext(ctx)
		c.Next()
	})
	router.GET("/", ginlimit.New(limiter, refundable("api"), ginlimit.WithRefund(ginlimit.OnSuccess)), func(*gin.Context) {})
	for range 2 {
		if w := get(router, "/"); w.Code != http.StatusOK {
			t.Fatalf("answered %d: %s", w.Code, w.Body)
		}
	}
	for len(store.contexts) > 0 {
		if ctx := <-store.contexts; ctx.Value("name") != nil || ctx.Value(gin.ContextKey) != nil {
			t.Error("a context is read after its request")
		}
	}
}
