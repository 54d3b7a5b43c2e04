package contract

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core/redistest"
)

// fleet is a server of each framework on one Redis.
func fleet(t *testing.T) []*server {
	t.Helper()
	redis := redistest.Start(t)
	var servers []*server
	for _, framework := range frameworks {
		s := start(t, framework, trustUs, "REDIS_URL=redis://"+redis.Addr)
		newClient().want(t, s, 200, "GET /protected") // has its connection to Redis now
		servers = append(servers, s)
	}
	return servers
}

// TestFiveServersHaveOneBudget tests the purpose of the library. Requests of one client
// arrive at the same time at five processes of different frameworks. They are admitted
// exactly up to the limit. The test is not parallel, since it needs the whole machine.
func TestFiveServersHaveOneBudget(t *testing.T) {
	servers := fleet(t)
	t.Run("protected", func(t *testing.T) { oneBudget(t, servers, "GET /protected", 10) })
	t.Run("stocks", func(t *testing.T) { oneBudget(t, servers, "GET /stocks/AAPL/history", 100) })
}

// oneBudget sends 600 requests of one client at once.
func oneBudget(t *testing.T, servers []*server, line string, limit int) {
	t.Helper()
	const requests = 600
	counts := burst(t, servers, newClient(), line, requests)
	if counts[200] != limit || counts[429] != requests-limit || len(counts) != 2 {
		t.Fatalf("statuses %v, want exactly %d of 200 and the rest 429", counts, limit)
	}
}

// burst sends requests of one client concurrently to all servers, and counts the
// statuses.
func burst(t *testing.T, servers []*server, c client, line string, requests int) map[int]int {
	t.Helper()
	var (
		mu     sync.Mutex
		group  sync.WaitGroup
		counts = map[int]int{}
		start  = make(chan struct{})
	)
	for i := range requests {
		group.Go(func() {
			<-start
			a, err := c.try(servers[i%len(servers)], line)
			if err != nil {
				t.Errorf("%s: %v", servers[i%len(servers)].framework, err)
			}
			mu.Lock()
			counts[a.status]++
			mu.Unlock()
		})
	}
	close(start)
	group.Wait()
	return counts
}

// TestOneClientIsOneClientEverywhere uses up a budget on one server after the other, and
// peeks at all of them in between.
func TestOneClientIsOneClientEverywhere(t *testing.T) {
	t.Parallel()
	servers := fleet(t)
	for _, address := range []string{"198.51.100.7", "2001:db8:1:2::3", "::ffff:198.51.100.8"} {
		t.Run(address, func(t *testing.T) {
			c := client{address: address}
			keys := map[any]bool{}
			for used := range int64(10) {
				for _, s := range servers {
					keys[whoami(t, s, c, 10-used)["key"]] = true
				}
				c.want(t, servers[used%int64(len(servers))], 200, "GET /protected")
			}
			for _, s := range servers {
				whoami(t, s, c, 0)
				denied(t, c.do(t, s, "GET /protected"), "protected", 60)
			}
			if len(keys) != 1 {
				t.Errorf("keys %v, want one", keys)
			}
		})
	}
	t.Run("login", func(t *testing.T) {
		c := newClient()
		const body = `{"user":"Zoë","password":"?"}`
		for i := range 5 {
			c.want(t, servers[i%len(servers)], 401, "POST /login", body)
		}
		for _, s := range servers {
			denied(t, c.do(t, s, "POST /login", body), "login", 60)
		}
	})
	t.Run("complete", func(t *testing.T) {
		c := newClient()
		for i, n := range []int{5000, 3000, 1000, 500, 500} {
			c.want(t, servers[i%len(servers)], 200, "POST /complete", fmt.Sprintf(`{"tokens":%d}`, n))
		}
		for _, s := range servers {
			denied(t, c.do(t, s, "POST /complete", `{"tokens":1}`), "tokens", 60)
		}
	})
}

// TestNoSecretReachesRedis searches Redis for secrets.
func TestNoSecretReachesRedis(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t, "--rdbcompression", "no") // so that a dump is readable
	c := client{address: "198.51.100.9", key: "very-secret-api-key"}
	// logs returns the names of the clients' logs, without the monitor's stream.
	logs := func() []string {
		return redis.Client().Keys(t.Context(), "*:stocks:*").Val()
	}
	for _, framework := range frameworks {
		s := start(t, framework, trustUs, "REDIS_URL=redis://"+redis.Addr, "KEY_SECRET=pepper")
		c.want(t, s, 200, "GET /stocks/AAPL/history")
	}
	if names := logs(); len(names) != 1 {
		t.Errorf("logs %v, want one for the one client", names)
	}

	// Another secret makes another digest, and so another budget.
	s := start(t, "gin", trustUs, "REDIS_URL=redis://"+redis.Addr, "KEY_SECRET=other")
	c.want(t, s, 200, "GET /stocks/AAPL/history")
	if names := logs(); len(names) != 2 {
		t.Errorf("logs %v after a request under another secret, want two", names)
	}
	// With the former secret beside it, the client has the same budget.
	s = start(t, "gin", trustUs, "REDIS_URL=redis://"+redis.Addr, "KEY_SECRET=newer", "KEY_SECRET_FORMER=other")
	if a := c.want(t, s, 200, "GET /stocks/AAPL/history"); !strings.Contains(a.header.Get("RateLimit"), `"stocks";r=98;`) {
		t.Errorf("RateLimit %q while the secret is rotated, want 98 left", a.header.Get("RateLimit"))
	}

	feed := "streamlimit:{monitor}"
	for end := time.Now().Add(10 * time.Second); redis.Client().Exists(t.Context(), feed).Val() == 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the servers write nothing for the monitor")
		}
	}
	for _, name := range redis.Client().Keys(t.Context(), "*").Val() {
		dump, err := redis.Client().Dump(t.Context(), name).Result()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name == feed && !strings.Contains(dump, "stocks") {
			t.Errorf("the dump of %s can't be read", name)
		}
		for _, secret := range []string{c.key, "pepper", "newer", c.address} {
			if strings.Contains(name+dump, secret) {
				t.Errorf("%q holds %q", name, secret)
			}
		}
	}
}
