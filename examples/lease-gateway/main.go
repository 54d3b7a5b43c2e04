// Command lease-gateway is a gateway to a backend with one hot limit: 100,000 requests a
// minute for the whole backend, from all gateways together.
//
//	BACKEND=http://127.0.0.1:9000 REDIS_URL=redis://127.0.0.1:6379 go run ./examples/lease-gateway
//
// Every request has the same key, so without a lease each would be a call to Redis. With
// [core.Lease], one call takes the units that a gateway uses in about a second, and the
// gateway hands them out itself. The limit still holds for all gateways together.
//
// Do not use a lease if each key has only a request now and then, as in a limit per
// client address: the lease gains nothing. Here the limit per client is a policy of its
// own, without a lease.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/httplimit"
	"github.com/streamlimit/streamlimit/core/redisstream"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	backend, err := url.Parse(cmp.Or(os.Getenv("BACKEND"), "http://127.0.0.1:9000"))
	if err != nil {
		fail(2, err)
	}
	store, err := redisstream.Open(cmp.Or(os.Getenv("REDIS_URL"), "redis://127.0.0.1:6379"))
	if err != nil {
		fail(2, err)
	}
	limiter := core.New(store)
	server := &http.Server{
		Addr:              cmp.Or(os.Getenv("ADDR"), "127.0.0.1:8080"),
		Handler:           newGateway(limiter, httputil.NewSingleHostReverseProxy(backend)), //nolint:gosec // the operator sets the address
		ReadHeaderTimeout: 10 * time.Second,
	}
	go func() {
		<-ctx.Done()
		limited, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = server.Shutdown(limited)
	}()
	fmt.Println("listening on", server.Addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fail(1, err)
	}
	// Close returns the units that the leases have left, for other gateways.
	if err := limiter.Close(); err != nil {
		fail(1, err)
	}
}

func fail(code int, err error) {
	fmt.Fprintln(os.Stderr, "lease-gateway:", err)
	os.Exit(code)
}

// newGateway limits each client, and then the backend as a whole. A client that is
// denied takes nothing from the backend's budget.
func newGateway(limiter *core.Limiter, backend http.Handler) http.Handler {
	client := core.NewPolicy("client", core.PerMinute(600))
	whole := core.NewPolicy("backend", core.PerMinute(100_000), core.Lease(time.Second))
	limited := httplimit.New(limiter, whole, httplimit.WithKey(httplimit.ByConstant("backend")))(backend)
	return httplimit.New(limiter, client)(limited)
}
