package fiberlimit_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/cors"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/fiberlimit/v3"
)

// CORS comes first, outside of the limit. Preflights are then not counted, and refusals
// have its fields too, without which scripts do not see their status. Scripts see the
// fields of the limit only if ExposeHeaders lists them.
func ExampleNew_cors() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()

	app := fiber.New()
	app.Use(cors.New(cors.Config{
		AllowOrigins:  []string{"https://shop.example"},
		ExposeHeaders: []string{"RateLimit", "RateLimit-Policy", "Retry-After"},
	}))
	app.Use(fiberlimit.New(limiter, core.NewPolicy("api", core.PerHour(1))))
	app.Get("/", hello)

	for _, method := range []string{"OPTIONS", "GET", "OPTIONS", "GET"} {
		r := httptest.NewRequest(method, "/", nil)
		r.Header.Set("Origin", "https://shop.example")
		r.Header.Set("Access-Control-Request-Method", http.MethodGet)
		resp, err := app.Test(r)
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
		fmt.Println(method, resp.StatusCode, resp.Header.Get("Access-Control-Allow-Origin"))
	}
	// Output:
	// OPTIONS 204 https://shop.example
	// GET 200 https://shop.example
	// OPTIONS 204 https://shop.example
	// GET 429 https://shop.example
}
