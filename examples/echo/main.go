// Command echo is the example service on Echo; its twins are ../gin and ../fiber.
// Run it with -h to see its settings.
package main

import (
	"errors"
	"net"
	"os"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"github.com/streamlimit/streamlimit/echolimit"
	"github.com/streamlimit/streamlimit/examples/service"
)

func main() {
	settings, err := service.Load(os.Args[1:], os.Getenv)
	if err != nil {
		service.Exit(err)
	}
	limits, err := settings.NewLimits()
	if err != nil {
		service.Exit(err)
	}
	e := newRouter(limits, settings.Store())
	serve := func(l net.Listener) error {
		e.Listener = l
		return e.Start("")
	}
	err = limits.Run(settings.Addr, serve, e.Shutdown)
	if err := errors.Join(err, limits.Close()); err != nil {
		service.Exit(err)
	}
}

func newRouter(limits *service.Limits, store string) *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Server.ReadTimeout = 5 * time.Second
	e.Use(middleware.Recover())
	limiter, policies := limits.Limiter, limits.Policies

	e.GET("/", func(c echo.Context) error { return c.JSON(service.Welcome()) })
	e.GET("/healthz", func(c echo.Context) error {
		return c.JSON(service.Health(c.Request().Context(), limiter, store))
	})

	// Limits count by the client's address by default.
	e.GET("/protected", admitted, echolimit.New(limiter, policies.Protected))
	e.GET("/strict", admitted, echolimit.New(limiter, policies.Strict))
	e.GET("/search", search, echolimit.New(limiter, policies.Search))

	// This limit counts by API key. Only a digest of the key is kept. A request without a
	// key gets 401.
	byAPIKey := echolimit.WithKey(echolimit.ByHeader("X-API-Key"))
	e.GET("/stocks/:symbol/history", history, echolimit.New(limiter, policies.Stocks, byAPIKey))

	// This limit counts by the body, so the body is decoded before the limit. Tries that
	// succeed are given back.
	byAddressAndUser := echolimit.WithKey(echolimit.ByAll(echolimit.ByAddress(), echolimit.ByFunc("user", user)))
	e.POST("/login", logIn, decode[service.Login],
		echolimit.New(limiter, policies.Login, byAddressAndUser, echolimit.WithRefund(echolimit.OnSuccess)))

	// A request costs as many units as it requests tokens.
	e.POST("/complete", complete, decode[service.Completion],
		echolimit.New(limiter, policies.Tokens, byAPIKey, echolimit.WithCost(tokens)))

	// A peek returns the rest of a budget, and uses none of it.
	address := echolimit.KeyFunc(limiter, echolimit.ByAddress())
	e.GET("/whoami", func(c echo.Context) error {
		key, err := address(c)
		if err != nil {
			return c.JSON(service.Failed(c.Response().Header().Set, err))
		}
		d, err := limiter.Peek(c.Request().Context(), policies.Protected, key)
		return c.JSON(service.WhoAmI(c.Response().Header().Set, d, err))
	})

	// The monitor shows the decisions of all processes on the same store.
	page := echo.WrapHandler(limits.Monitor)
	e.Any("/ratelimit", page)
	e.Any("/ratelimit/*", page)
	return e
}

// admitted responds with the decision of the limit before it.
func admitted(c echo.Context) error { return c.JSON(service.Admitted(echolimit.FromContext(c))) }

func search(c echo.Context) error { return c.JSON(service.Search(c.QueryParam("q"))) }

func history(c echo.Context) error { return c.JSON(service.History(c.Param("symbol"))) }

func logIn(c echo.Context) error { return c.JSON(service.LogIn(body[service.Login](c))) }

func complete(c echo.Context) error { return c.JSON(service.Complete(echolimit.FromContext(c))) }

func user(c echo.Context) (string, error) { return body[service.Login](c).User, nil }

func tokens(c echo.Context) (int64, error) { return body[service.Completion](c).Tokens, nil }

// decode returns middleware that stores the decoded request body for body.
func decode[T any](next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		value, err := service.Decode[T](c.Request().Body)
		if err != nil {
			return c.JSON(service.Failed(c.Response().Header().Set, err))
		}
		c.Set("body", value)
		return next(c)
	}
}

func body[T any](c echo.Context) T { return c.Get("body").(T) }
