// Command gateway is a gateway to a language model. It limits each API key to 60 requests
// and 100,000 tokens a minute, 5 requests in flight, and 5,000,000 tokens a calendar month:
//
//	go run ./examples/gateway
//
// It needs nothing but Go: the model is a fake one in this program, and the limits are
// counted in its memory. With REDIS_URL all gateways on one Redis count together.
//
// A request takes an estimate of its tokens before it is passed on: those of the prompt,
// and max_tokens. When the stream ends, or its client hangs up, the charge is corrected to
// what was used. README.md has the requests to try.
//
// The parts to copy are gateway.go, the limits, and completion.go, what passes a stream on
// and counts it. Replace model.go, the fake, with the address of your provider.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
	"github.com/streamlimit/streamlimit/core/redisstream"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	store, err := openStore(os.Getenv("REDIS_URL"))
	if err != nil {
		return err
	}
	recorder := monitor.NewRecorder(store)
	limiter := core.New(store, core.WithObserver(recorder), core.WithKeySecret([]byte(os.Getenv("KEY_SECRET"))))
	defer limiter.Close() // waits for the corrections of charges
	defer recorder.Close()

	model := os.Getenv("MODEL_URL")
	if model == "" {
		fake, err := serveModel(ctx)
		if err != nil {
			return err
		}
		model = fake
	}
	keys := strings.Split(cmp.Or(os.Getenv("API_KEYS"), "sk-demo-1,sk-demo-2"), ",")
	var link string
	mux := http.NewServeMux()
	mux.Handle("POST /v1/chat/completions", newGateway(limiter, model, keys, keyLimits()))
	mux.Handle("/ratelimit/", http.StripPrefix("/ratelimit", monitor.New(limiter, recorder,
		monitor.WithPassword(os.Getenv("MONITOR_PASSWORD")),
		monitor.WithLink(func(query string) { link = query }))))

	listener, err := net.Listen("tcp", cmp.Or(os.Getenv("ADDR"), "127.0.0.1:8080"))
	if err != nil {
		return err
	}
	fmt.Printf("gateway: http://%s/v1/chat/completions\nmonitor: http://%s/ratelimit/%s\n", listener.Addr(), listener.Addr(), link)
	base, cut := context.WithCancel(context.Background())
	defer cut()
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return base },
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-ctx.Done()
		_ = recorder.Close() // ends the streams of the monitor
		if shutDown(server) != nil {
			cut() // longer streams end here, and are settled
			_ = shutDown(server)
		}
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	<-ended
	return nil
}

func shutDown(server *http.Server) error {
	limited, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return server.Shutdown(limited)
}

func openStore(url string) (core.Store, error) {
	if url == "" {
		return core.NewMemory(), nil
	}
	return redisstream.Open(url)
}
