package echolimit_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/echolimit/v5"
)

// CORS comes first, outside of the limit. Preflights are then not counted, and refusals
// have its fields too, without which scripts do not see their status. Scripts see the
// fields of the limit only if ExposeHeaders lists them.
func ExampleNew_cors() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	e := echo.New()
	e.Use(middleware.CORSWithConfig(middleware.CORSConfig{
		AllowOrigins:  []string{"https://shop.example"},
		ExposeHeaders: []string{"RateLimit", "RateLimit-Policy", "Retry-After"},
	}))
	e.Use(echolimit.New(limiter, core.NewPolicy("api", core.PerHour(1))))
	e.GET("/", hello)

	for _, method := range []string{"OPTIONS", "GET", "OPTIONS", "GET"} {
		r := httptest.NewRequest(method, "/", nil)
		r.Header.Set("Origin", "https://shop.example")
		r.Header.Set("Access-Control-Request-Method", http.MethodGet)
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		fmt.Println(method, w.Code, w.Header().Get("Access-Control-Allow-Origin"))
	}
	// Output:
	// OPTIONS 204 https://shop.example
	// GET 200 https://shop.example
	// OPTIONS 204 https://shop.example
	// GET 429 https://shop.example
}
