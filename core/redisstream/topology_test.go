package redisstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
)

// wrapped hides what a client is, as instrumented clients do.
type wrapped struct{ redis.UniversalClient }

// embedding is another kind of wrapper: it has the methods of its client.
type embedding struct{ *redis.ClusterClient }

func ring(t *testing.T, servers ...*redistest.Server) *redis.Ring {
	addrs := make(map[string]string)
	for i, server := range servers {
		addrs[fmt.Sprint("shard", i)] = server.Addr
	}
	rdb := redis.NewRing(&redis.RingOptions{Addrs: addrs, DisableIdentity: true, ContextTimeoutEnabled: true, DialerRetries: 1})
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

// topologies are clients of each kind, and which logs one script may use once the
// servers were asked.
var topologies = map[string]struct {
	connect func(t *testing.T) redis.UniversalClient
	before  sharing
	after   sharing
	partly  bool
	address bool // is known
}{
	"server": {connect: func(t *testing.T) redis.UniversalClient {
		return redistest.Start(t).Client()
	}, before: ofServer, after: ofServer},
	"server, wrapped": {connect: func(t *testing.T) redis.UniversalClient {
		return wrapped{redistest.Start(t).Client()}
	}, before: ofTag, after: ofServer},
	"server, wrapped twice": {connect: func(t *testing.T) redis.UniversalClient {
		return &wrapped{wrapped{redistest.Start(t).Client()}}
	}, before: ofTag, after: ofServer},
	"server, wrapped, hides INFO": {connect: func(t *testing.T) redis.UniversalClient {
		server := redistest.Start(t)
		server.AddUser("limiter", "pw", "streamlimit:*", "eval")
		return wrapped{client(t, server, func(o *redis.Options) { as("limiter", o) })}
	}, before: ofTag, after: ofTag},
	"server, hides INFO": {connect: func(t *testing.T) redis.UniversalClient {
		server := redistest.Start(t)
		server.AddUser("limiter", "pw", "streamlimit:*", "eval")
		return client(t, server, func(o *redis.Options) { as("limiter", o) })
	}, before: ofServer, after: ofServer},
	"full server, wrapped": {connect: func(t *testing.T) redis.UniversalClient {
		server := redistest.Start(t, "--maxmemory-policy", "noeviction")
		do(t, server, "CONFIG", "SET", "maxmemory", 1)
		return wrapped{server.Client()}
	}, before: ofTag, after: ofServer},
	"sentinels": {connect: func(t *testing.T) redis.UniversalClient {
		return redistest.Sentinel(t).Client()
	}, before: ofServer, after: ofServer},
	"sentinels, wrapped": {connect: func(t *testing.T) redis.UniversalClient {
		return wrapped{redistest.Sentinel(t).Client()}
	}, before: ofTag, after: ofServer},
	"cluster mode, one shard": {connect: func(t *testing.T) redis.UniversalClient {
		return redistest.Cluster(t, 1).Nodes[0].Client()
	}, before: ofServer, after: ofSlot},
	"cluster mode, one shard, wrapped": {connect: func(t *testing.T) redis.UniversalClient {
		return wrapped{redistest.Cluster(t, 1).Nodes[0].Client()}
	}, before: ofTag, after: ofSlot},
	"cluster mode, one shard, hides INFO": {connect: func(t *testing.T) redis.UniversalClient {
		server := redistest.Cluster(t, 1).Nodes[0]
		server.AddUser("limiter", "pw", "streamlimit:*", "eval")
		return client(t, server, func(o *redis.Options) { as("limiter", o) })
	}, before: ofServer, after: ofSlot},
	"cluster mode, three shards": {connect: func(t *testing.T) redis.UniversalClient {
		return redistest.Cluster(t, 3).Nodes[1].Client()
	}, before: ofServer, after: ofSlot, partly: true},
	"cluster mode, three shards, wrapped": {connect: func(t *testing.T) redis.UniversalClient {
		return wrapped{redistest.Cluster(t, 3).Nodes[1].Client()}
	}, before: ofTag, after: ofSlot, partly: true},
	"Cluster": {connect: func(t *testing.T) redis.UniversalClient {
		return redistest.Cluster(t, 3).Client()
	}, before: ofSlot, after: ofSlot, address: true},
	"Cluster, embedded": {connect: func(t *testing.T) redis.UniversalClient {
		return embedding{redistest.Cluster(t, 3).Client()}
	}, before: ofSlot, after: ofSlot, address: true},
	"Cluster, wrapped": {connect: func(t *testing.T) redis.UniversalClient {
		return wrapped{redistest.Cluster(t, 3).Client()}
	}, before: ofTag, after: ofTag},
	"Cluster of one, wrapped": {connect: func(t *testing.T) redis.UniversalClient {
		return wrapped{redistest.Cluster(t, 1).Client()}
	}, before: ofTag, after: ofTag},
	"Ring": {connect: func(t *testing.T) redis.UniversalClient {
		return ring(t, redistest.Start(t), redistest.Start(t))
	}, before: ofTag, after: ofTag, address: true},
	"Ring, wrapped": {connect: func(t *testing.T) redis.UniversalClient {
		return wrapped{ring(t, redistest.Start(t), redistest.Start(t))}
	}, before: ofTag, after: ofTag},
	// All keys reach the one that is up, for now.
	"Ring, wrapped, one of two servers up": {connect: func(t *testing.T) redis.UniversalClient {
		dead := redistest.Start(t)
		rdb := ring(t, redistest.Start(t), dead)
		dead.Kill()
		until(t, func() bool { return rdb.Len() == 1 })
		return wrapped{rdb}
	}, before: ofTag, after: ofTag},
	// A wrapper that sends keys to servers by itself.
	"servers, wrapped in one": {connect: func(t *testing.T) redis.UniversalClient {
		return &router{UniversalClient: redistest.Start(t).Client(), other: redistest.Start(t).Client()}
	}, before: ofTag, after: ofTag},
}

// router is a client that sends about half of the keys elsewhere.
type router struct {
	redis.UniversalClient
	other *redis.Client
}

func (r *router) Process(ctx context.Context, cmd redis.Cmder) error {
	if args := cmd.Args(); len(args) > 3 && hashSlot(tag(fmt.Sprint(args[3])))%2 == 1 {
		return r.other.Process(ctx, cmd)
	}
	return r.UniversalClient.Process(ctx, cmd)
}

func TestTopology(t *testing.T) {
	for name, c := range topologies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			topology := newTopology(c.connect(t), DefaultPrefix)
			if got := topology.sharing.Load(); got != c.before {
				t.Errorf("before the servers were asked: sharing %d, want %d", got, c.before)
			}
			must(t, topology.ask(t.Context()))
			if got := topology.sharing.Load(); got != c.after || !topology.known() {
				t.Errorf("sharing %d, known %v, want %d", got, topology.known(), c.after)
			}
			if topology.partly() != c.partly {
				t.Errorf("partly %v, want %v", topology.partly(), c.partly)
			}
			if address := topology.address(topology.probe(3)); (address != "") != c.address {
				t.Errorf("address %q, want one: %v", address, c.address)
			}
		})
	}
}

// One store on a client of each kind admits what it should, for one key and for
// many at once, which share scripts.
func TestTopologyDecides(t *testing.T) {
	for name, c := range topologies {
		if c.partly || strings.Contains(name, "hides INFO") || strings.Contains(name, "full server") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			rdb := c.connect(t)
			s := New(rdb, WithTimeout(10*time.Second))
			keys := make([]string, 20)
			for i := range keys {
				keys[i] = fmt.Sprint("key", i)
			}
			p := newLog("many", core.PerMinute(5))
			admitted := make([]int, len(keys))
			var mu sync.Mutex
			var group sync.WaitGroup
			for i := range 400 {
				group.Go(func() {
					k := i % len(keys)
					u, err := s.Take(t.Context(), p, keys[k], 1)
					if err != nil {
						t.Error(err)
					}
					if u.Allowed {
						mu.Lock()
						defer mu.Unlock()
						admitted[k]++
					}
				})
			}
			group.Wait()
			for k, n := range admitted {
				if n != 5 {
					t.Errorf("%s: %d admitted, want 5", keys[k], n)
				}
			}

			// AllowAll of two keys: together on one server, refused where that can't be.
			s = New(rdb, WithTimeout(10*time.Second), WithPrefix("together:"))
			for i := range 4 {
				asks := []store.Charge{{Log: countedLog, Key: "a", Cost: 1}, {Log: countedLog, Key: "b", Cost: 1}}
				usages, err := s.TakeAll(t.Context(), asks)
				if c.after != ofServer {
					if !errors.Is(err, store.ErrCrossSlot) {
						t.Fatalf("%v, want ErrCrossSlot", err)
					}
					continue
				}
				must(t, err)
				for _, u := range usages {
					if u.Limits[0].Used != int64(i+1) {
						t.Errorf("usages %+v", usages)
					}
				}
			}
			for _, key := range []string{"a", "b"} {
				asks := []store.Charge{{Log: refundedLog, Key: key, Cost: 1}, {Log: summedLog, Key: key, Cost: 1}}
				_, err := s.TakeAll(t.Context(), asks)
				must(t, err)
			}
			everywhere(t, s)
		})
	}
}

// What a plain client can't reach of a Cluster is said once, with the cure.
func TestPartOfAClusterIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		connect func(*redistest.ClusterServer) redis.UniversalClient
		shards  int
		lines   int
	}{
		"plain":            {func(c *redistest.ClusterServer) redis.UniversalClient { return c.Nodes[0].Client() }, 3, 1},
		"wrapped":          {func(c *redistest.ClusterServer) redis.UniversalClient { return wrapped{c.Nodes[0].Client()} }, 2, 1},
		"plain, one shard": {func(c *redistest.ClusterServer) redis.UniversalClient { return c.Nodes[0].Client() }, 1, 0},
		"Cluster":          {func(c *redistest.ClusterServer) redis.UniversalClient { return c.Client() }, 3, 0},
	} {
		var log logBuffer
		s := New(c.connect(redistest.Cluster(t, c.shards)), WithTimeout(10*time.Second), WithLogger(log.logger()))
		for i := range 20 {
			_, _ = s.Take(t.Context(), countedLog, fmt.Sprint(i), 1)
		}
		awaitCheck(s)
		if text := log.String(); strings.Count(text, warnPartly) != c.lines ||
			c.lines > 0 && (!strings.Contains(text, "redis+cluster://") || !strings.Contains(text, "redis.NewClusterClient")) {
			t.Errorf("%s: log %q, want %d lines with %s", name, text, c.lines, warnPartly)
		}
		must(t, s.Close())
	}
}

// A server that answers CROSSSLOT before it was asked is one in cluster mode.
func TestCrossSlot(t *testing.T) {
	topology := newTopology(redistest.Start(t).Client(), DefaultPrefix)
	one, other := topology.probe(0), topology.probe(1)
	if topology.place(one) != "" || topology.place(other) != "" {
		t.Error("a single server has several places")
	}
	if !topology.crossSlot() || topology.crossSlot() {
		t.Error("CROSSSLOT is news once")
	}
	if topology.place(one) == topology.place(other) {
		t.Error("logs of different slots have one place")
	}
	if topology.place(one+":a") != topology.place(one+":b") {
		t.Error("logs of one tag have several places")
	}
	if n := testing.AllocsPerRun(100, func() { topology.place(one) }); n != 0 {
		t.Errorf("%v allocations for a place", n)
	}
}

// A server that does not answer is asked again, and does not hold up who asks.
func TestTopologyIsAskedAgain(t *testing.T) {
	server := redistest.Start(t)
	topology := newTopology(wrapped{client(t, server, func(o *redis.Options) {
		o.ContextTimeoutEnabled, o.DialerRetries = false, 1
	})}, DefaultPrefix)
	server.Freeze()
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := topology.ask(ctx); err == nil || topology.known() {
			t.Errorf("error %v of a frozen server", err)
		}
		cancel()
	}
	server.Thaw()
	must(t, topology.ask(t.Context()))
	if topology.sharing.Load() != ofServer {
		t.Error("the server is not found to be one")
	}
}

// Slots are those of Redis.
func TestHashSlot(t *testing.T) {
	cluster := redistest.Cluster(t, 1)
	for _, tag := range append(probeTags[:], "a", "123456789", "\x00\xff", strings.Repeat("long", 100)) {
		if got, want := hashSlot(tag), cluster.Slot("x{"+tag+"}y"); got != want {
			t.Errorf("slot of %q: %d, want %d", tag, got, want)
		}
	}
	for i, tag := range probeTags {
		if hashSlot(tag)*probes/slots != i {
			t.Errorf("probe %d has slot %d", i, hashSlot(tag))
		}
	}
}
