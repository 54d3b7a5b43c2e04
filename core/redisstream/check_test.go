package redisstream

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/redistest"
)

// logBuffer is where a test's log lines go.
type logBuffer struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lines.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lines.String()
}

func (b *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// awaitCheck waits for the check that the first decision has begun.
func awaitCheck(s *Store) { s.check.running.Wait() }

func TestServersAreChecked(t *testing.T) {
	evicting := []string{"--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru"}
	for name, c := range map[string]struct {
		connect func(t *testing.T) redis.UniversalClient
		want    []string // codes, and what the lines say
	}{
		"as documented": {func(t *testing.T) redis.UniversalClient {
			return redistest.Start(t, "--maxmemory", "100mb", "--maxmemory-policy", "noeviction").Client()
		}, nil},
		"evicts, without a limit": {func(t *testing.T) redis.UniversalClient {
			return redistest.Start(t, "--maxmemory-policy", "allkeys-lru").Client()
		}, nil},
		"evicts": {func(t *testing.T) redis.UniversalClient {
			return redistest.Start(t, evicting...).Client()
		}, []string{warnEviction, "maxmemory-policy=volatile-lru"}},
		"a client that ignores contexts": {func(t *testing.T) redis.UniversalClient {
			o := redistest.Start(t, evicting...).Options()
			o.ContextTimeoutEnabled = false
			rdb := redis.NewClient(o)
			t.Cleanup(func() { rdb.Close() })
			return rdb
		}, []string{warnEviction}},
		"evicts, one shard of a Ring": {func(t *testing.T) redis.UniversalClient {
			one, two := redistest.Start(t), redistest.Start(t, evicting...)
			rdb := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"one": one.Addr, "two": two.Addr}})
			t.Cleanup(func() { rdb.Close() })
			return rdb
		}, []string{warnEviction}},
		"evicts, one primary of a Cluster": {func(t *testing.T) redis.UniversalClient {
			cluster := redistest.Cluster(t, 3)
			node := cluster.Nodes[1].Client()
			must(t, node.ConfigSet(t.Context(), "maxmemory", "100mb").Err())
			must(t, node.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lfu").Err())
			return cluster.Client()
		}, []string{warnEviction, "maxmemory-policy=allkeys-lfu"}},
		"too old": {func(t *testing.T) redis.UniversalClient {
			rdb := redistest.Start(t).Client()
			rdb.AddHook(infoHook("# Server\r\nredis_version:6.2.14\r\n"))
			return rdb
		}, []string{warnOldRedis, "version=6.2.14"}},
		"Valkey": {func(t *testing.T) redis.UniversalClient {
			rdb := redistest.Start(t).Client()
			rdb.AddHook(infoHook("# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.0\r\n"))
			return rdb
		}, nil},
		"shows nothing": {func(t *testing.T) redis.UniversalClient {
			rdb := redistest.Start(t).Client()
			rdb.AddHook(infoHook("what\r\nredis_version:new\r\nmaxmemory_policy:allkeys-lru"))
			return rdb
		}, nil},
		"forbids INFO": {func(t *testing.T) redis.UniversalClient {
			server := redistest.Start(t, evicting...)
			must(t, server.Client().Do(t.Context(), "acl", "setuser", "limiter", "on", ">pw", "~*", "+@all", "-info").Err())
			o := server.Options()
			o.Username, o.Password = "limiter", "pw"
			rdb := redis.NewClient(o)
			t.Cleanup(func() { rdb.Close() })
			return rdb
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var lines logBuffer
			s := New(c.connect(t), patient, WithLogger(lines.logger()))
			for range 5 {
				take(t, s, countedLog, "k")
				awaitCheck(s)
			}
			must(t, s.Close())
			text := lines.String()
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("log lines %q, want %q", text, want)
				}
			}
			if got, want := strings.Count(text, "\n"), min(1, len(c.want)); got != want {
				t.Errorf("%d log lines, want %d: %s", got, want, text)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// infoHook answers INFO.
type infoHook string

func (h infoHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if info, ok := cmd.(*redis.StringCmd); ok && cmd.Name() == "info" {
			info.SetVal(string(h))
			return nil
		}
		return next(ctx, cmd)
	}
}

func (infoHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (infoHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// Nothing is sent before the first decision.
func TestNewAsksNothing(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := New(rdb)
	if s.check.begun.Load() {
		t.Error("New has asked")
	}
	must(t, s.Close())
	take := func() error { _, err := s.Take(t.Context(), countedLog, "k", 1); return err }
	if err := take(); err == nil {
		t.Error("a closed store decides")
	}
	s.beginCheck()
	if s.check.stop != nil {
		t.Error("a closed store has asked")
	}
}

// A check that hangs, with a client that ignores contexts, does not hold up Close.
func TestCloseEndsCheck(t *testing.T) {
	rdb := redistest.Start(t).Client()
	hang := make(chan struct{})
	defer close(hang)
	rdb.AddHook(hangHook{hang: hang})
	s := New(rdb, patient)
	take(t, s, countedLog, "k")
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Close()
		s.Close()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("Close waits for a server")
	}
}

// hangHook answers INFO when hang is closed.
type hangHook struct {
	infoHook
	hang chan struct{}
}

func (h hangHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "info" {
			<-h.hang
		}
		return next(ctx, cmd)
	}
}

// A server that does not know the first line of scripts gets a clear error.
func TestOldRedisIsNamed(t *testing.T) {
	rdb := redistest.Start(t).Client()
	// Without the line being the first, Redis 7 says what Redis 6 does.
	old := newScript("\n" + countedSource)
	s := New(rdb, patient)
	_, err := s.batcher.run(t.Context(), charge{log: "streamlimit:{k}"}, old, append(old.call(1, "streamlimit:{k}"), 0))
	var reply redis.Error
	if err == nil || !strings.Contains(err.Error(), "Redis 7.0 or later is needed") || !errors.As(err, &reply) {
		t.Errorf("error %v, want one that names the version", err)
	}
}

// A server that keeps each stream in one node frees no memory by trimming.
func TestStreamsInOneNodeAreWarnedOf(t *testing.T) {
	for _, test := range []struct {
		settings []string
		warned   bool
	}{
		{[]string{"--stream-node-max-entries", "0", "--stream-node-max-bytes", "0"}, true},
		{[]string{"--stream-node-max-entries", "0"}, false},
		{nil, false},
	} {
		var log logBuffer
		s := New(redistest.Start(t, test.settings...).Client(), patient, WithLogger(log.logger()))
		take(t, s, countedLog, "k")
		s.check.running.Wait()
		if got := strings.Contains(log.String(), warnOneNode); got != test.warned {
			t.Errorf("%v: warned %t, want %t: %s", test.settings, got, test.warned, log.String())
		}
	}
}
