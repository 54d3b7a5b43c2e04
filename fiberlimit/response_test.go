package fiberlimit_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/proxy"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
	"github.com/streamlimit/streamlimit/fiberlimit"
)

func refundable(name string) *core.Policy {
	return core.NewPolicy(name, core.PerHour(100), core.Refundable(0))
}

// A handler that replaces the whole response with that of another server keeps the fields
// of all limits, besides those of the other server.
func TestFieldsOfProxiedResponse(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("RateLimit", `"upstream";r=1;t=1`)
		w.Header().Set("RateLimit-Policy", `"inner";q=100;w=3600`)
		w.WriteHeader(http.StatusAccepted)
	}))
	defer upstream.Close()
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	app := fiber.New()
	app.Use(fiberlimit.New(limiter, refundable("outer")))
	limit := fiberlimit.New(limiter, refundable("inner"), fiberlimit.WithHeaders(core.HeadersByUnit, core.HeadersX))
	app.Get("/do", limit, func(c *fiber.Ctx) error { return proxy.Do(c, upstream.URL) })
	app.Get("/forward", limit, proxy.Forward(upstream.URL))
	app.Get("/own", limit, func(c *fiber.Ctx) error { return c.SendStatus(http.StatusAccepted) })
	states := []string{`"outer";r=99;t=3600, "inner";r=99;t=3600`, `"outer";r=98;t=3600, "inner";r=98;t=3600`, `"outer";r=97;t=3600, "inner";r=97;t=3600`}
	for i, path := range []string{"/do", "/forward", "/own"} {
		w := get(app, path)
		got := w.Header().Values("RateLimit")
		slices.Sort(got)
		want := []string{states[i]}
		if path != "/own" {
			want = append(want, `"upstream";r=1;t=1`)
		}
		if w.Code != http.StatusAccepted || !slices.Equal(got, want) {
			t.Errorf("%s: status %d, RateLimit: %q, want %q", path, w.Code, got, want)
		}
		const policies = `"outer";q=100;w=3600, "inner";q=100;w=3600`
		if !slices.Contains(w.Header().Values("RateLimit-Policy"), policies) || w.Header().Get("X-RateLimit-Limit-Requests") != "100" ||
			len(w.Header().Values("X-RateLimit-Remaining-Requests")) != 1 || len(w.Header().Values("X-RateLimit-Limit")) != 1 {
			t.Errorf("%s: fields %v", path, w.Header())
		}
	}
}

// A timeout of fasthttp sends its own response in place of Fiber's.
func TestRefundTimeoutError(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	given := make(chan int, 1)
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Get("/", fiberlimit.New(limiter, refundable("api"),
		fiberlimit.WithRefund(func(_ *fiber.Ctx, status int) bool { given <- status; return false })),
		func(c *fiber.Ctx) error {
			c.Context().TimeoutErrorWithCode("too late", http.StatusGatewayTimeout)
			return nil
		})
	resp, err := http.Get(listen(t, app))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if status := <-given; resp.StatusCode != http.StatusGatewayTimeout || status != resp.StatusCode {
		t.Errorf("given status %d, but the client sees %d", status, resp.StatusCode)
	}
}

// The ErrorHandler chooses the status, and is called once.
func TestRefundCustomErrorHandler(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	var status, asked int
	wrong := errors.New("wrong password")
	app := fiber.New(fiber.Config{ErrorHandler: func(c *fiber.Ctx, err error) error {
		asked++
		if errors.Is(err, wrong) {
			return c.Redirect("/login", http.StatusSeeOther)
		}
		return err
	}})
	app.Use(fiberlimit.New(limiter, refundable("api"),
		fiberlimit.WithRefund(func(_ *fiber.Ctx, s int) bool { status = s; return false })))
	app.Get("/", func(*fiber.Ctx) error { return wrong })
	app.Get("/fails", func(*fiber.Ctx) error { return errors.New("which the ErrorHandler can't answer") })
	if w := get(app, "/"); w.Code != http.StatusSeeOther || status != w.Code || asked != 1 {
		t.Errorf("given status %d, but the client sees %d; the handler was called %d times", status, w.Code, asked)
	}
	if w := get(app, "/fails"); w.Code != http.StatusInternalServerError || status != w.Code {
		t.Errorf("given status %d, but the client sees %d", status, w.Code)
	}
}

// keeping is a store that keeps the contexts of its calls.
type keeping struct {
	core.Store
	contexts chan context.Context
}

func (s keeping) Take(ctx context.Context, p *store.Log, key string, cost int64) (store.Usage, error) {
	if ctx.Value("name") != "alice" {
		return store.Usage{}, errors.New("the value is not in the context")
	}
	s.contexts <- ctx
	return s.Store.Take(ctx, p, key, cost)
}

func (s keeping) Settle(ctx context.Context, p *store.Log, key string, entry store.EntryID, correction int64) error {
	s.contexts <- ctx
	return s.Store.Settle(ctx, p, key, entry, correction)
}

type ownKey struct{}

// Fiber reuses the memory of a request, which can be its own context. The context is not
// read after the request, even by code that kept it. The race detector checks this, too.
func TestRequestContextIsNotKept(t *testing.T) {
	store := keeping{core.NewMemory(), make(chan context.Context, 10)}
	limiter := core.New(store, core.WithFailureMode(core.FailClosed))
	defer limiter.Close()
	limit := fiberlimit.New(limiter, refundable("api"), fiberlimit.WithRefund(fiberlimit.OnSuccess))
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	ok := func(c *fiber.Ctx) error { return c.SendString("ok") }
	app.Get("/itself", func(c *fiber.Ctx) error {
		c.Locals("name", "alice")
		c.SetUserContext(c.Context())
		return c.Next()
	}, limit, ok)
	app.Get("/made", func(c *fiber.Ctx) error {
		c.Locals("name", "alice")
		c.SetUserContext(context.WithValue(c.Context(), ownKey{}, "own"))
		return c.Next()
	}, limit, ok)
	url := listen(t, app)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 8 {
			ctx := <-store.contexts
			time.Sleep(time.Millisecond) // beside the requests that follow
			if ctx.Value("name") != nil {
				t.Error("a context is read after its request")
			}
		}
	}()
	for _, path := range []string{"/itself", "/made", "/itself", "/made"} {
		resp, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: status %d", path, resp.StatusCode)
		}
	}
	<-done
}
