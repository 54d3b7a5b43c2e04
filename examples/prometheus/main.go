// Command prometheus is a small service whose limits are measured, with the
// metrics on /metrics. Run it with -h to see its settings, and have Prometheus
// scrape it:
//
//	scrape_configs:
//	  - job_name: streamlimit
//	    static_configs: [{targets: ["localhost:8080"]}]
//
// In Grafana, import board.json, which stands beside this file. Sample alerts for
// Prometheus are in alerts.yml.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
)

func main() {
	addr := flag.String("addr", "localhost:8080", "address to listen on")
	redisURL := flag.String("redis", os.Getenv("REDIS_URL"), "URL of the Redis that limits are shared through; in memory if empty")
	flag.Parse()
	if err := run(*addr, *redisURL); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(addr, redisURL string) (err error) {
	store, err := open(redisURL)
	if err != nil {
		return err
	}
	s, err := newService(store)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	server := &http.Server{Addr: addr, Handler: s, ReadTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	fmt.Printf("listening on http://%s, metrics on http://%[1]s/metrics\n", addr)
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return server.Shutdown(ctx)
}

func open(redisURL string) (core.Store, error) {
	if redisURL == "" {
		return core.NewMemory(), nil
	}
	return redisstream.Open(redisURL)
}
