package fiberlimit_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/adaptor"
	"github.com/gofiber/fiber/v3/middleware/recover"
	"github.com/gofiber/fiber/v3/middleware/timeout"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
	"github.com/streamlimit/streamlimit/core/adaptertest"
	"github.com/streamlimit/streamlimit/fiberlimit/v3"
)

func TestAdapter(t *testing.T) {
	for name, config := range map[string]fiber.Config{
		"default":       {},
		"names as sent": {DisableHeaderNormalizing: true},
	} {
		t.Run(name, func(t *testing.T) { testAdapter(t, config) })
	}
}

func testAdapter(t *testing.T, config fiber.Config) {
	adaptertest.Run(t, adaptertest.Adapter[fiber.Ctx, fiber.Handler]{
		Name: "fiberlimit",
		Serve: func(t *testing.T, app adaptertest.App[fiber.Ctx, fiber.Handler]) string {
			return serve(t, config, app)
		},
		New: fiberlimit.New,
		Defaults: func(limiter *core.Limiter, options ...adapter.Option[fiber.Ctx]) func(*core.Policy, ...adapter.Option[fiber.Ctx]) fiber.Handler {
			return fiberlimit.Defaults(limiter, options...).New
		},
		ZeroPreset:  fiberlimit.Preset{}.New,
		FromContext: fiberlimit.FromContext,
		Decisions:   fiberlimit.Decisions,

		ByAddress:   fiberlimit.ByAddress,
		ByHeader:    fiberlimit.ByHeader,
		ByBearer:    fiberlimit.ByBearer,
		ByBasicUser: fiberlimit.ByBasicUser,
		BySecret:    fiberlimit.BySecret,
		ByFunc:      fiberlimit.ByFunc,
		ByConstant:  fiberlimit.ByConstant,
		ByAll:       fiberlimit.ByAll,
		ByFirst:     fiberlimit.ByFirst,
		KeyFunc:     fiberlimit.KeyFunc,

		WithKey:             fiberlimit.WithKey,
		WithPolicy:          fiberlimit.WithPolicy,
		WithCost:            fiberlimit.WithCost,
		WithSkip:            fiberlimit.WithSkip,
		WithTier:            fiberlimit.WithTier,
		WithRefund:          fiberlimit.WithRefund,
		WithSettle:          fiberlimit.WithSettle,
		WithDenied:          fiberlimit.WithDenied,
		WithErrorHandler:    fiberlimit.WithErrorHandler,
		WithFrameworkErrors: fiberlimit.WithFrameworkErrors,
		WithHeaders:         fiberlimit.WithHeaders,

		OnSuccess: fiberlimit.OnSuccess,
		OnFailure: fiberlimit.OnFailure,

		Header:     func(c fiber.Ctx, name string) string { return c.Get(name) },
		Param:      func(c fiber.Ctx, name string) string { return c.Params(name) },
		Context:    func(c fiber.Ctx) context.Context { return c.Context() },
		SetContext: func(c fiber.Ctx, ctx context.Context) { c.SetContext(ctx) },
		Stream: func(c fiber.Ctx, write func(io.Writer, func())) error {
			fiberlimit.StreamWriter(c, func(w *bufio.Writer) { write(w, func() { _ = w.Flush() }) })
			return nil
		},
		Answer: func(c fiber.Ctx, status int, body string) error {
			return c.Status(status).SendString(body)
		},
		Forward: func(c fiber.Ctx, path string) error {
			c.Path(path)
			return c.RestartRouting()
		},
		Refuse:   func(_ fiber.Ctx, status int) error { return fiber.NewError(status, "refused") },
		Endings:  endings(),
		SetField: setField,
	})
}

func endings() map[string]adaptertest.Ending[fiber.Ctx, fiber.Handler] {
	type ending = adaptertest.Ending[fiber.Ctx, fiber.Handler]
	return map[string]ending{
		adaptertest.EndAbort: {Without: "Fiber has no abort: a handler that does not call Next has ended the request"},
		adaptertest.EndHijack: {Saw: http.StatusSwitchingProtocols, Handler: func(c fiber.Ctx) error {
			c.RequestCtx().Hijack(func(net.Conn) {})
			return c.SendStatus(http.StatusSwitchingProtocols)
		}},
		adaptertest.EndStream: {Saw: http.StatusAccepted, Handler: func(c fiber.Ctx) error {
			return c.Status(http.StatusAccepted).SendStreamWriter(func(w *bufio.Writer) {
				_, _ = w.WriteString("part")
				_ = w.Flush()
			})
		}},
		adaptertest.EndTimeout: {
			Saw:     http.StatusRequestTimeout,
			Use:     []fiber.Handler{timeout.New(fiber.Ctx.Next, timeout.Config{Timeout: time.Millisecond})},
			Handler: func(c fiber.Ctx) error { <-c.Context().Done(); return c.Context().Err() },
		},
		adaptertest.EndRewritten: {
			Saw: http.StatusPreconditionFailed,
			Use: []fiber.Handler{func(c fiber.Ctx) error {
				err := c.Next()
				c.Status(http.StatusPreconditionFailed)
				return err
			}},
			Handler: func(c fiber.Ctx) error { return c.SendString("ok") },
		},
		adaptertest.EndLatePanic: {Saw: http.StatusInternalServerError, Handler: func(c fiber.Ctx) error {
			_ = c.SendString("ok")
			panic("panic after the answer") // before Fiber has sent it
		}},
		adaptertest.EndHints: {Saw: http.StatusNotFound, Handler: func(c fiber.Ctx) error {
			if err := c.SendEarlyHints([]string{"</style.css>; rel=preload"}); err != nil {
				return err
			}
			return c.Status(http.StatusNotFound).SendString("no")
		}},
	}
}

func setField(name, value string) fiber.Handler {
	return func(c fiber.Ctx) error {
		c.Set(name, value)
		return c.Next()
	}
}

func serve(t *testing.T, config fiber.Config, app adaptertest.App[fiber.Ctx, fiber.Handler]) string {
	config.ErrorHandler = func(c fiber.Ctx, err error) error {
		app.OnError(err)
		return fiber.DefaultErrorHandler(c, err)
	}
	f := fiber.New(config)
	f.Use(recover.New())
	for _, use := range app.Use {
		f.Use(use)
	}
	for _, g := range app.Groups {
		group := f.Group(g.Prefix, handlers(g.Use)...)
		for _, r := range g.Routes {
			all := handlers(append(r.Use, r.Handler))
			group.Add([]string{"GET", "HEAD", "POST"}, r.Path, all[0], all[1:]...)
		}
	}
	return listen(t, f)
}

// handlers converts handlers to Fiber's parameter type, which allows several kinds.
func handlers(of []fiber.Handler) (all []any) {
	for _, h := range of {
		all = append(all, h)
	}
	return all
}

// listen serves an app until the test ends.
func listen(t *testing.T, app *fiber.App) (url string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go app.Listener(listener, fiber.ListenConfig{DisableStartupMessage: true})
	t.Cleanup(func() { app.ShutdownWithTimeout(5 * time.Second) })
	return "http://" + listener.Addr().String()
}

// The ErrorHandler's error wraps both errors. Its text, which the client sees, does not
// contain the cause.
func TestFrameworkErrorsAreFiberErrors(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	var handled error
	app := fiber.New(fiber.Config{ErrorHandler: func(c fiber.Ctx, err error) error {
		handled = err
		return fiber.DefaultErrorHandler(c, err)
	}})
	app.Use(fiberlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), fiberlimit.WithFrameworkErrors()))
	app.Get("/", func(c fiber.Ctx) error { return c.SendStatus(http.StatusOK) })
	get(app, "/")
	w := get(app, "/")
	if want := "1 request per hour; retry in 3600s"; w.Code != http.StatusTooManyRequests || w.Body.String() != want {
		t.Errorf("answered %d with %q, want %q", w.Code, w.Body, want)
	}
	var own *fiber.Error
	if !errors.As(handled, &own) || own.Code != http.StatusTooManyRequests {
		t.Errorf("no *fiber.Error of 429 in %#v", handled)
	}
	var limited *core.LimitedError
	if !errors.As(handled, &limited) || limited.Decision.Policy.Name() != "api" {
		t.Errorf("no *core.LimitedError in %#v", handled)
	}
}

// The ErrorHandler gets the *fiber.Error of a callback itself, not a copy.
func TestOwnErrorUnchanged(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	refused := fiber.NewError(http.StatusPaymentRequired, "no plan")
	app := fiber.New(fiber.Config{ErrorHandler: func(c fiber.Ctx, err error) error {
		if err != error(refused) {
			t.Errorf("the error is %#v", err)
		}
		return fiber.DefaultErrorHandler(c, err)
	}})
	app.Use(fiberlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)),
		fiberlimit.WithKey(fiberlimit.ByFunc("user", func(fiber.Ctx) (string, error) { return "", refused }))))
	app.Get("/", func(fiber.Ctx) error { t.Error("came through"); return nil })
	if w := get(app, "/"); w.Code != http.StatusPaymentRequired || w.Body.String() != "no plan" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("answered %d with %q and %v", w.Code, w.Body, w.Header())
	}
}

// The status for WithRefund is the one that the client sees, for each way in which a
// handler fails.
func TestRefundStatus(t *testing.T) {
	for name, handler := range map[string]fiber.Handler{
		"written and failed": func(c fiber.Ctx) error {
			_ = c.Status(http.StatusAccepted).SendString("partly")
			return errors.New("the rest is missing")
		},
		"an error in an error": func(fiber.Ctx) error { return fmt.Errorf("log in: %w", fiber.ErrUnauthorized) },
		"no route":             func(c fiber.Ctx) error { return c.Next() },
	} {
		limiter := core.New(core.NewMemory())
		defer limiter.Close()
		var status int
		app := fiber.New()
		app.Use(fiberlimit.New(limiter, core.NewPolicy("api", core.PerHour(1), core.Refundable(0)),
			fiberlimit.WithRefund(func(_ fiber.Ctx, s int) bool { status = s; return false })))
		app.Get("/", handler)
		if w := get(app, "/"); w.Code != status {
			t.Errorf("%s: given status %d, but the client sees %d", name, status, w.Code)
		}
	}
}

// Fiber's own IP uses Fiber's own trusted proxies.
func TestIPIsNotAsked(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	app := fiber.New(fiber.Config{
		ProxyHeader: fiber.HeaderXForwardedFor, TrustProxy: true,
		TrustProxyConfig: fiber.TrustProxyConfig{Proxies: []string{"192.0.2.1"}},
	})
	app.Use(fiberlimit.New(limiter, core.NewPolicy("api", core.PerHour(1))))
	var key, own string
	app.Get("/", func(c fiber.Ctx) error {
		d, _ := fiberlimit.FromContext(c)
		key, own = d.Key, strings.Clone(c.IP())
		return nil
	})
	get(app, "/", "X-Forwarded-For", "203.0.113.7")
	if key != "192.0.2.1" || own != "203.0.113.7" {
		t.Errorf("counted by %q, IP is %q", key, own)
	}
}

// An app that is mounted in another has the limits of both.
func TestMountedApp(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	inner := fiber.New()
	inner.Use(fiberlimit.New(limiter, core.NewPolicy("inner", core.PerHour(1))))
	inner.Get("/", func(c fiber.Ctx) error {
		if n := len(fiberlimit.Decisions(c)); n != 2 {
			t.Errorf("%d decisions, want 2", n)
		}
		return nil
	})
	app := fiber.New()
	app.Use(fiberlimit.New(limiter, core.NewPolicy("outer", core.PerHour(9))))
	app.Use("/inner", inner)
	for _, want := range []int{http.StatusOK, http.StatusTooManyRequests} {
		if w := get(app, "/inner"); w.Code != want {
			t.Errorf("answered %d with %q, want %d", w.Code, w.Body, want)
		}
	}
}

func TestClientMistakes(t *testing.T) {
	adaptertest.CheckBodies(t, func(t *testing.T, limiter *core.Limiter, policy *core.Policy) string {
		cost := func(c fiber.Ctx) (int64, error) {
			var o struct {
				Units int64 `json:"units"`
			}
			err := c.Bind().Body(&o)
			return o.Units, err
		}
		app := fiber.New(fiber.Config{BodyLimit: 100})
		app.Post("/", fiberlimit.New(limiter, policy, fiberlimit.WithCost(cost)),
			func(c fiber.Ctx) error { return c.SendStatus(http.StatusOK) })
		return listen(t, app)
	})
}

// A binder of parameters has errors of its own.
func TestParameterMistake(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	cost := func(c fiber.Ctx) (int64, error) {
		var o struct {
			Units int64 `query:"units"`
		}
		err := c.Bind().Query(&o)
		return o.Units, err
	}
	app := fiber.New()
	app.Get("/", fiberlimit.New(limiter, core.NewPolicy("tokens", core.PerHour(9), core.VariableCost()), fiberlimit.WithCost(cost)),
		func(c fiber.Ctx) error { return c.SendStatus(http.StatusOK) })
	if w := get(app, "/?units=two"); w.Code != http.StatusBadRequest {
		t.Errorf("answered %d with %s, want 400", w.Code, w.Body)
	}
}

func get(app *fiber.App, path string, field ...string) *httptest.ResponseRecorder {
	return adaptertest.Get(adaptor.FiberApp(app), path, field...)
}
