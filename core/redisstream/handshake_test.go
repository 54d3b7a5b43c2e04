package redisstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
)

// refusals are servers that no connection can be made to, and what a store says to
// each. The key names the entry of the table in handshake.go, if there is one.
var refusals = map[string]struct {
	options func(t *testing.T) *redis.Options
	says    string
	greeted bool // only the client of Open finds out
}{
	"WRONGPASS": {says: "the user or the password is wrong", options: func(t *testing.T) *redis.Options {
		o := redistest.Start(t, "--requirepass", "right").Options()
		o.Password = "wrong"
		return o
	}},
	"WRONGPASS of a user": {says: "the user or the password is wrong", options: func(t *testing.T) *redis.Options {
		return as("nobody", redistest.Start(t).Options())
	}},
	"NOAUTH": {says: "no password is set here, and the server wants one", options: func(t *testing.T) *redis.Options {
		o := redistest.Start(t, "--requirepass", "right").Options()
		o.Password = ""
		return o
	}},
	"NOPERM'select'": {says: "lacks the command select", options: func(t *testing.T) *redis.Options {
		o := limiterOptions(t, redistest.Start(t))
		o.DB = 3
		return o
	}},
	"NOPERM'client": {says: "lacks the command client|setname", options: func(t *testing.T) *redis.Options {
		o := limiterOptions(t, redistest.Start(t))
		o.ClientName = "api"
		return o
	}},
	"unknown command'select'": {says: "has database 0 only", options: func(t *testing.T) *redis.Options {
		o := redistest.Start(t, "--rename-command", "SELECT", "").Options()
		o.DB = 3
		return o
	}},
	"unknown command'client'": {says: "knows no client names", options: func(t *testing.T) *redis.Options {
		o := redistest.Start(t, "--rename-command", "CLIENT", "").Options()
		o.ClientName = "api"
		return o
	}},
	"DB index is out of range": {says: "use a lower number", options: func(t *testing.T) *redis.Options {
		o := redistest.Start(t, "--databases", "2").Options()
		o.DB = 2
		return o
	}},
	// Valkey 9 can have several databases in cluster mode, and says that there are fewer.
	"SELECT is not allowed in cluster mode": {says: "database", options: func(t *testing.T) *redis.Options {
		o := redistest.Cluster(t, 1).Nodes[0].Options()
		o.DB = 1
		return o
	}},
	"Client names cannot contain": {says: "printable ASCII", options: func(t *testing.T) *redis.Options {
		o := redistest.Start(t).Options()
		o.ClientName = "two words"
		return o
	}},
	"max number of clients": {says: "raise its maxclients", greeted: true, options: func(t *testing.T) *redis.Options {
		server := redistest.Start(t)
		do(t, server, "CONFIG", "SET", "maxclients", 1)
		return server.Options()
	}},
	"DENIED": {says: "in protected mode", greeted: true, options: func(t *testing.T) *redis.Options {
		return answering(t, "-DENIED Redis is running in protected mode because protected mode is enabled\r\n")
	}},
	"invalid password": {says: "the password is wrong", options: func(t *testing.T) *redis.Options {
		o := answering(t, "-ERR invalid password\r\n")
		o.Password = "wrong"
		return o
	}},
	"Client sent AUTH, but no password is set": {says: "leave it out", options: func(t *testing.T) *redis.Options {
		o := answering(t, "-ERR Client sent AUTH, but no password is set\r\n")
		o.Password = "pw"
		return o
	}},
	"AUTH <password> called without": {says: "leave it out", options: func(t *testing.T) *redis.Options {
		o := answering(t, "-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?\r\n")
		o.Password = "pw"
		return o
	}},
	"plain to TLS": {says: "it may want TLS", greeted: true, options: func(t *testing.T) *redis.Options {
		o := redistest.StartTLS(t).Options()
		o.TLSConfig = nil
		return o
	}},
	"TLS to HTTP": {says: "does not use TLS on this port", options: func(t *testing.T) *redis.Options {
		server := httptest.NewServer(http.NotFoundHandler())
		t.Cleanup(server.Close)
		return &redis.Options{Addr: server.Listener.Addr().String(), TLSConfig: &tls.Config{InsecureSkipVerify: true}}
	}},
	"certificate of nobody": {says: "the server's certificate is not trusted", options: func(t *testing.T) *redis.Options {
		o := redistest.StartTLS(t).Options()
		o.TLSConfig.RootCAs = nil
		return o
	}},
	"certificate of another": {says: "the server's certificate is not trusted", options: func(t *testing.T) *redis.Options {
		o := redistest.StartTLS(t).Options()
		o.TLSConfig.ServerName = "another"
		return o
	}},
	"client certificate": {says: "wants a client certificate", options: func(t *testing.T) *redis.Options {
		server := redistest.StartTLS(t)
		do(t, server.Server, "CONFIG", "SET", "tls-auth-clients", "yes")
		o := server.Options()
		o.TLSConfig.MaxVersion = tls.VersionTLS12 // with 1.3 the server says so later
		return o
	}},
	"version of TLS": {says: "check its versions", options: func(t *testing.T) *redis.Options {
		o := redistest.StartTLS(t, "--tls-protocols", "TLSv1.2").Options()
		o.TLSConfig.MinVersion = tls.VersionTLS13
		return o
	}},
	"HTTP": {says: "does not speak the protocol of Redis", options: func(t *testing.T) *redis.Options {
		server := httptest.NewServer(http.NotFoundHandler())
		t.Cleanup(server.Close)
		return &redis.Options{Addr: server.Listener.Addr().String()}
	}},
	"unknown host": {says: "there is no host of that name", options: func(*testing.T) *redis.Options {
		return &redis.Options{Dialer: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "redis", IsNotFound: true}}
		}}
	}},
	"several hosts": {says: "write host:port", options: func(*testing.T) *redis.Options {
		return &redis.Options{Addr: "h1:6379,h2:6379"}
	}},
}

// as sets a user with the password that limiterOptions sets.
func as(user string, o *redis.Options) *redis.Options {
	o.Username, o.Password = user, "pw"
	return o
}

// limiterOptions are those for a user with the documented commands, and more.
func limiterOptions(t *testing.T, server *redistest.Server, more ...string) *redis.Options {
	addLimiter(t, []*redistest.Server{server}, more...)
	return as("limiter", server.Options())
}

// answering is a server that says the same to each request, and to HELLO that it
// knows none, unless that is what it says.
func answering(t *testing.T, reply string) *redis.Options {
	proxy := redistest.NewProxy(t, redistest.Start(t).Addr)
	proxy.Rule(func([]string) redistest.Fate { return redistest.ReplyWith(reply) })
	return &redis.Options{Addr: proxy.Addr}
}

// A connection that is refused is a failure of the server, with what to do about
// it: the circuit opens, one line is logged, and no request dials after that.
func TestRefusedConnections(t *testing.T) {
	for name, c := range refusals {
		t.Run(name, func(t *testing.T) {
			o := c.options(t)
			o.ContextTimeoutEnabled, o.DialerRetries, o.DisableIdentity, o.MaintNotificationsConfig = true, 1, true, noNotifications()
			dial := o.Dialer
			if dial == nil {
				dial = redis.NewDialer(o)
			}
			var dials atomic.Int64
			o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
				dials.Add(1)
				return dial(ctx, network, addr)
			}
			rdb := redis.NewClient(o)
			t.Cleanup(func() { rdb.Close() })
			if c.greeted {
				rdb.AddHook(greeter{})
			}
			var log logBuffer
			s := New(rdb, WithTimeout(5*time.Second), WithLogger(log.logger()))
			limiter := core.New(s, core.WithLogger(log.logger()))
			t.Cleanup(func() { limiter.Close() })

			for _, ask := range []func() error{
				func() error { _, err := s.Take(t.Context(), countedLog, "k", 1); return err },
				func() error { _, err := s.Rules(t.Context(), ""); return err },
				func() error { return s.Ping(t.Context()) },
			} {
				err := ask()
				if err == nil || !strings.HasPrefix(err.Error(), "redisstream: ") || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v; want it to say %q", err, c.says)
				}
				if errors.Is(err, store.ErrRejected) || answered(err) {
					t.Errorf("%v passes for an answer", err)
				}
			}
			until(t, func() bool {
				_, err := limiter.Allow(t.Context(), countedPolicy, "k")
				must(t, err)
				return len(limiter.Health().Down) == 1
			})
			before := dials.Load()
			for i := range 1000 {
				d, err := limiter.Allow(t.Context(), countedPolicy, fmt.Sprint(i))
				if err != nil || d.Source != core.SourceFallback {
					t.Fatalf("%+v, %v", d, err)
				}
			}
			if n := dials.Load() - before; n > 20 {
				t.Errorf("%d connections for 1000 requests", n)
			}
			until(t, func() bool { return log.String() != "" })
			if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, c.says) {
				t.Errorf("log %q, want one line that says %q", text, c.says)
			}
			if s.check.begun.Load() {
				t.Error("a server that refuses connections is asked how it is set up")
			}
		})
	}
}

// Each entry of the table has its test.
func TestHandshakesAreComplete(t *testing.T) {
	// The first is what longer commands get instead of NOAUTH; the others are of
	// TestOpenSaysWhatIsWrong.
	tested := []string{"Protocol error: unauthenticated", "NOPERM'cluster", "This instance has cluster support disabled", "unknown command'sentinel'"}
	all := make(map[string]bool)
	for _, name := range tested {
		all[name] = true
	}
	for name := range refusals {
		all[name] = true
	}
	for _, h := range handshakes {
		if !all[h.prefix+h.contains] {
			t.Errorf("no test of %s%s", h.prefix, h.contains)
		}
	}
}

// The clients of Open say what is wrong, of a Cluster and of sentinels too.
func TestOpenSaysWhatIsWrong(t *testing.T) {
	plain, sentinels := redistest.Start(t), redistest.Sentinel(t)
	secret := redistest.Start(t, "--requirepass", "right")
	full := redistest.Start(t)
	do(t, full, "CONFIG", "SET", "maxclients", 1)
	cluster := redistest.Cluster(t, 1).Nodes[0]
	cluster.AddUser("limiter", "pw", "streamlimit:*", documentedCommands(t)...)
	for url, want := range map[string]string{
		"redis://:wrong@" + secret.Addr:                                                "the user or the password is wrong",
		"redis://" + full.Addr:                                                         "raise its maxclients",
		"redis://" + plain.Addr + "/16":                                                "use a lower number",
		"redis://" + cluster.Addr + "/1":                                               "database", // see refusals
		"redis://" + sentinels.Sentinel.Addr:                                           "it is a sentinel",
		"redis://" + redistest.StartTLS(t).Addr:                                        "it may want TLS",
		"redis+cluster://" + plain.Addr:                                                "not in cluster mode",
		"redis+cluster://:wrong@" + secret.Addr:                                        "the user or the password is wrong",
		"redis+cluster://" + secret.Addr:                                               "no password is set here",
		"redis+cluster://limiter:pw@" + cluster.Addr:                                   "cluster|slots",
		"redis+sentinel://" + sentinels.Sentinel.Addr + "/other":                       "no primary of that name",
		"redis+sentinel://" + plain.Addr + "/limits":                                   "not of a sentinel",
		"redis+sentinel://u:wrong@" + sentinels.Sentinel.Addr + "/" + sentinels.Master: "the user or the password is wrong",
		"redis+sentinel://" + sentinels.Sentinel.Addr + "/" + sentinels.Master + "?sentinel_username=u&sentinel_password=p": "the user or the password is wrong",
	} {
		var log logBuffer
		s, err := Open(url, WithTimeout(5*time.Second), WithLogger(log.logger()))
		must(t, err)
		if _, err := s.Take(t.Context(), countedLog, "k", 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want it to say %q", url, err, want)
		}
		if _, err := s.Rules(t.Context(), ""); err == nil {
			t.Errorf("%s: rules without a server", url)
		}
		must(t, s.Close())
	}
}

// A new connection of Open costs one round trip, and a second one only where the URL
// asks for it.
func TestOpenConnectsQuickly(t *testing.T) {
	server := redistest.Start(t, "--requirepass", "pw")
	for tail, want := range map[string]string{
		"":                    "hello ping",
		"?protocol=2":         "hello ping",
		"/3":                  "hello select ping",
		"/3?client_name=api":  "hello select client ping", // in one write
		"?client_name=api":    "hello client ping",
		"/0?pool_size=3":      "hello ping",
		"?dial_timeout=1s":    "hello ping",
		"/1?protocol=2&":      "hello select ping",
		"?max_retries=1&db=2": "hello select ping",
	} {
		proxy := redistest.NewProxy(t, server.Addr)
		var mu sync.Mutex
		var sent []string
		proxy.Rule(func(words []string) redistest.Fate {
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, words[0])
			return redistest.Fate{}
		})
		rdb, err := newClient("redis://:pw@" + proxy.Addr + tail)
		must(t, err)
		must(t, rdb.Ping(t.Context()).Err())
		must(t, rdb.Close())
		mu.Lock()
		if got := strings.Join(sent, " "); got != want {
			t.Errorf("%s: sent %s, want %s", tail, got, want)
		}
		mu.Unlock()
	}
}

// lines has go-redis log to a counter until the test ends.
type lines struct{ n atomic.Int64 }

func (l *lines) Printf(context.Context, string, ...any) { l.n.Add(1) }

// In an outage the client of Open logs nothing by itself, says why it can't connect,
// and is back at once.
func TestOpenOutageIsQuiet(t *testing.T) {
	server := redistest.Start(t)
	var logged lines
	redis.SetLogger(&logged)
	t.Cleanup(logging.Enable)
	var log logBuffer
	s, err := Open("redis://"+server.Addr+"?min_idle_conns=3", WithLogger(log.logger()), WithTimeout(time.Second))
	must(t, err)
	limiter := core.New(s, core.WithLogger(log.logger()))
	t.Cleanup(func() { limiter.Close() })
	take(t, s, countedLog, "k")
	server.Kill()
	for range 100 {
		_, err := s.Take(t.Context(), countedLog, "k", 1)
		var op *net.OpError
		if err == nil || !errors.As(err, &op) && !errors.Is(err, io.EOF) {
			t.Errorf("%v, want the error of the dial", err)
		}
		_, err = limiter.Allow(t.Context(), countedPolicy, "k")
		must(t, err)
		time.Sleep(time.Millisecond) // failures at one moment do not open the breaker
	}
	if n := logged.n.Load(); n > 0 {
		t.Errorf("go-redis has logged %d lines", n)
	}
	server.Restart()
	// None of the connections that could not be made is used now.
	for range 20 {
		take(t, s, countedLog, "k")
	}
	until(t, func() bool { return strings.Contains(log.String(), "answers again") })
	wantLines(t, &log, 2)
}
