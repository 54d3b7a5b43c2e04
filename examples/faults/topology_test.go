package faults

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
)

func TestRow36_WrongTopology(t *testing.T) {
	r := row(t, 36)
	r.Figure("%s", clusterMode(t))

	hosts := 0
	for _, url := range []string{"redis://h1:6379,h2:6379", "rediss://:secret@h1,h2:6380/0"} {
		_, err := redisstream.Open(url)
		if err == nil || !strings.Contains(err.Error(), "redis+cluster://") || strings.Contains(err.Error(), "secret") {
			t.Errorf("several hosts: %v; want what to write", err)
		}
		hosts++
	}
	r.Figure("%d of %d URLs with several hosts refused with what to write", hosts, hosts)
	r.Figure("%s", refusedConnections(t))
}

// clusterMode runs many callers with a plain client of a server in cluster mode.
func clusterMode(t *testing.T) string {
	node := redistest.Cluster(t, 1).Nodes[0]
	store, err := redisstream.Open("redis://" + node.Addr)
	if err != nil {
		t.Fatal(err)
	}
	l := core.New(store)
	t.Cleanup(func() { l.Close() })
	const keys, callers, limit = 20, 200, 50
	var c tally
	admitted := make([]atomic.Int64, keys)
	p := core.NewPolicy("slots", core.PerHour(limit))
	atOnce(callers, func(i int) {
		for n := range 20 {
			key := (i + n) % keys
			c.decide(func() (core.Decision, error) {
				d, err := l.Allow(t.Context(), p, fmt.Sprint(key))
				if d.Allowed {
					admitted[key].Add(1)
				}
				return d, err
			})
		}
	})
	c.wantRedis(t, "cluster mode", l)
	if c.overloaded.Load() > 0 {
		t.Errorf("cluster mode: %v", &c)
	}
	for key := range admitted {
		if n := admitted[key].Load(); n != limit {
			t.Errorf("cluster mode: key %d: %d admitted, want %d", key, n, limit)
		}
	}
	return fmt.Sprintf("cluster mode and a plain client: %d of %d by Redis, excess 0 on %d keys", c.byRedis(), c.all(), keys)
}

// refusedConnections runs servers whose settings reject connections.
func refusedConnections(t *testing.T) string {
	plain, secret := redistest.Start(t), redistest.Start(t, "--requirepass", "right")
	plain.AddUser("limiter", "pw", "streamlimit:*", "ping", "evalsha", "eval", "info")
	requests, dials := scale(500, 5000), int64(0)
	refusals := map[string]*redistest.Server{
		"redis://:wrong@":     secret, // WRONGPASS
		"redis://":            secret, // NOAUTH
		"redis://limiter:pw@": plain,  // NOPERM select
	}
	for credentials, server := range refusals {
		var log lines
		logger := slog.New(slog.NewTextHandler(&log, nil))
		store, err := redisstream.Open(credentials+server.Addr+"/3", redisstream.WithLogger(logger))
		if err != nil {
			t.Fatal(err)
		}
		l := core.New(store, core.WithLogger(logger))
		t.Cleanup(func() { l.Close() })
		before := dialed(t, server)
		begun := time.Now()
		var c tally
		for i := range requests {
			c.allow(t.Context(), l, decided, fmt.Sprint(i%100))
			if i%100 == 0 {
				time.Sleep(20 * time.Millisecond)
			}
		}
		n := dialed(t, server) - before
		took := time.Since(begun)
		// A few connections open the breaker. Then it probes four times a second.
		if most := 20 + 8*int64(took/time.Second+1); n > most {
			t.Errorf("%s: %d connections for %d requests in %v, want at most %d", credentials, n, requests, took, most)
		}
		if c.fallback.Load() != int64(requests) || l.Health().Down == nil {
			t.Errorf("%s: %v, %+v; want all by fallback and the breaker open", credentials, &c, l.Health())
		}
		log.want(t, 2, "Redis does not answer") // by Open, and when the breaker opens
		dials += n
	}
	return fmt.Sprintf("%d refused handshakes: %d connections for %d requests, 2 log lines each", len(refusals), dials, len(refusals)*requests)
}

// dialed returns the number of connections that a server has accepted.
func dialed(t *testing.T, server *redistest.Server) (n int64) {
	t.Helper()
	_, after, _ := strings.Cut(server.Client().Info(t.Context(), "stats").Val(), "total_connections_received:")
	if _, err := fmt.Sscan(after, &n); err != nil {
		t.Fatal(err)
	}
	return n
}
