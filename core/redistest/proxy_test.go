package redistest_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/redistest"
)

// patient is a client without retries and with long timeouts.
func patient(t *testing.T, server *redistest.Server, addr string) *redis.Client {
	o := server.Options()
	o.Addr, o.MaxRetries, o.ReadTimeout = addr, -1, 20*time.Second
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// proxied returns a proxy, a client through the proxy, and the server behind it.
func proxied(t *testing.T) (*redistest.Proxy, *redis.Client, *redistest.Server) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr)
	client := patient(t, server, proxy.Addr)
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	return proxy, client, server
}

// briefly returns a context for a call that should get no reply.
func briefly(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func TestProxyPassesEverything(t *testing.T) {
	t.Parallel()
	for _, protocol := range []int{2, 3} {
		_, plain, server := proxied(t)
		o := plain.Options()
		o.Protocol = protocol
		client := redis.NewClient(o)
		t.Cleanup(func() { _ = client.Close() })
		ctx := t.Context()
		big := strings.Repeat("\r\n$*", 100_000)
		pipe := client.Pipeline()
		pipe.Set(ctx, "k", big, 0)
		get := pipe.Get(ctx, "k")
		missing := pipe.Get(ctx, "missing")
		wrong := pipe.Incr(ctx, "k")
		pipe.HSet(ctx, "h", "f", "v")
		hash := pipe.HGetAll(ctx, "h")
		// Nested arrays, a nil, an error and an empty one.
		eval := pipe.Eval(ctx, "return {1, {2, {}, false}, redis.error_reply('inner'), '' }", nil)
		_, _ = pipe.Exec(ctx)
		if get.Val() != big {
			t.Errorf("RESP%d: %d bytes came back, want %d", protocol, len(get.Val()), len(big))
		}
		if !errors.Is(missing.Err(), redis.Nil) || wrong.Err() == nil || hash.Val()["f"] != "v" {
			t.Errorf("RESP%d: %v, %v, %v", protocol, missing.Err(), wrong.Err(), hash.Val())
		}
		if got, _ := eval.Val().([]any); len(got) != 4 {
			t.Errorf("RESP%d: the script answered %v", protocol, got)
		}
		if n := server.Client().DBSize(ctx).Val(); n != 2 {
			t.Errorf("RESP%d: %d keys, want 2", protocol, n)
		}
	}
}

func TestProxyDelays(t *testing.T) {
	t.Parallel()
	proxy, client, _ := proxied(t)
	timed := func() time.Duration {
		start := time.Now()
		if err := client.Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		return time.Since(start)
	}
	proxy.Delay(200*time.Millisecond, 100*time.Millisecond)
	if took := timed(); took < 300*time.Millisecond {
		t.Errorf("took %v, want at least 300ms", took)
	}
	// A delay does not limit throughput: 50 requests on one connection share it.
	start := time.Now()
	conn, err := net.Dial("tcp", proxy.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	for range 50 {
		if _, err := conn.Write([]byte("*1\r\n$4\r\nPING\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 {
		if line, err := r.ReadString('\n'); err != nil || line != "+PONG\r\n" {
			t.Fatalf("%q, %v", line, err)
		}
	}
	if took := time.Since(start); took < 300*time.Millisecond || took > 5*time.Second {
		t.Errorf("50 requests took %v, want 300ms", took)
	}
	proxy.Delay(0, 0)
	proxy.Jitter(400 * time.Millisecond)
	most := time.Duration(0)
	for range 10 {
		most = max(most, timed())
	}
	// The mean of each is 400ms. That all ten are below 100ms happens once in 10^15 runs.
	if most < 100*time.Millisecond {
		t.Errorf("with jitter none of ten took longer than %v", most)
	}
	proxy.Jitter(0)
	least := time.Hour
	for range 10 {
		least = min(least, timed())
	}
	if least > 100*time.Millisecond {
		t.Errorf("without delay each of ten took at least %v", least)
	}
}

func TestProxyFreezes(t *testing.T) {
	t.Parallel()
	proxy, client, server := proxied(t)
	proxy.Freeze()
	proxy.Freeze() // a second call changes nothing
	if err := client.Set(briefly(t), "k", "v", 0).Err(); !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("frozen: %v, want no answer in time", err)
	}
	if n := server.Client().Exists(t.Context(), "k").Val(); n != 0 {
		t.Error("a frozen proxy passes requests")
	}
	answered := make(chan error, 1)
	go func() { answered <- client.Ping(t.Context()).Err() }()
	select {
	case err := <-answered:
		t.Errorf("frozen: answered with %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	proxy.Thaw()
	proxy.Thaw()
	if err := <-answered; err != nil {
		t.Errorf("what waited: %v", err)
	}
}

func TestProxyDownAndUp(t *testing.T) {
	t.Parallel()
	proxy, client, server := proxied(t)
	conn, err := net.Dial("tcp", proxy.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	proxy.Down()
	proxy.Down()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection that was there: %v, want it closed", err)
	}
	if err := client.Ping(t.Context()).Err(); err == nil {
		t.Error("answered while down")
	}
	if _, err := net.Dial("tcp", proxy.Addr); err == nil {
		t.Error("a new connection while down")
	}
	if err := server.Client().Ping(t.Context()).Err(); err != nil {
		t.Errorf("the server itself: %v", err)
	}
	proxy.Up()
	proxy.Up()
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Errorf("up again: %v", err)
	}
}

func TestProxyFates(t *testing.T) {
	t.Parallel()
	proxy, client, server := proxied(t)
	count := func() int { n, _ := server.Client().Get(t.Context(), "n").Int(); return n }
	for _, c := range []struct {
		name    string
		fate    redistest.Fate
		reached int
		fails   bool
	}{
		{"pass", redistest.Fate{}, 1, false},
		{"swallow", redistest.Swallow(), 0, true},
		{"lose", redistest.LoseReply(), 1, true},
		{"cut at 0", redistest.CutReply(0), 1, true},
		{"cut at 2", redistest.CutReply(2), 1, true},
		{"cut after all", redistest.CutReply(100), 1, false},
		{"garbage", redistest.ReplyWith("what?\r\n"), 1, true},
		{"another", redistest.ReplyWith(":77\r\n"), 1, false},
	} {
		before := count()
		proxy.Rule(redistest.Commands(c.fate, "incr"))
		n, err := client.Incr(briefly(t), "n").Result()
		proxy.Rule(nil)
		if (err != nil) != c.fails {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.name == "another" && n != 77 {
			t.Errorf("another: %d, want 77", n)
		}
		// A request may be in flight when its client gives up.
		reached := count() - before
		for deadline := time.Now().Add(5 * time.Second); reached < c.reached && time.Now().Before(deadline); reached = count() - before {
			time.Sleep(time.Millisecond)
		}
		if reached != c.reached {
			t.Errorf("%s: %d reached the server, want %d", c.name, reached, c.reached)
		}
		err = client.Ping(t.Context()).Err()
		if errors.Is(err, io.EOF) { // the connection was closed after the reply
			err = client.Ping(t.Context()).Err()
		}
		if err != nil {
			t.Errorf("after %s: %v", c.name, err)
		}
	}
}

// Each request of a pipeline has its own fate, and other requests get their replies.
func TestProxyRuleInAPipeline(t *testing.T) {
	t.Parallel()
	proxy, client, server := proxied(t)
	proxy.Rule(func(words []string) redistest.Fate {
		if words[0] == "set" && words[1] == "lost" {
			return redistest.ReplyWith("+REPLACED\r\n")
		}
		return redistest.Scripts(redistest.CutReply(1))(words)
	})
	pipe := client.Pipeline()
	first := pipe.Set(t.Context(), "kept", 1, 0)
	second := pipe.Set(t.Context(), "lost", 1, 0)
	third := pipe.Get(t.Context(), "kept")
	script := pipe.Eval(t.Context(), "return redis.call('incr', KEYS[1])", []string{"n"})
	_, err := pipe.Exec(t.Context())
	if first.Val() != "OK" || second.Val() != "REPLACED" || third.Val() != "1" {
		t.Errorf("replies %q, %q, %q", first.Val(), second.Val(), third.Val())
	}
	if err == nil || script.Err() == nil {
		t.Error("the cut reply is not an error")
	}
	if n := server.Client().Get(t.Context(), "n").Val(); n != "1" {
		t.Errorf("the script ran %q times, want once", n)
	}
}

func TestProxiesBeforeACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.Cluster(t, 3)
	proxies := redistest.NewProxies(t, cluster.Addrs()...)
	o := cluster.Options()
	o.Dialer = proxies.Dial
	client := redis.NewClusterClient(o)
	t.Cleanup(func() { _ = client.Close() })
	proxies.Rule(redistest.Commands(redistest.ReplyWith("+REPLACED\r\n"), "set"))
	for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		if reply, err := client.Set(t.Context(), key, 1, 0).Result(); err != nil || reply != "REPLACED" {
			t.Errorf("%s: %q, %v: not through a proxy", key, reply, err)
		}
	}
}
