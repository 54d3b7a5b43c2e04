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
	"github.com/streamlimit/streamlimit/core/store"
)

// works checks that a store admits exactly its limit.
func works(t *testing.T, s *Store) {
	t.Helper()
	for _, p := range []*store.Log{newLog("a", core.PerMinute(3)), newLog("b", core.PerMinute(3), core.PerHour(9))} {
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

// A Redis that does not answer is not an error of Open: it is reported, and the
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
	if _, err := s.Take(t.Context(), countedLog, "k", 1); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("a decision without a server: error %v, want one that says why", err)
	}
	server.Restart()
	deadline := time.Now().Add(10 * time.Second)
	for {
		if u, err := s.Take(t.Context(), countedLog, "k", 1); err == nil && u.Allowed {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the store does not come alive with its server")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Each URL is refused, with an error that says what to write and shows nothing of
// it; "secret" stands wherever a password might.
func TestOpenMalformed(t *testing.T) {
	for url, want := range map[string]string{
		"":                                  "redis://localhost:6379",
		"localhost:6379":                    "redis://localhost:6379",
		"http://localhost":                  "unknown scheme: use redis",
		"redis+http://localhost":            "unknown scheme: use redis",
		"unix+cluster:///run/redis.sock":    "unknown scheme: use redis",
		"secret:secret@host://x":            "unknown scheme",
		"redis://:secret/x@host:6379":       "percent-encoded",
		"redis://:secret#x@host:6379":       "percent-encoded",
		"redis://:secret?x@host:6379":       "percent-encoded",
		"redis://:secret%zz@host:6379":      "percent-encoded",
		"redis+cluster://:secret/x@host:1":  "percent-encoded",
		"redis+sentinel://:secret#x@host:1": "percent-encoded",
		"redis://host:6379/0#secret":        "percent-encoded",
		"redis://host:6379/0\n":             "malformed URL",
		"redis://ho st:6379":                "malformed URL",

		// Hosts and ports.
		"redis://":                           "host is missing",
		"redis:///0":                         "host is missing",
		"redis://:6379":                      "host is missing",
		"redis://:secret@:6379":              "host is missing",
		"redis://,host:6379":                 "host is missing",
		"redis+cluster://":                   "host is missing",
		"redis+cluster://a:1,,b:1":           "host is missing",
		"redis+cluster://a:1,":               "host is missing",
		"redis+sentinel:///name":             "host is missing",
		"redis://:secret@h1:6379,h2:6379":    "redis+cluster://host:7000,host2:7001",
		"rediss://h1,h2/0":                   "redis+sentinel://host:26379,host2:26379/name",
		"redis://host:6379?addr=secret:1":    "all hosts before the path",
		"redis+cluster://a:1?addr=b:1":       "all hosts before the path",
		"redis+sentinel://a:1/m?addr=b:1":    "all hosts before the path",
		"redis://:secret@host:port":          "malformed URL",
		"redis://:secret@host:99999":         "from 1 to 65535",
		"redis+cluster://:secret@a:1,b:0":    "from 1 to 65535",
		"redis+sentinel://:secret@a:70000/m": "from 1 to 65535",
		"unix://run/redis.sock":              "unix:///run/redis/redis.sock",
		"unix://":                            "unix:///run/redis/redis.sock",
		"unix://:secret@":                    "unix:///run/redis/redis.sock",

		// Databases.
		"redis://:secret@host:6379/x":       "database is not a number",
		"redis://host:6379/-1":              "database is not a number",
		"redis://host:6379/1/2":             "database is not a number",
		"redis://host:6379?db=secret":       "database is not a number",
		"redis://host:6379/1?db=2":          "two databases",
		"unix:///run/redis.sock?db=x":       "database is not a number",
		"redis+cluster://host/1":            "a Cluster has one database",
		"rediss+cluster://a:1,b:1/secret":   "a Cluster has one database",
		"redis+cluster://host?db=1":         "a Cluster has one database",
		"redis+sentinel://host/m?db=secret": "database is not a number",
		"redis+sentinel://:secret@host":     "name of a primary",
		"redis+sentinel://host/m/3":         "?db=",

		// Parameters.
		"redis://:secret@host:6379?what=1":         "unknown parameter",
		"redis+cluster://host?secret=1":            "unknown parameter",
		"redis+sentinel://host/m?what=secret":      "unknown parameter",
		"unix:///run/redis.sock?secret":            "unknown parameter",
		"redis://host?pool_size=5;secret=6":        "malformed URL",
		"redis://host?read_timeout=secret":         "unknown parameter",
		"redis://host?protocol=4":                  "use 2 or 3",
		"redis://host?client_name=my%20secret":     "printable ASCII",
		"redis+cluster://host?client_name=%C3%A4":  "printable ASCII",
		"redis://host?pool_size=-1":                "pool_size",
		"redis+cluster://host?min_idle_conns=-1":   "min_idle_conns",
		"redis+sentinel://host/m?pool_size=secret": "pool_size",
		"redis://host?pool_size=9999999999":        "pool_size",
		"redis+cluster://a:1?read_only=true":       "replicas",
		"redis+sentinel://a:1/m?replica_only=true": "replicas",
		"redis+sentinel://:secret@ho st/m":         "malformed URL",
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

// URLs that are right lead where they say.
func TestOpenWellFormed(t *testing.T) {
	type target struct {
		addrs, user, password string
		db                    int
		tls                   bool
	}
	for url, want := range map[string]target{
		"redis://host":                    {addrs: "host:6379"},
		"redis://host:1/":                 {addrs: "host:1"},
		"redis://user:p%40ss@host:1/3":    {addrs: "host:1", user: "user", password: "p@ss", db: 3},
		"redis://:p%2Cw@host?db=2":        {addrs: "host:6379", password: "p,w", db: 2},
		"rediss://[::1]:1":                {addrs: "[::1]:1", tls: true},
		"redis://[::1]":                   {addrs: "[::1]:6379"},
		"unix:///run/redis.sock?db=1":     {addrs: "/run/redis.sock", db: 1},
		"unix://user:pw@/run/redis.sock":  {addrs: "/run/redis.sock", user: "user", password: "pw"},
		"redis+cluster://a:1,b,[::1]:2":   {addrs: "a:1 b:6379 [::1]:2"},
		"rediss+cluster://user:p%40ss@a/": {addrs: "a:6379", user: "user", password: "p@ss", tls: true},
		"redis+cluster://a?protocol=2":    {addrs: "a:6379"},
		"redis://host?client_name=api-7":  {addrs: "host:6379"},
		"redis://host?pool_size=20":       {addrs: "host:6379"},
		"redis://host:1?protocol=3&db=9":  {addrs: "host:1", db: 9},
	} {
		rdb, err := newClient(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		var got target
		switch c := rdb.(type) {
		case *redis.Client:
			o := c.Options()
			got = target{o.Addr, o.Username, o.Password, o.DB, o.TLSConfig != nil}
		case *redis.ClusterClient:
			o := c.Options()
			got = target{addrs: strings.Join(o.Addrs, " "), user: o.Username, password: o.Password, tls: o.TLSConfig != nil}
		}
		if got != want {
			t.Errorf("%s: %+v, want %+v", url, got, want)
		}
		rdb.Close()
	}
}

func TestSentinelURL(t *testing.T) {
	u, err := splitSeeds("rediss", "user:p%40ss@a:1,b/mymaster?sentinel_password=sp&db=3&pool_size=7", "26379")
	must(t, err)
	o, err := sentinelOptions(u)
	must(t, err)
	if o.MasterName != "mymaster" || o.Username != "user" || o.Password != "p@ss" || o.SentinelPassword != "sp" ||
		o.DB != 3 || o.PoolSize != 7 || o.TLSConfig == nil || strings.Join(o.SentinelAddrs, " ") != "a:1 b:26379" {
		t.Errorf("options %+v", o)
	}
}
