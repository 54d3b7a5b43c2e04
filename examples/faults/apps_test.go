package faults

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/gofiber/fiber/v2"
	fiberrecover "github.com/gofiber/fiber/v2/middleware/recover"
	fiber3 "github.com/gofiber/fiber/v3"
	fiber3recover "github.com/gofiber/fiber/v3/middleware/recover"
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	echo5 "github.com/labstack/echo/v5"
	middleware5 "github.com/labstack/echo/v5/middleware"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/echolimit"
	echolimit5 "github.com/streamlimit/streamlimit/echolimit/v5"
	"github.com/streamlimit/streamlimit/examples/internal/program"
	"github.com/streamlimit/streamlimit/fiberlimit"
	fiberlimit3 "github.com/streamlimit/streamlimit/fiberlimit/v3"
	"github.com/streamlimit/streamlimit/ginlimit"
)

// app is a service in this process with one route, "/", whose middleware has every
// callback. Each callback calls at, with its name and the request's field At.
type app struct {
	limiter *core.Limiter
	policy  *core.Policy // with costs and refunds
	at      func(callback, field string)
}

// callbacks are the names of the callbacks.
var callbacks = []string{"key", "skip", "tier", "cost", "denied", "handler", "refund", "settle"}

// apps make the service on each framework, and return the functions that serve and stop
// it.
var apps = map[string]func(app) (serve func(net.Listener) error, stop func(context.Context) error){
	"gin": ginApp, "echo": echoApp, "echo5": echo5App, "fiber": fiberApp, "fiber3": fiber3App,
}

// serveApp serves the app, and returns its address and a function that stops it.
func serveApp(t *testing.T, framework string, a app) (addr string, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve, shutdown := apps[framework](a)
	done := make(chan error, 1)
	go func() { done <- serve(listener) }()
	return listener.Addr().String(), func() {
		ctx, cancel := context.WithTimeout(context.Background(), program.Timeout)
		defer cancel()
		if err := shutdown(ctx); err != nil {
			t.Errorf("%s: %v", framework, err)
		}
		if err := <-done; err != nil && !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("%s: %v", framework, err)
		}
	}
}

func ginApp(a app) (func(net.Listener) error, func(context.Context) error) {
	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	router.Use(gin.RecoveryWithWriter(io.Discard))
	at := func(callback string, c *gin.Context) { a.at(callback, c.GetHeader("At")) }
	limit := ginlimit.New(a.limiter, a.policy,
		ginlimit.WithKey(ginlimit.ByFunc("user", func(c *gin.Context) (string, error) { at("key", c); return c.GetHeader("User"), nil })),
		ginlimit.WithSkip(func(c *gin.Context) bool { at("skip", c); return false }),
		ginlimit.WithTier(func(c *gin.Context) *core.Policy { at("tier", c); return nil }),
		ginlimit.WithCost(func(c *gin.Context) (int64, error) { at("cost", c); return 1, nil }),
		ginlimit.WithDenied(func(c *gin.Context, d core.Decision) { at("denied", c); c.AbortWithStatus(429) }),
		ginlimit.WithRefund(func(c *gin.Context, _ int) bool { at("refund", c); return false }),
		ginlimit.WithSettle(func(c *gin.Context, _ int) int64 { at("settle", c); return -1 }))
	router.GET("/", limit, func(c *gin.Context) {
		at("handler", c)
		d, _ := ginlimit.FromContext(c)
		c.String(200, d.Key)
	})
	server := &http.Server{Handler: router, ReadTimeout: time.Minute}
	return server.Serve, server.Shutdown
}

func echoApp(a app) (func(net.Listener) error, func(context.Context) error) {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Logger.SetOutput(io.Discard)
	e.Use(middleware.RecoverWithConfig(middleware.RecoverConfig{DisablePrintStack: true}))
	at := func(callback string, c echo.Context) { a.at(callback, c.Request().Header.Get("At")) }
	limit := echolimit.New(a.limiter, a.policy,
		echolimit.WithKey(echolimit.ByFunc("user", func(c echo.Context) (string, error) { at("key", c); return c.Request().Header.Get("User"), nil })),
		echolimit.WithSkip(func(c echo.Context) bool { at("skip", c); return false }),
		echolimit.WithTier(func(c echo.Context) *core.Policy { at("tier", c); return nil }),
		echolimit.WithCost(func(c echo.Context) (int64, error) { at("cost", c); return 1, nil }),
		echolimit.WithDenied(func(c echo.Context, d core.Decision) error { at("denied", c); return c.NoContent(429) }),
		echolimit.WithRefund(func(c echo.Context, _ int) bool { at("refund", c); return false }),
		echolimit.WithSettle(func(c echo.Context, _ int) int64 { at("settle", c); return -1 }))
	e.GET("/", func(c echo.Context) error {
		at("handler", c)
		d, _ := echolimit.FromContext(c)
		return c.String(200, d.Key)
	}, limit)
	server := &http.Server{Handler: e, ReadTimeout: time.Minute}
	return server.Serve, server.Shutdown
}

func echo5App(a app) (func(net.Listener) error, func(context.Context) error) {
	e := echo5.New()
	e.Logger = slog.New(slog.DiscardHandler)
	e.Use(middleware5.RecoverWithConfig(middleware5.RecoverConfig{DisablePrintStack: true}))
	at := func(callback string, c *echo5.Context) { a.at(callback, c.Request().Header.Get("At")) }
	limit := echolimit5.New(a.limiter, a.policy,
		echolimit5.WithKey(echolimit5.ByFunc("user", func(c *echo5.Context) (string, error) { at("key", c); return c.Request().Header.Get("User"), nil })),
		echolimit5.WithSkip(func(c *echo5.Context) bool { at("skip", c); return false }),
		echolimit5.WithTier(func(c *echo5.Context) *core.Policy { at("tier", c); return nil }),
		echolimit5.WithCost(func(c *echo5.Context) (int64, error) { at("cost", c); return 1, nil }),
		echolimit5.WithDenied(func(c *echo5.Context, d core.Decision) error { at("denied", c); return c.NoContent(429) }),
		echolimit5.WithRefund(func(c *echo5.Context, _ int) bool { at("refund", c); return false }),
		echolimit5.WithSettle(func(c *echo5.Context, _ int) int64 { at("settle", c); return -1 }))
	e.GET("/", func(c *echo5.Context) error {
		at("handler", c)
		d, _ := echolimit5.FromContext(c)
		return c.String(200, d.Key)
	}, limit)
	server := &http.Server{Handler: e, ReadTimeout: time.Minute}
	return server.Serve, server.Shutdown
}

func fiberApp(a app) (func(net.Listener) error, func(context.Context) error) {
	f := fiber.New(fiber.Config{DisableStartupMessage: true, ReadTimeout: time.Minute})
	f.Use(fiberrecover.New())
	at := func(callback string, c *fiber.Ctx) { a.at(callback, c.Get("At")) }
	limit := fiberlimit.New(a.limiter, a.policy,
		fiberlimit.WithKey(fiberlimit.ByFunc("user", func(c *fiber.Ctx) (string, error) { at("key", c); return c.Get("User"), nil })),
		fiberlimit.WithSkip(func(c *fiber.Ctx) bool { at("skip", c); return false }),
		fiberlimit.WithTier(func(c *fiber.Ctx) *core.Policy { at("tier", c); return nil }),
		fiberlimit.WithCost(func(c *fiber.Ctx) (int64, error) { at("cost", c); return 1, nil }),
		fiberlimit.WithDenied(func(c *fiber.Ctx, d core.Decision) error { at("denied", c); return c.SendStatus(429) }),
		fiberlimit.WithRefund(func(c *fiber.Ctx, _ int) bool { at("refund", c); return false }),
		fiberlimit.WithSettle(func(c *fiber.Ctx, _ int) int64 { at("settle", c); return -1 }))
	f.Get("/", limit, func(c *fiber.Ctx) error {
		at("handler", c)
		d, _ := fiberlimit.FromContext(c)
		return c.SendString(d.Key)
	})
	return f.Listener, f.ShutdownWithContext
}

func fiber3App(a app) (func(net.Listener) error, func(context.Context) error) {
	f := fiber3.New(fiber3.Config{ReadTimeout: time.Minute})
	f.Use(fiber3recover.New())
	at := func(callback string, c fiber3.Ctx) { a.at(callback, c.Get("At")) }
	limit := fiberlimit3.New(a.limiter, a.policy,
		fiberlimit3.WithKey(fiberlimit3.ByFunc("user", func(c fiber3.Ctx) (string, error) { at("key", c); return c.Get("User"), nil })),
		fiberlimit3.WithSkip(func(c fiber3.Ctx) bool { at("skip", c); return false }),
		fiberlimit3.WithTier(func(c fiber3.Ctx) *core.Policy { at("tier", c); return nil }),
		fiberlimit3.WithCost(func(c fiber3.Ctx) (int64, error) { at("cost", c); return 1, nil }),
		fiberlimit3.WithDenied(func(c fiber3.Ctx, d core.Decision) error { at("denied", c); return c.SendStatus(429) }),
		fiberlimit3.WithRefund(func(c fiber3.Ctx, _ int) bool { at("refund", c); return false }),
		fiberlimit3.WithSettle(func(c fiber3.Ctx, _ int) int64 { at("settle", c); return -1 }))
	f.Get("/", limit, func(c fiber3.Ctx) error {
		at("handler", c)
		d, _ := fiberlimit3.FromContext(c)
		return c.SendString(d.Key)
	})
	serve := func(l net.Listener) error {
		return f.Listener(l, fiber3.ListenConfig{DisableStartupMessage: true})
	}
	return serve, f.ShutdownWithContext
}
