//go:build !race

// The race detector makes these tests ten times slower, and so measures something else.
// make test runs them without it, and runs nothing else at the same time.

package faults

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// A distant server decides from the first request on. A latency of up to 80 ms leaves
// time for its response within the timeout.
func TestRow32_FarRedis(t *testing.T) {
	r := row(t, 32)
	plain, secret := redistest.Start(t), redistest.Start(t, "--requirepass", "pw")
	encrypted := redistest.StartTLS(t, "--requirepass", "pw")
	opened := func(credentials string, server *redistest.Server) func(time.Duration) *redisstream.Store {
		return func(trip time.Duration) *redisstream.Store {
			store, err := redisstream.Open("redis://" + credentials + farAway(t, server.Addr, trip))
			if err != nil {
				t.Fatal(err)
			}
			return store
		}
	}
	connected := func(o *redis.Options, slowDial bool) func(time.Duration) *redisstream.Store {
		return func(trip time.Duration) *redisstream.Store {
			o := *o
			o.Addr = farAway(t, o.Addr, trip)
			if dial := redis.NewDialer(&o); slowDial {
				o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
					time.Sleep(trip) // the first round trip of TCP
					return dial(ctx, network, addr)
				}
			}
			rdb := redis.NewClient(&o)
			t.Cleanup(func() { rdb.Close() })
			return redisstream.New(rdb)
		}
	}
	tls := &redis.Options{Addr: encrypted.Addr, TLSConfig: encrypted.Config, Password: "pw", ContextTimeoutEnabled: true, DialerRetries: 1}
	clients := map[string]func(trip time.Duration) *redisstream.Store{
		"Open":                 opened("", plain),
		"Open, password":       opened(":pw@", secret),
		"defaults":             connected(&redis.Options{Addr: plain.Addr}, false),
		"TLS, password":        connected(tls, false),
		"TLS, dialer sleeps":   connected(tls, true),
		"dialer sleeps":        connected(&redis.Options{Addr: plain.Addr, ContextTimeoutEnabled: true}, true),
		"password, no retries": connected(&redis.Options{Addr: secret.Addr, Password: "pw", MaxRetries: -1}, false),
	}
	var shares []string
	for _, trip := range scale([]time.Duration{20, 60}, []time.Duration{5, 20, 36, 60, 80, 90}) {
		trip *= time.Millisecond
		byRedis, all := int64(0), 0
		var mu sync.Mutex
		var group sync.WaitGroup
		for name, client := range clients {
			for _, callers := range []int{1, 50} {
				store := client(trip)
				group.Go(func() {
					c := far(t, fmt.Sprintf("%v, %s, %d callers", trip, name, callers), store, callers, trip)
					mu.Lock()
					defer mu.Unlock()
					byRedis, all = byRedis+c.byRedis(), all+c.all()
				})
			}
		}
		group.Wait()
		shares = append(shares, fmt.Sprintf("%v %.1f %%", trip, 100*float64(byRedis)/float64(all)))
	}
	r.Figure("by Redis, of %d clients with 1 and 50 callers: %s", len(clients), strings.Join(shares, ", "))
}

// far lets callers use a store with a distant server.
func far(t *testing.T, what string, store *redisstream.Store, callers int, trip time.Duration) *tally {
	l := core.New(store)
	defer l.Close()
	p := core.NewPolicy("far", core.PerHour(1_000_000))
	var c tally
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() {
			for range max(4, 30/callers) {
				c.allow(t.Context(), l, p, fmt.Sprint(what, i%7))
			}
		})
	}
	group.Wait()
	if trip > 80*time.Millisecond {
		return &c // the answer may be too late
	}
	if 100*c.byRedis() < 99*int64(c.all()) || l.Health().Down != nil {
		t.Errorf("%s: %v, %+v; want at least 99 %% by Redis", what, &c, l.Health())
	}
	return &c
}

// farAway returns an address that adds a round trip to the server, for any protocol. It
// lasts as long as the test.
func farAway(t *testing.T, server string, trip time.Duration) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer client.Close()
				conn, err := net.Dial("tcp", server)
				if err != nil {
					return
				}
				defer conn.Close()
				var both sync.WaitGroup
				both.Go(func() { lateLine(client, conn, trip/2) })
				both.Go(func() { lateLine(conn, client, trip-trip/2) })
				both.Wait()
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		running.Wait()
	})
	return listener.Addr().String()
}

// lateLine passes on the bytes from one end to the other with a delay, until an end is
// closed.
func lateLine(from, to net.Conn, late time.Duration) {
	type piece struct {
		bytes []byte
		due   time.Time
	}
	line := make(chan piece, 1<<12)
	go func() {
		defer close(line)
		for {
			bytes := make([]byte, 4096)
			n, err := from.Read(bytes)
			line <- piece{bytes[:n], time.Now().Add(late)}
			if err != nil {
				return
			}
		}
	}()
	for p := range line {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.bytes); err != nil {
			break
		}
	}
	from.Close()
	to.Close()
	for range line {
	}
}
