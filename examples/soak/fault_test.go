package soak

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core/redistest"
)

// site is Redis and the network before it.
type site struct {
	t     *testing.T
	redis *redistest.Server
	proxy *redistest.Proxy
}

// faults are temporary faults of a site. Each restores the site at its end.
var faults = []struct {
	name   string
	inject func(s site, d time.Duration)
}{
	{"killed", func(s site, d time.Duration) {
		s.redis.Kill()
		time.Sleep(d)
		s.redis.Restart()
	}},
	{"frozen", func(s site, d time.Duration) {
		s.redis.Freeze()
		time.Sleep(d)
		s.redis.Thaw()
	}},
	{"unreachable", func(s site, d time.Duration) {
		s.proxy.Down()
		time.Sleep(d)
		s.proxy.Up()
	}},
	{"slow", func(s site, d time.Duration) {
		s.proxy.Delay(0, 10*time.Millisecond+rand.N(time.Second))
		s.proxy.Jitter(rand.N(500 * time.Millisecond))
		time.Sleep(d)
		s.proxy.Delay(0, 0)
		s.proxy.Jitter(0)
	}},
	{"scripts forgotten", func(s site, d time.Duration) {
		s.often(d, func() { s.do("script", "flush") })
	}},
	{"clients killed", func(s site, d time.Duration) {
		s.often(d, func() { s.do("client", "kill", "type", "normal", "skipme", "yes") })
	}},
	{"out of memory", func(s site, d time.Duration) {
		s.do("config", "set", "maxmemory", "1")
		time.Sleep(d)
		s.do("config", "set", "maxmemory", "0")
	}},
}

func (s site) often(d time.Duration, f func()) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		f()
	}
}

// do sends a command to the server itself.
func (s site) do(command ...any) {
	s.t.Helper()
	if err := s.redis.Client().Do(context.Background(), command...).Err(); err != nil {
		s.t.Fatalf("%v: %v", command, err)
	}
}
