package ginlimit_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
	"github.com/streamlimit/streamlimit/core/adaptertest"
	"github.com/streamlimit/streamlimit/ginlimit"
)

func TestAdapter(t *testing.T) {
	adaptertest.Run(t, adaptertest.Adapter[*gin.Context, gin.HandlerFunc]{
		Name:  "ginlimit",
		Serve: serve,
		New:   ginlimit.New,
		Defaults: func(limiter *core.Limiter, options ...adapter.Option[*gin.Context]) func(*core.Policy, ...adapter.Option[*gin.Context]) gin.HandlerFunc {
			return ginlimit.Defaults(limiter, options...).New
		},
		ZeroPreset:  ginlimit.Preset{}.New,
		FromContext: ginlimit.FromContext,
		Decisions:   ginlimit.Decisions,

		ByAddress:   ginlimit.ByAddress,
		ByHeader:    ginlimit.ByHeader,
		ByBearer:    ginlimit.ByBearer,
		ByBasicUser: ginlimit.ByBasicUser,
		BySecret:    ginlimit.BySecret,
		ByFunc:      ginlimit.ByFunc,
		ByConstant:  ginlimit.ByConstant,
		ByAll:       ginlimit.ByAll,
		ByFirst:     ginlimit.ByFirst,
		KeyFunc:     ginlimit.KeyFunc,

		WithKey:    ginlimit.WithKey,
		WithPolicy: ginlimit.WithPolicy,
		WithCost:   ginlimit.WithCost,
		WithSkip:   ginlimit.WithSkip,
		WithTier:   ginlimit.WithTier,
		WithRefund: ginlimit.WithRefund,
		WithSettle: ginlimit.WithSettle,
		WithDenied: func(denied func(*gin.Context, core.Decision) error) adapter.Option[*gin.Context] {
			return ginlimit.WithDenied(dropError(denied))
		},
		WithErrorHandler: func(failed func(*gin.Context, error) error) adapter.Option[*gin.Context] {
			return ginlimit.WithErrorHandler(dropError(failed))
		},
		WithFrameworkErrors: ginlimit.WithFrameworkErrors,
		WithHeaders:         ginlimit.WithHeaders,

		OnSuccess: ginlimit.OnSuccess,
		OnFailure: ginlimit.OnFailure,

		Header:  func(c *gin.Context, name string) string { return c.GetHeader(name) },
		Param:   func(c *gin.Context, name string) string { return c.Param(name) },
		Context: func(c *gin.Context) context.Context { return c.Request.Context() },
		SetContext: func(c *gin.Context, ctx context.Context) {
			c.Request = c.Request.WithContext(ctx)
		},
		Stream: func(c *gin.Context, write func(io.Writer, func())) error {
			write(c.Writer, c.Writer.Flush)
			return nil
		},
		Answer: func(c *gin.Context, status int, body string) error {
			c.String(status, body)
			return nil
		},
		Forward: func(c *gin.Context, path string) error {
			c.Request.URL.Path = path
			c.Request.Context().Value(routerKey{}).(*gin.Engine).HandleContext(c)
			return nil
		},
		Refuse: func(c *gin.Context, status int) error {
			return c.AbortWithError(status, errors.New("refused"))
		},
		Endings:  endings(),
		SetField: setField,
	})
}

func endings() map[string]adaptertest.Ending[*gin.Context, gin.HandlerFunc] {
	type ending = adaptertest.Ending[*gin.Context, gin.HandlerFunc]
	return map[string]ending{
		adaptertest.EndAbort: {Saw: http.StatusForbidden, Handler: func(c *gin.Context) error {
			c.AbortWithStatus(http.StatusForbidden)
			return nil
		}},
		adaptertest.EndHijack: {Saw: http.StatusSwitchingProtocols, Handler: func(c *gin.Context) error {
			conn, _, err := c.Writer.Hijack()
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = io.WriteString(conn, adaptertest.Switching)
			return err
		}},
		adaptertest.EndStream: {Saw: http.StatusOK, Handler: func(c *gin.Context) error {
			c.Stream(func(w io.Writer) bool {
				_, _ = io.WriteString(w, "part")
				return false
			})
			c.AbortWithStatus(http.StatusInternalServerError)
			return errors.New("the rest is missing")
		}},
		adaptertest.EndTimeout: { // by middleware of a service's own, since Gin has none
			Saw: http.StatusGatewayTimeout,
			Use: []gin.HandlerFunc{func(c *gin.Context) {
				ctx, cancel := context.WithTimeout(c.Request.Context(), time.Millisecond)
				defer cancel()
				c.Request = c.Request.WithContext(ctx)
				c.Next()
				if ctx.Err() != nil {
					c.AbortWithStatus(http.StatusGatewayTimeout)
				}
			}},
			Handler: func(c *gin.Context) error { <-c.Request.Context().Done(); return nil },
		},
		adaptertest.EndRewritten: {
			Saw:     http.StatusPreconditionFailed,
			Use:     []gin.HandlerFunc{func(c *gin.Context) { c.Writer = failedPrecondition{c.Writer}; c.Next() }},
			Handler: func(c *gin.Context) error { c.String(http.StatusOK, "ok"); return nil },
		},
		adaptertest.EndLatePanic: {Saw: http.StatusOK, Handler: func(c *gin.Context) error {
			c.String(http.StatusOK, "ok")
			panic("panic after the answer")
		}},
		// Gin records the status that was sent first as the response's status, and sends
		// no other.
		adaptertest.EndHints: {Saw: http.StatusOK, Handler: func(c *gin.Context) error {
			c.Writer.WriteHeader(http.StatusEarlyHints)
			c.Writer.WriteHeaderNow()
			c.String(http.StatusNotFound, "no")
			return nil
		}},
	}
}

// failedPrecondition changes 200 to 412.
type failedPrecondition struct{ gin.ResponseWriter }

func (w failedPrecondition) WriteHeader(int) {
	w.ResponseWriter.WriteHeader(http.StatusPreconditionFailed)
}

func (failedPrecondition) Status() int { return http.StatusOK }

func setField(name, value string) gin.HandlerFunc {
	return func(c *gin.Context) { c.Header(name, value) }
}

func dropError[A any](f func(*gin.Context, A) error) func(*gin.Context, A) {
	if f == nil {
		return nil
	}
	return func(c *gin.Context, a A) { _ = f(c, a) }
}

// routerKey is the context key of the router to which handlers pass a request.
type routerKey struct{}

func serve(t *testing.T, app adaptertest.App[*gin.Context, gin.HandlerFunc]) string {
	router := gin.New()
	router.Use(gin.RecoveryWithWriter(io.Discard), func(c *gin.Context) {
		c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), routerKey{}, router))
		c.Next()
		for _, err := range c.Errors {
			app.OnError(err.Err)
		}
		if len(c.Errors) > 0 && c.Writer.Status() == http.StatusOK {
			c.Status(http.StatusInternalServerError) // as middleware of a service's own would
		}
	})
	router.Use(app.Use...)
	for _, g := range app.Groups {
		group := router.Group(g.Prefix, g.Use...)
		for _, r := range g.Routes {
			handler := func(c *gin.Context) {
				if err := r.Handler(c); err != nil {
					_ = c.Error(err)
				}
			}
			group.Match([]string{"GET", "HEAD", "POST"}, r.Path, append(r.Use, handler)...)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: router}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return "http://" + listener.Addr().String()
}

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	m.Run()
}

// Middleware can write the body of a denial after c.Next, where Gin services answer
// errors.
func TestFrameworkErrorsLeaveTheBody(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	router := gin.New()
	router.Use(func(c *gin.Context) {
		c.Next()
		if len(c.Errors) > 0 {
			c.JSON(-1, gin.H{"error": "slow down"})
		}
	})
	router.Use(ginlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)), ginlimit.WithFrameworkErrors()))
	router.GET("/", func(c *gin.Context) { c.Status(http.StatusOK) })
	get(router, "/")
	w := get(router, "/")
	if w.Code != http.StatusTooManyRequests || w.Body.String() != `{"error":"slow down"}` ||
		w.Result().Header.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("answered %d with %q of %q", w.Code, w.Body, w.Result().Header.Get("Content-Type"))
	}
}

// The limit does not overwrite the response of a callback that has aborted.
func TestAbortedByCallback(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	router := gin.New()
	router.Use(ginlimit.New(limiter, core.NewPolicy("api", core.PerHour(1)),
		ginlimit.WithKey(ginlimit.ByFunc("user", func(c *gin.Context) (string, error) {
			c.AbortWithStatusJSON(http.StatusPaymentRequired, gin.H{"error": "no plan"})
			return "", errors.New("no plan")
		}))))
	router.GET("/", func(*gin.Context) { t.Error("came through") })
	w := get(router, "/")
	if w.Code != http.StatusPaymentRequired || w.Body.String() != `{"error":"no plan"}` {
		t.Errorf("answered %d with %q", w.Code, w.Body)
	}
}

// A handler that leaves its response to middleware outside of the limit has failed. Its
// status is not known yet.
func TestRefundStatus(t *testing.T) {
	for name, c := range map[string]struct {
		handler gin.HandlerFunc
		want    int
	}{
		"error left":           {func(c *gin.Context) { _ = c.Error(errors.New("wrong password")) }, http.StatusInternalServerError},
		"error and status":     {func(c *gin.Context) { c.Status(http.StatusUnauthorized); _ = c.Error(errors.New("no")) }, http.StatusUnauthorized},
		"error beside answer":  {func(c *gin.Context) { c.String(http.StatusOK, "ok"); _ = c.Error(errors.New("slow")) }, http.StatusOK},
		"error and no content": {func(c *gin.Context) { c.Status(http.StatusNoContent); _ = c.Error(errors.New("slow")) }, http.StatusNoContent},
		"informational":        {func(c *gin.Context) { c.Status(http.StatusEarlyHints) }, http.StatusOK},
		"aborted":              {func(c *gin.Context) { c.AbortWithStatus(http.StatusForbidden) }, http.StatusForbidden},
	} {
		limiter := core.New(core.NewMemory())
		defer limiter.Close()
		var status int
		router := gin.New()
		router.GET("/", ginlimit.New(limiter, core.NewPolicy("api", core.PerHour(1), core.Refundable(0)),
			ginlimit.WithRefund(func(_ *gin.Context, s int) bool { status = s; return false })), c.handler)
		if get(router, "/"); status != c.want {
			t.Errorf("%s: given status %d, want %d", name, status, c.want)
		}
	}
}

// Requests for unknown routes are given back too: Gin answers them after the limit.
func TestRefundNotFound(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	router := gin.New()
	router.Use(ginlimit.New(limiter, core.NewPolicy("api", core.PerHour(1), core.Refundable(0)), ginlimit.WithRefund(ginlimit.OnFailure)))
	for range 3 {
		if w := get(router, "/nowhere"); w.Code != http.StatusNotFound {
			t.Errorf("answered %d, want 404", w.Code)
		}
	}
}

// Gin's own idea of the client believes every peer by default.
func TestClientIPIsNotAsked(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	router := gin.New()
	router.Use(ginlimit.New(limiter, core.NewPolicy("api", core.PerHour(1))))
	var key, own string
	router.GET("/", func(c *gin.Context) {
		d, _ := ginlimit.FromContext(c)
		key, own = d.Key, c.ClientIP()
	})
	get(router, "/", "X-Forwarded-For", "203.0.113.7")
	if key != "192.0.2.1" || own != "203.0.113.7" {
		t.Errorf("counted by %q, ClientIP is %q", key, own)
	}
}

func TestClientMistakes(t *testing.T) {
	adaptertest.CheckBodies(t, func(t *testing.T, limiter *core.Limiter, policy *core.Policy) string {
		cost := func(c *gin.Context) (int64, error) {
			c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, 100)
			var o struct {
				Units int64 `json:"units" binding:"min=1,max=5"`
			}
			err := c.ShouldBindJSON(&o)
			return o.Units, err
		}
		router := gin.New()
		router.POST("/", ginlimit.New(limiter, policy, ginlimit.WithCost(cost)), func(c *gin.Context) { c.Status(http.StatusOK) })
		server := httptest.NewServer(router)
		t.Cleanup(server.Close)
		return server.URL
	})
}

func TestForwardedClone(t *testing.T) {
	adaptertest.CheckClone(t, func(limiter *core.Limiter, policy *core.Policy) http.Handler {
		router := gin.New()
		router.Use(ginlimit.New(limiter, policy))
		router.GET("/old", func(c *gin.Context) {
			c.Request = c.Request.Clone(c.Request.Context())
			c.Request.URL.Path = "/new"
			router.HandleContext(c)
		})
		router.GET("/new", func(c *gin.Context) { c.Status(http.StatusOK) })
		return router
	})
}

// A server removes the files of the form of its own request.
func TestFormIsSeenOutside(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	policy := core.NewPolicy("api", core.PerHour(9))
	read := func(c *gin.Context) {
		if _, err := c.MultipartForm(); err != nil {
			t.Error(err)
		}
	}
	router := gin.New()
	router.Use(gin.RecoveryWithWriter(io.Discard), ginlimit.New(limiter, policy))
	router.POST("/", ginlimit.New(limiter, core.NewPolicy("route", core.PerHour(9))), read)
	router.POST("/panics", func(c *gin.Context) { read(c); panic("no") })
	adaptertest.CheckForm(t, router, "/", "/panics")
}

var get = adaptertest.Get
