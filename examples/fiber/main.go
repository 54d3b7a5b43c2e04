// Command fiber is the example service on Fiber; its twins are ../gin and ../echo.
// Run it with -h to see its settings.
package main

import (
	"bytes"
	"errors"
	"os"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/adaptor"
	"github.com/gofiber/fiber/v2/middleware/recover"

	"github.com/streamlimit/streamlimit/examples/service"
	"github.com/streamlimit/streamlimit/fiberlimit"
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
	app := newRouter(limits, settings.Store())
	err = limits.Run(settings.Addr, app.Listener, app.ShutdownWithContext)
	if err := errors.Join(err, limits.Close()); err != nil {
		service.Exit(err)
	}
}

func newRouter(limits *service.Limits, store string) *fiber.App {
	app := fiber.New(fiber.Config{
		DisableStartupMessage: true, ReadTimeout: 5 * time.Second,
		StrictRouting: true, CaseSensitive: true, UnescapePath: true, // as the other frameworks
	})
	app.Use(recover.New())
	limiter, policies := limits.Limiter, limits.Policies

	app.Get("/", func(c *fiber.Ctx) error { return sendJSON(c)(service.Welcome()) })
	app.Get("/healthz", func(c *fiber.Ctx) error {
		return sendJSON(c)(service.Health(c.UserContext(), limiter, store))
	})

	// Limits count by the client's address by default.
	app.Get("/protected", fiberlimit.New(limiter, policies.Protected), admitted)
	app.Get("/strict", fiberlimit.New(limiter, policies.Strict), admitted)
	app.Get("/search", fiberlimit.New(limiter, policies.Search), search)

	// This limit counts by API key. Only a digest of the key is kept. A request without a
	// key gets 401.
	byAPIKey := fiberlimit.WithKey(fiberlimit.ByHeader("X-API-Key"))
	app.Get("/stocks/:symbol/history", fiberlimit.New(limiter, policies.Stocks, byAPIKey), history)

	// This limit counts by the body, so the body is decoded before the limit. Tries that
	// succeed are given back.
	byAddressAndUser := fiberlimit.WithKey(fiberlimit.ByAll(fiberlimit.ByAddress(), fiberlimit.ByFunc("user", user)))
	app.Post("/login", decode[service.Login],
		fiberlimit.New(limiter, policies.Login, byAddressAndUser, fiberlimit.WithRefund(fiberlimit.OnSuccess)), logIn)

	// A request costs as many units as it requests tokens.
	app.Post("/complete", decode[service.Completion],
		fiberlimit.New(limiter, policies.Tokens, byAPIKey, fiberlimit.WithCost(tokens)), complete)

	// A peek returns the rest of a budget, and uses none of it.
	address := fiberlimit.KeyFunc(limiter, fiberlimit.ByAddress())
	app.Get("/whoami", func(c *fiber.Ctx) error {
		key, err := address(c)
		if err != nil {
			return sendJSON(c)(service.Failed(c.Set, err))
		}
		d, err := limiter.Peek(c.UserContext(), policies.Protected, key)
		return sendJSON(c)(service.WhoAmI(c.Set, d, err))
	})

	// The monitor shows the decisions of all processes on the same store.
	page := adaptor.HTTPHandler(limits.Monitor)
	app.All("/ratelimit", page)
	app.All("/ratelimit/*", page)
	return app
}

// admitted responds with the decision of the limit before it.
func admitted(c *fiber.Ctx) error { return sendJSON(c)(service.Admitted(fiberlimit.FromContext(c))) }

func search(c *fiber.Ctx) error { return sendJSON(c)(service.Search(c.Query("q"))) }

func history(c *fiber.Ctx) error { return sendJSON(c)(service.History(c.Params("symbol"))) }

func logIn(c *fiber.Ctx) error { return sendJSON(c)(service.LogIn(body[service.Login](c))) }

func complete(c *fiber.Ctx) error { return sendJSON(c)(service.Complete(fiberlimit.FromContext(c))) }

func user(c *fiber.Ctx) (string, error) { return body[service.Login](c).User, nil }

func tokens(c *fiber.Ctx) (int64, error) { return body[service.Completion](c).Tokens, nil }

// decode returns middleware that stores the decoded request body for body. c.Body would
// decompress it, to any size.
func decode[T any](c *fiber.Ctx) error {
	value, err := service.Decode[T](bytes.NewReader(c.BodyRaw()))
	if err != nil {
		return sendJSON(c)(service.Failed(c.Set, err))
	}
	c.Locals("body", value)
	return c.Next()
}

func body[T any](c *fiber.Ctx) T { return c.Locals("body").(T) }

// sendJSON does what Gin's and Echo's c.JSON do.
func sendJSON(c *fiber.Ctx) func(status int, body any) error {
	return func(status int, body any) error { return c.Status(status).JSON(body) }
}
