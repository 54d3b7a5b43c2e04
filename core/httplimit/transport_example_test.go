package httplimit_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/httplimit"
)

// Together, all processes whose limiters share a store keep within the limit of the other
// side. Requests wait for their turn, but not beyond the Timeout of the client.
func ExampleNewTransport() {
	server := httptest.NewServer(hello)
	defer server.Close()
	limiter := core.New(core.NewMemory()) // on Redis for a fleet: see package redisstream
	defer limiter.Close()
	partner := core.NewPolicy("partner", core.Per(2, 200*time.Millisecond))
	client := &http.Client{Transport: httplimit.NewTransport(limiter, partner), Timeout: 10 * time.Second}

	begun := time.Now()
	for range 3 {
		resp, err := client.Get(server.URL)
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
		fmt.Println(resp.StatusCode)
	}
	fmt.Println(time.Since(begun) >= 200*time.Millisecond)
	// Output:
	// 200
	// 200
	// 200
	// true
}

// Each account has a budget of its own. A request without room fails.
func ExampleWithoutWait() {
	server := httptest.NewServer(hello)
	defer server.Close()
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	partner := core.NewPolicy("partner", core.PerHour(1))
	account := httplimit.WithRequestKey(func(r *http.Request) (string, error) { return r.Header.Get("X-Account"), nil })
	client := &http.Client{Transport: httplimit.NewTransport(limiter, partner, account, httplimit.WithoutWait())}

	for range 2 {
		r, _ := http.NewRequest(http.MethodGet, server.URL, nil)
		r.Header.Set("X-Account", "7")
		resp, err := client.Do(r)
		var limited *core.LimitedError
		if errors.As(err, &limited) {
			fmt.Println("retry in", limited.Decision.RetryAfter.Round(time.Hour))
			continue
		}
		resp.Body.Close()
		fmt.Println(resp.StatusCode)
	}
	// Output:
	// 200
	// retry in 1h0m0s
}

// A request that the other side refuses is sent again after its Retry-After.
func ExampleWithRetries() {
	tries := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if tries++; tries == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	defer server.Close()
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	partner := core.NewPolicy("partner", core.PerHour(100))
	client := &http.Client{Transport: httplimit.NewTransport(limiter, partner, httplimit.WithRetries(2))}

	resp, err := client.Get(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	resp.Body.Close()
	fmt.Println(resp.StatusCode, tries)
	// Output: 200 2
}
