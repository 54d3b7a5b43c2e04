package redisstream

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// works checks that a store admits exactly its limit.
func works(t *testing.T, s *Store) {
	t.Helper()
	for _, p := range []*core.Policy{core.NewPolicy("a", core.PerMinute(3)), core.NewPolicy("b", core.PerMinute(3), core.PerHour(9))} {
		for k := range 20 {
			for i := range 5 {
				if u := take(t, s, p, fmt.Sprint("k", k)); u.Allowed != (i < 3) {
					t.Fatalf("key %d, request %d: allowed %v", k, i, u.Allowed)
				}
			}
		}
	}
}

func open(t *testing.T, url string) *Store {
	t.Helper()
	s, err := Open(url, patient)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestOpenServer(t *testing.T) {
	server := redistest.Start(t, "--requirepass", "p@ss,word/")
	s := open(t, "redis://:"+url.QueryEscape("p@ss,word/")+"@"+server.Addr+"/1")
	works(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(t.Context()); err == nil {
		t.Error("Close has left the client open")
	}
}

func TestOpenUnixSocket(t *testing.T) {
	path := t.TempDir() + "/redis.sock"
	redistest.Start(t, "--unixsocket", path)
	works(t, open(t, "unix://"+path))
}

func TestOpenCluster(t *testing.T) {
	works(t, open(t, "redis+cluster://"+strings.Join(redistest.Cluster(t, 3).Addrs(), ",")+"?pool_size=5"))
}

func TestOpenSentinel(t *testing.T) {
	s := redistest.Sentinel(t)
	works(t, open(t, "redis+sentinel://"+s.Sentinel.Addr+"/"+s.Master))
}

func TestRing(t *testing.T) {
	a, b := redistest.Start(t), redistest.Start(t)
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": a.Addr, "b": b.Addr}})
	t.Cleanup(func() { ring.Close() })
	works(t, New(ring, patient))
	for _, server := range []*redistest.Server{a, b} {
		if n := server.Client().DBSize(t.Context()).Val(); n == 0 {
			t.Error("all logs are on one server of the ring")
		}
	}
}

// A Redis that does not answer is no error of Open: it is reported, and the
// store works as soon as Redis does.
func TestOpenDeadRedis(t *testing.T) {
	server := redistest.Start(t)
	server.Kill()
	var log bytes.Buffer
	s, err := Open("redis://"+server.Addr, WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "does not answer") {
		t.Errorf("log %q, want one line that says so", got)
	}
	if _, err := s.Take(t.Context(), countedPolicy, "k", 1); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("a decision without a server: error %v, want one that says why", err)
	}
	server.Restart()
	deadline := time.Now().Add(10 * time.Second)
	for {
		if u, err := s.Take(t.Context(), countedPolicy, "k", 1); err == nil && u.Allowed {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the store does not come alive with its server")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestOpenMalformed(t *testing.T) {
	for url, want := range map[string]string{
		"":                                   "redis://localhost:6379",
		"localhost:6379":                     "redis://localhost:6379",
		"http://localhost":                   "unknown scheme: use redis",
		"secret:secret@host://x":             "unknown scheme",
		"redis://:secret/x@host:6379":        "percent-encoded",
		"redis://:secret#x@host:6379":        "percent-encoded",
		"redis://:secret?x@host:6379":        "percent-encoded",
		"redis://:secret%zz@host:6379":       "percent-encoded",
		"redis+cluster://:secret/x@host:1":   "percent-encoded",
		"redis+sentinel://:secret#x@host:1":  "",
		"redis://:secret@host:port":          "malformed URL",
		"redis://:secret@host:6379/x":        "",
		"redis://:secret@host:6379?what=1":   "unknown parameter",
		"redis+sentinel://:secret@host":      "name of a primary",
		"redis+cluster://:secret@a:1,b":      "",
		"redis://:secret@host:99999":         "from 1 to 65535",
		"redis+cluster://:secret@a:1,b:0":    "from 1 to 65535",
		"redis+sentinel://:secret@a:70000/m": "from 1 to 65535",
		"redis+cluster://a:1?read_only=true": "replicas",
		"redis+sentinel://:secret@ho st/m":   "malformed URL",
	} {
		s, err := Open(url)
		if err == nil {
			s.Close()
			t.Errorf("Open(%q): no error", url)
			continue
		}
		if !strings.HasPrefix(err.Error(), "redisstream: Open: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%q): %v, want one that says %q", url, err, want)
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("Open(%q) shows the password: %v", url, err)
		}
	}
}

func TestSentinelURL(t *testing.T) {
	o, err := sentinelOptions("rediss", "user:p%40ss@a:1,b:2/mymaster?sentinel_password=sp&db=3&pool_size=7")
	if err != nil {
		t.Fatal(err)
	}
	if o.MasterName != "mymaster" || o.Username != "user" || o.Password != "p@ss" || o.SentinelPassword != "sp" ||
		o.DB != 3 || o.PoolSize != 7 || o.TLSConfig == nil || strings.Join(o.SentinelAddrs, " ") != "a:1 b:2" {
		t.Errorf("options %+v", o)
	}
}
