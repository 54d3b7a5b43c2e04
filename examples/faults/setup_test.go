package faults

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
)

func TestRow12_ReadOnly(t *testing.T) {
	r := row(t, 12)
	primary := redistest.Start(t, "--repl-diskless-sync-delay", "0")
	host, port, _ := strings.Cut(primary.Addr, ":")
	replica := redistest.Start(t, "--replicaof", host+" "+port)
	var log lines
	limiter := log.limiter(t, replica)
	decisions := 0
	for end := time.Now().Add(scale(2*time.Second, 10*time.Second)); time.Now().Before(end); time.Sleep(time.Millisecond) {
		decisions++
		d, err := limiter.Allow(t.Context(), decided, "k")
		if err != nil || d.Source != core.SourceFallback || d.Limit.Max-d.Remaining != int64(decisions) {
			t.Fatalf("decision %d: %+v, %v", decisions, d, err)
		}
	}
	if d, err := limiter.Peek(t.Context(), decided, "k"); err != nil || d.Source != core.SourceFallback {
		t.Errorf("%+v, %v", d, err)
	}
	log.want(t, 1, "READONLY")
	r.Figure("%d decisions, all in memory; %d log line", decisions, log.count())
	if keys := primary.Client().Keys(t.Context(), "*").Val(); len(keys) > 0 {
		t.Errorf("the primary has %v", keys)
	}
}

func TestRow14_OutOfMemory(t *testing.T) {
	r := row(t, 14)
	server := redistest.Start(t, "--maxmemory-policy", "noeviction")
	var log lines
	limiter := log.limiter(t, server)
	next := 0
	flood := func(clients int, until func() bool) {
		for ; clients > 0 && !until(); clients-- {
			next++
			if d, err := limiter.Allow(t.Context(), decided, fmt.Sprint("client ", next)); err != nil || !d.Allowed {
				t.Fatalf("%+v, %v", d, err)
			}
		}
	}
	enough := used(t, server) + scale(2<<20, 20<<20)
	flood(1_000_000, func() bool { return next%100 == 0 && used(t, server) > enough })
	// Redis stays full from one request to the next. At the very edge a freed buffer
	// sometimes makes room for a request.
	limit := used(t, server)
	if err := server.Client().ConfigSet(t.Context(), "maxmemory", fmt.Sprint(limit/2)).Err(); err != nil {
		t.Fatal(err)
	}
	down := func() bool { return len(limiter.Health().Down) > 0 }
	flood(1000, down)
	if !down() {
		t.Fatal("Redis is not full")
	}
	keys := server.Client().DBSize(t.Context()).Val()
	over := 0
	for range scale(20, 100) {
		flood(100, func() bool { return false })
		over = max(over, used(t, server)-limit)
		time.Sleep(20 * time.Millisecond) // for the circuit to ask now and then
	}
	if grown := server.Client().DBSize(t.Context()).Val() - keys; grown > 0 {
		t.Errorf("%d keys more in a Redis that is full", grown)
	}
	// Besides, a full server may use memory for the buffers of connections.
	const buffers = 256 << 10
	if over > buffers {
		t.Errorf("%d bytes over maxmemory, want at most %d", over, buffers)
	}
	log.want(t, 1, "the server is at its maxmemory: OOM")
	if err := server.Client().ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(recovery); down() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if d, err := limiter.Allow(t.Context(), decided, "another client"); err != nil || d.Source != core.SourceRedis {
		t.Errorf("with memory again: %+v, %v", d, err)
	}
	log.want(t, 2, "the store answers again")
	r.Figure("%d bytes over after %d keys and %d clients more, all decided in memory", over, keys, int64(next)-keys)
}

func TestRow15_Eviction(t *testing.T) {
	r := row(t, 15)
	server := redistest.Start(t, "--maxmemory-policy", "volatile-lru")
	limit := used(t, server) + 2<<20
	if err := server.Client().ConfigSet(t.Context(), "maxmemory", fmt.Sprint(limit)).Err(); err != nil {
		t.Fatal(err)
	}
	var log lines
	limiter := log.limiter(t, server)
	if _, err := limiter.Allow(t.Context(), decided, "first"); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for log.count() == 0 && time.Since(start) < 10*time.Second {
		time.Sleep(time.Millisecond)
	}
	said := time.Since(start)
	log.want(t, 1, "STREAMLIMIT_W004")
	for _, s := range newSites(t, server) {
		for range 20 {
			s.get(newVisitor(), "/protected")
		}
		for end := time.Now().Add(10 * time.Second); !strings.Contains(s.Log(), "STREAMLIMIT_W004 ") && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		if n := strings.Count(s.Log(), "STREAMLIMIT_W004 "); n != 1 {
			t.Errorf("%s: said %d times, want once\n%s", s.Name, n, s.Log())
		}
	}
	// The warning is right: with filler, logs are evicted.
	filler := strings.Repeat("x", 10_000)
	for i := range 1000 {
		if err := server.Client().Set(t.Context(), fmt.Sprint("filler ", i), filler, time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if n := server.Client().Exists(t.Context(), "filler 0").Val(); n != 0 {
		t.Error("nothing was evicted")
	}
	if d, err := limiter.Allow(t.Context(), decided, "second"); err != nil || d.Source != core.SourceRedis {
		t.Errorf("%+v, %v", d, err)
	}
	log.want(t, 1, "volatile-lru")
	r.Figure("said once, %v after the first decision", ms(said))
}

// decided is the policy of rows that test decisions.
var decided = core.NewPolicy("decided", core.PerHour(1_000_000))

// lines is the log of a limiter and its store.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// limiter returns a limiter on the server with the log. It waits for a busy machine.
func (l *lines) limiter(t *testing.T, server *redistest.Server) *core.Limiter {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(l, nil))
	limiter := core.New(redisstream.New(server.Client(), redisstream.WithLogger(logger), redisstream.WithTimeout(patience)), core.WithLogger(logger))
	t.Cleanup(func() { limiter.Close() })
	return limiter
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) count() int { return strings.Count(l.String(), "\n") }

// want waits for the number of lines, and checks that one of them has a text.
func (l *lines) want(t *testing.T, number int, text string) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); l.count() < number && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if l.count() != number || !strings.Contains(l.String(), text) {
		t.Errorf("%d log lines, want %d, with %q:\n%s", l.count(), number, text, l)
	}
}
