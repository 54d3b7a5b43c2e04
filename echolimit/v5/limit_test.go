package echolimit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
	"github.com/streamlimit/streamlimit/core/adaptertest"
	"github.com/streamlimit/streamlimit/echolimit/v5"
)

func TestAdapter(t *testing.T) {
	adaptertest.Run(t, adaptertest.Adapter[*echo.Context, echo.MiddlewareFunc]{
		Name:  "echolimit",
		Serve: serve,
		New:   echolimit.New,
		Defaults: func(limiter *core.Limiter, options ...adapter.Option[*echo.Context]) func(*core.Policy, ...adapter.Option[*echo.Context]) echo.MiddlewareFunc {
			return echolimit.Defaults(limiter, options...).New
		},
		ZeroPreset:  echolimit.Preset{}.New,
		FromContext: echolimit.FromContext,
		Decisions:   echolimit.Decisions,

		ByAddress:   echolimit.ByAddress,
		ByHeader:    echolimit.ByHeader,
		ByBearer:    echolimit.ByBearer,
		ByBasicUser: echolimit.ByBasicUser,
		BySecret:    echolimit.BySecret,
		ByFunc:      echolimit.ByFunc,
		ByConstant:  echolimit.ByConstant,
		ByAll:       echolimit.ByAll,
		ByFirst:     echolimit.ByFirst,
		KeyFunc:     echolimit.KeyFunc,

		WithKey:             echolimit.WithKey,
		WithPolicy:          echolimit.WithPolicy,
		WithCost:            echolimit.WithCost,
		WithSkip:            func(skip func(*echo.Context) bool) adapter.Option[*echo.Context] { return echolimit.WithSkip(skip) },
		WithTier:            echolimit.WithTier,
		WithRefund:          echolimit.WithRefund,
		WithSettle:          echolimit.WithSettle,
		WithDenied:          echolimit.WithDenied,
		WithErrorHandler:    echolimit.WithErrorHandler,
		WithFrameworkErrors: echolimit.WithFrameworkErrors,
		WithHeaders:         echolimit.WithHeaders,

		OnSuccess: echolimit.OnSuccess,
		OnFailure: echolimit.OnFailure,

		Header:  func(c *echo.Context, name string) string { return c.Request().Header.Get(name) },
		Param:   func(c *echo.Context, name string) string { return c.Param(name) },
		Context: func(c *echo.Context) context.Context { return c.Request().Context() },
		SetContext: func(c *echo.Context, ctx context.Context) {
			c.SetRequest(c.Request().WithContext(ctx))
		},
		Stream: func(c *echo.Context, write func(io.Writer, func())) error {
			write(c.Response(), c.Response().(http.Flusher).Flush)
			return nil
		},
		Answer: func(c *echo.Context, status int, body string) error { return c.String(status, body) },
		Forward: func(c *echo.Context, path string) error {
			c.Request().URL.Path = path
			c.Echo().ServeHTTP(c.Response(), c.Request())
			return nil
		},
		Refuse:   func(_ *echo.Context, status int) error { return echo.NewHTTPError(status, "refused") },
		Endings:  endings(),
		SetField: setField,
	})
}

func endings() map[string]adaptertest.Ending[*echo.Context, echo.MiddlewareFunc] {
	type ending = adaptertest.Ending[*echo.Context, echo.MiddlewareFunc]
	return map[string]ending{
		adaptertest.EndAbort: {Handler: func(*echo.Context) error { panic(http.ErrAbortHandler) }},
		adaptertest.EndHijack: {Saw: http.StatusSwitchingProtocols, Handler: func(c *echo.Context) error {
			conn, _, err := http.NewResponseController(c.Response()).Hijack()
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = io.WriteString(conn, adaptertest.Switching)
			return err
		}},
		adaptertest.EndStream: {Saw: http.StatusOK, Handler: func(c *echo.Context) error {
			if _, err := io.WriteString(c.Response(), "part"); err != nil {
				return err
			}
			_ = http.NewResponseController(c.Response()).Flush()
			return errors.New("the rest is missing")
		}},
		adaptertest.EndTimeout: {
			Saw:     http.StatusServiceUnavailable,
			Use:     []echo.MiddlewareFunc{middleware.ContextTimeout(time.Millisecond)},
			Handler: func(c *echo.Context) error { <-c.Request().Context().Done(); return c.Request().Context().Err() },
		},
		adaptertest.EndRewritten: {
			Saw: http.StatusPreconditionFailed,
			Use: []echo.MiddlewareFunc{func(next echo.HandlerFunc) echo.HandlerFunc {
				return func(c *echo.Context) error {
					c.SetResponse(failedPrecondition{c.Response()})
					return next(c)
				}
			}},
			Handler: func(c *echo.Context) error { return c.String(http.StatusOK, "ok") },
		},
		adaptertest.EndLatePanic: {Saw: http.StatusOK, Handler: func(c *echo.Context) error {
			_ = c.String(http.StatusOK, "ok")
			panic("panic after the answer")
		}},
		adaptertest.EndHints: {Saw: http.StatusNotFound, Handler: func(c *echo.Context) error {
			responseOf(c).ResponseWriter.WriteHeader(http.StatusEarlyHints)
			return c.String(http.StatusNotFound, "no")
		}},
	}
}

// failedPrecondition changes 200 to 412.
type failedPrecondition struct{ http.ResponseWriter }

func (w failedPrecondition) WriteHeader(int) {
	w.ResponseWriter.WriteHeader(http.StatusPreconditionFailed)
}

func setField(name, value string) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) error {
			c.Response().Header().Set(name, value)
			return next(c)
		}
	}
}

func serve(t *testing.T, app adaptertest.App[*echo.Context, echo.MiddlewareFunc]) string {
	e := echo.New()
	e.Logger = slog.New(slog.DiscardHandler)
	answer := e.HTTPErrorHandler
	e.HTTPErrorHandler = func(c *echo.Context, err error) {
		app.OnError(err)
		answer(c, err)
	}
	e.Use(middleware.Recover())
	e.Use(app.Use...)
	for _, g := range app.Groups {
		group := e.Group(g.Prefix, g.Use...)
		for _, r := range g.Routes {
			group.Match([]string{"GET", "HEAD", "POST"}, r.Path, r.Handler, r.Use...)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	start := echo.StartConfig{Listener: listener, HideBanner: true, HidePort: true}
	go start.Start(t.Context(), e)
	return "http://" + listener.Addr().String()
}

// The HTTPErrorHandler gets an *echo.HTTPError that wraps the denial.
func TestFrameworkErrorsAreHTTPErrors(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	e := echo.New()
	var handled error
	answer := e.HTTPErrorHandler
	e.HTTPErrorHandler = func(c *echo.Context, err error) {
		handled = err
		answer(c, err)
	}
	e.Use(echolimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), echolimit.WithFrameworkErrors()))
	e.GET("/", func(c *echo.Context) error { return c.NoContent(http.StatusOK) })
	get(e, "/")
	w := get(e, "/")
	if want := `{"message":"1 request per hour; retry in 3600s"}` + "\n"; w.Code != http.StatusTooManyRequests || w.Body.String() != want {
		t.Errorf("answered %d with %q, want %q", w.Code, w.Body, want)
	}
	own, ok := handled.(*echo.HTTPError)
	if !ok || own.Code != http.StatusTooManyRequests {
		t.Fatalf("the error is %#v, want an *echo.HTTPError", handled)
	}
	if limited, ok := own.Unwrap().(*core.LimitedError); !ok || limited.Decision.Policy.Name() != "api" {
		t.Errorf("the inner error is %#v, want a *core.LimitedError", own.Unwrap())
	}
}

// The HTTPErrorHandler gets the *echo.HTTPError of a callback itself, not a copy.
func TestOwnErrorUnchanged(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	refused := echo.NewHTTPError(http.StatusPaymentRequired, "no plan")
	e := echo.New()
	answer := e.HTTPErrorHandler
	e.HTTPErrorHandler = func(c *echo.Context, err error) {
		if err != error(refused) {
			t.Errorf("the error is %#v", err)
		}
		answer(c, err)
	}
	e.Use(echolimit.New(limiter, core.NewPolicy("api", core.PerHour(1)),
		echolimit.WithKey(echolimit.ByFunc("user", func(*echo.Context) (string, error) { return "", refused }))))
	e.GET("/", func(*echo.Context) error { t.Error("came through"); return nil })
	if w := get(e, "/"); w.Code != http.StatusPaymentRequired || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("answered %d with %q and %v", w.Code, w.Body, w.Header())
	}
}

// The limit does not overwrite the response of a callback.
func TestAnsweredByCallback(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	e := echo.New()
	e.Use(echolimit.New(limiter, core.NewPolicy("api", core.PerHour(1)),
		echolimit.WithKey(echolimit.ByFunc("user", func(c *echo.Context) (string, error) {
			_ = c.String(http.StatusPaymentRequired, "no plan")
			return "", errors.New("no plan")
		}))))
	e.GET("/", func(*echo.Context) error { t.Error("came through"); return nil })
	if w := get(e, "/"); w.Code != http.StatusPaymentRequired || w.Body.String() != "no plan" {
		t.Errorf("answered %d with %q", w.Code, w.Body)
	}
}

// The status for WithRefund is the one that the client sees, for each way in which a
// handler fails.
func TestRefundStatus(t *testing.T) {
	unauthorized := echo.NewHTTPError(http.StatusUnauthorized, "")
	for name, handler := range map[string]echo.HandlerFunc{
		"written and failed": func(c *echo.Context) error {
			_ = c.String(http.StatusAccepted, "partly")
			return errors.New("the rest is missing")
		},
		"answered by the handler of errors": func(c *echo.Context) error { c.Echo().HTTPErrorHandler(c, unauthorized); return nil },
		"an error in the error":             func(*echo.Context) error { return echo.NewHTTPError(http.StatusBadGateway, "").Wrap(unauthorized) },
		"another error inside":              func(*echo.Context) error { return echo.ErrForbidden.Wrap(errors.New("no")) },
		"status not sent":                   func(c *echo.Context) error { responseOf(c).Status = http.StatusTeapot; return nil },
		"written to Echo's response":        func(c *echo.Context) error { responseOf(c).WriteHeader(http.StatusAccepted); return nil },
		"another status when it is sent": func(c *echo.Context) error {
			r := responseOf(c)
			r.Before(func() { r.Status = http.StatusConflict })
			return c.String(http.StatusOK, "ok")
		},
	} {
		limiter := core.New(core.NewMemory())
		defer limiter.Close()
		var status int
		e := echo.New()
		e.Use(echolimit.New(limiter, core.NewPolicy("api", core.PerHour(1), core.Refundable(0)),
			echolimit.WithRefund(func(_ *echo.Context, s int) bool { status = s; return false })))
		e.GET("/", handler)
		if w := get(e, "/"); w.Code != status {
			t.Errorf("%s: given status %d, but the client sees %d", name, status, w.Code)
		}
	}
}

// responseOf is Echo's own response.
func responseOf(c *echo.Context) *echo.Response {
	r, err := echo.UnwrapResponse(c.Response())
	if err != nil {
		panic(err)
	}
	return r
}

// Writers outside of the limit that hold the response back learn of the status as the
// limit does.
func TestRefundHeldBack(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	var status int
	limit := echolimit.New(limiter, core.NewPolicy("api", core.PerHour(9), core.Refundable(0)),
		echolimit.WithRefund(func(_ *echo.Context, s int) bool { status = s; return false }))
	e := echo.NewWithConfig(echo.Config{Router: echo.NewRouter(echo.RouterConfig{AutoHandleHEAD: true})})
	e.Use(middleware.GzipWithConfig(middleware.GzipConfig{MinLength: 1000}))
	e.GET("/written", func(c *echo.Context) error { return c.String(http.StatusNotFound, "no") }, limit)
	e.GET("/failed", func(*echo.Context) error { return echo.ErrNotFound }, limit)
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for _, path := range []string{"/written", "/failed"} {
			status = 0
			r := httptest.NewRequest(method, path, nil)
			r.Header.Set("Accept-Encoding", "gzip")
			w := httptest.NewRecorder()
			if e.ServeHTTP(w, r); w.Code != http.StatusNotFound || status != w.Code {
				t.Errorf("%s %s: given status %d, but the client sees %d", method, path, status, w.Code)
			}
		}
	}
}

// http.TimeoutHandler inside of the limit responds without Echo's response.
func TestRefundWrappedTimeoutHandler(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	status, late := 0, make(chan struct{})
	done := make(chan struct{})
	e := echo.New()
	e.Use(
		echolimit.New(limiter, core.NewPolicy("api", core.PerHour(1), core.Refundable(0)), echolimit.WithRefund(func(_ *echo.Context, s int) bool {
			status = s
			close(late) // the handler goes on beside what follows
			return false
		})),
		echo.WrapMiddleware(func(next http.Handler) http.Handler {
			return http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(done)
				next.ServeHTTP(w, r)
			}), time.Millisecond, "too late")
		}),
	)
	e.GET("/", func(c *echo.Context) error { <-late; return nil })
	w := get(e, "/")
	<-done
	if w.Code != http.StatusServiceUnavailable || status != w.Code {
		t.Errorf("given status %d, but the client sees %d", status, w.Code)
	}
}

func TestTooLargeClosesConnection(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	e := echo.New()
	e.POST("/", func(c *echo.Context) error {
		if _, err := io.ReadAll(http.MaxBytesReader(responseOf(c).ResponseWriter, c.Request().Body, 10)); err != nil {
			return echo.ErrStatusRequestEntityTooLarge
		}
		return c.NoContent(http.StatusOK)
	}, echolimit.New(limiter, core.NewPolicy("api", core.PerHour(9), core.Refundable(0)), echolimit.WithRefund(echolimit.OnFailure)))
	adaptertest.CheckTooLarge(t, e)
}

// The HTTPErrorHandler chooses the status, and is called once.
func TestRefundCustomErrorHandler(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	var status, asked int
	wrong := errors.New("wrong password")
	e := echo.New()
	e.HTTPErrorHandler = func(c *echo.Context, err error) {
		asked++
		if errors.Is(err, wrong) {
			_ = c.Redirect(http.StatusSeeOther, "/login")
		}
	}
	e.Use(echolimit.New(limiter, core.NewPolicy("api", core.PerHour(1), core.Refundable(0)),
		echolimit.WithRefund(func(_ *echo.Context, s int) bool { status = s; return false })))
	e.GET("/", func(*echo.Context) error { return fmt.Errorf("log in: %w", wrong) })
	if w := get(e, "/"); w.Code != http.StatusSeeOther || status != w.Code || asked != 1 {
		t.Errorf("given status %d, but the client sees %d; the handler was called %d times", status, w.Code, asked)
	}
}

// Echo's own idea of the client can believe the leftmost address of anybody.
func TestRealIPIsNotAsked(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	e := echo.New()
	e.IPExtractor = echo.LegacyIPExtractor()
	e.Use(echolimit.New(limiter, core.NewPolicy("api", core.PerHour(1))))
	var key, own string
	e.GET("/", func(c *echo.Context) error {
		d, _ := echolimit.FromContext(c)
		key, own = d.Key, c.RealIP()
		return nil
	})
	get(e, "/", "X-Forwarded-For", "203.0.113.7")
	if key != "192.0.2.1" || own != "203.0.113.7" {
		t.Errorf("counted by %q, RealIP is %q", key, own)
	}
}

func TestClientMistakes(t *testing.T) {
	adaptertest.CheckBodies(t, func(t *testing.T, limiter *core.Limiter, policy *core.Policy) string {
		cost := func(c *echo.Context) (int64, error) {
			c.Request().Body = http.MaxBytesReader(c.Response(), c.Request().Body, 100)
			var o struct {
				Units int64 `json:"units"`
			}
			err := json.NewDecoder(c.Request().Body).Decode(&o)
			return o.Units, err
		}
		e := echo.New()
		e.POST("/", func(c *echo.Context) error { return c.NoContent(http.StatusOK) },
			echolimit.New(limiter, policy, echolimit.WithCost(cost)))
		server := httptest.NewServer(e)
		t.Cleanup(server.Close)
		return server.URL
	})
}

// A binder of parameters has errors of its own.
func TestParameterMistake(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	cost := func(c *echo.Context) (units int64, err error) {
		return units, echo.QueryParamsBinder(c).Int64("units", &units).BindError()
	}
	e := echo.New()
	e.GET("/", func(c *echo.Context) error { return c.NoContent(http.StatusOK) },
		echolimit.New(limiter, core.NewPolicy("tokens", core.PerHour(9), core.VariableCost()), echolimit.WithCost(cost)))
	if w := get(e, "/?units=two"); w.Code != http.StatusBadRequest {
		t.Errorf("answered %d with %s, want 400", w.Code, w.Body)
	}
}

func TestForwardedClone(t *testing.T) {
	adaptertest.CheckClone(t, func(limiter *core.Limiter, policy *core.Policy) http.Handler {
		e := echo.New()
		e.Use(echolimit.New(limiter, policy))
		e.GET("/old", func(c *echo.Context) error {
			r := c.Request().Clone(c.Request().Context())
			r.URL.Path = "/new"
			e.ServeHTTP(c.Response(), r)
			return nil
		})
		e.GET("/new", func(c *echo.Context) error { return c.NoContent(http.StatusOK) })
		return e
	})
}

// A server removes the files of the form of its own request.
func TestFormIsSeenOutside(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	policy := core.NewPolicy("api", core.PerHour(9))
	read := func(c *echo.Context) error {
		_, err := c.MultipartForm()
		return err
	}
	e := echo.New()
	e.Logger = slog.New(slog.DiscardHandler)
	e.Use(middleware.Recover(), echolimit.New(limiter, policy))
	e.POST("/", read, echolimit.New(limiter, core.NewPolicy("route", core.PerHour(9))))
	e.POST("/panics", func(c *echo.Context) error { _ = read(c); panic("no") })
	adaptertest.CheckForm(t, e, "/", "/panics")
}

var get = adaptertest.Get
