// Command gin is the example service on Gin; its twins are ../echo and ../fiber.
// Run it with -h to see its settings.
package main

import (
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/streamlimit/streamlimit/examples/service"
	"github.com/streamlimit/streamlimit/ginlimit"
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
	server := &http.Server{Handler: newRouter(limits, settings.Store()), ReadTimeout: 5 * time.Second}
	err = limits.Run(settings.Addr, server.Serve, server.Shutdown)
	if err := errors.Join(err, limits.Close()); err != nil {
		service.Exit(err)
	}
}

func newRouter(limits *service.Limits, store string) *gin.Engine {
	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	router.RedirectTrailingSlash = false
	router.Use(gin.Recovery())
	limiter, policies := limits.Limiter, limits.Policies

	router.GET("/", func(c *gin.Context) { c.JSON(service.Welcome()) })
	router.GET("/healthz", func(c *gin.Context) {
		c.JSON(service.Health(c.Request.Context(), limiter, store))
	})

	// Limits count by the client's address by default.
	router.GET("/protected", ginlimit.New(limiter, policies.Protected), admitted)
	router.GET("/strict", ginlimit.New(limiter, policies.Strict), admitted)
	router.GET("/search", ginlimit.New(limiter, policies.Search), search)

	// This limit counts by API key. Only a digest of the key is kept. A request without a
	// key gets 401.
	byAPIKey := ginlimit.WithKey(ginlimit.ByHeader("X-API-Key"))
	router.GET("/stocks/:symbol/history", ginlimit.New(limiter, policies.Stocks, byAPIKey), history)

	// This limit counts by the body, so the body is decoded before the limit. Tries that
	// succeed are given back.
	byAddressAndUser := ginlimit.WithKey(ginlimit.ByAll(ginlimit.ByAddress(), ginlimit.ByFunc("user", user)))
	router.POST("/login", decode[service.Login],
		ginlimit.New(limiter, policies.Login, byAddressAndUser, ginlimit.WithRefund(ginlimit.OnSuccess)), logIn)

	// A request costs as many units as it requests tokens.
	router.POST("/complete", decode[service.Completion],
		ginlimit.New(limiter, policies.Tokens, byAPIKey, ginlimit.WithCost(tokens)), complete)

	// A peek returns the rest of a budget, and uses none of it.
	address := ginlimit.KeyFunc(limiter, ginlimit.ByAddress())
	router.GET("/whoami", func(c *gin.Context) {
		key, err := address(c)
		if err != nil {
			c.JSON(service.Failed(c.Header, err))
			return
		}
		d, err := limiter.Peek(c.Request.Context(), policies.Protected, key)
		c.JSON(service.WhoAmI(c.Header, d, err))
	})

	// The monitor shows the decisions of all processes on the same store.
	page := gin.WrapH(limits.Monitor)
	router.Any("/ratelimit", page)
	router.Any("/ratelimit/*path", page)
	return router
}

// admitted responds with the decision of the limit before it.
func admitted(c *gin.Context) { c.JSON(service.Admitted(ginlimit.FromContext(c))) }

func search(c *gin.Context) { c.JSON(service.Search(c.Query("q"))) }

func history(c *gin.Context) { c.JSON(service.History(c.Param("symbol"))) }

func logIn(c *gin.Context) { c.JSON(service.LogIn(body[service.Login](c))) }

func complete(c *gin.Context) { c.JSON(service.Complete(ginlimit.FromContext(c))) }

func user(c *gin.Context) (string, error) { return body[service.Login](c).User, nil }

func tokens(c *gin.Context) (int64, error) { return body[service.Completion](c).Tokens, nil }

// decode returns middleware that stores the decoded request body for body.
func decode[T any](c *gin.Context) {
	value, err := service.Decode[T](c.Request.Body)
	if err != nil {
		c.AbortWithStatusJSON(service.Failed(c.Header, err))
		return
	}
	c.Set("body", value)
}

func body[T any](c *gin.Context) T { return c.MustGet("body").(T) }
