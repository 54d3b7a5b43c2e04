package main

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/redistest"
)

// stage is a running server and a client for what is asked about it, whose own
// commands are not measured.
type stage struct {
	*host
	addr string
	info *redis.Client
}

func newStage(args ...string) *stage {
	h := &host{}
	server := redistest.Start(h, args...)
	return &stage{host: h, addr: server.Addr, info: server.Client()}
}

// host stands for the test that package redistest starts servers for.
type host struct {
	testing.TB
	cleanups []func()
}

func (h *host) Helper() {}

func (h *host) Cleanup(f func()) { h.cleanups = append(h.cleanups, f) }

func (h *host) TempDir() string {
	dir, err := os.MkdirTemp("", "streamlimit-benchmarks-")
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (h *host) Fatal(args ...any) { h.Fatalf("%s", fmt.Sprint(args...)) }

func (h *host) Fatalf(format string, args ...any) {
	h.close()
	fail(fmt.Errorf(format, args...))
}

// close undoes what was set up, the last first.
func (h *host) close() {
	for _, f := range slices.Backward(h.cleanups) {
		f()
	}
	h.cleanups = nil
}
