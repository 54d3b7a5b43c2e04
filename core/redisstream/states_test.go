package redisstream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
)

// situation is a state that a server is brought into and out of again.
type situation struct {
	start func(t *testing.T) *place
	is    error  // of core, that the error of a decision is; nil for none
	opens bool   // the circuit
	says  string // in its error; the name of the situation unless set
}

// place is where a store's logs are, and what happens there.
type place struct {
	rdb          redis.UniversalClient // the store's
	enter, leave func()
}

// situations are real servers in the states of the table. Those that the store
// gets over by itself are in TestScriptCacheLost, TestMovingSlot and
// TestNewPrimaryAtTheSameAddress.
var situations = map[string]situation{
	"READONLY": {opens: true, start: func(t *testing.T) *place {
		return orphaned(t, redistest.Start(t))
	}},
	"LOADING": {opens: true, start: func(t *testing.T) *place {
		server := redistest.Start(t, "--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024")
		return &place{
			server.Client(),
			func() {
				fill(t, server, 5000, 1000)
				do(t, server, "CONFIG", "SET", "key-load-delay", 20_000) // µs: 100 s in all
				rdb := client(t, server, patiently)
				go func() { _ = rdb.Do(context.Background(), "DEBUG", "RELOAD").Err() }()
				until(t, func() bool { return redis.HasErrorPrefix(server.Client().Ping(t.Context()).Err(), "LOADING") })
			},
			func() { do(t, server, "CONFIG", "SET", "key-load-delay", 0) },
		}
	}},
	"BUSY": {opens: true, start: func(t *testing.T) *place {
		server := redistest.Start(t, "--busy-reply-threshold", "10")
		return &place{
			server.Client(),
			func() {
				rdb := client(t, server, patiently)
				go func() { _ = rdb.Eval(context.Background(), "while true do end", nil).Err() }()
				until(t, func() bool { return redis.HasErrorPrefix(server.Client().Ping(t.Context()).Err(), "BUSY") })
			},
			func() { do(t, server, "SCRIPT", "KILL") },
		}
	}},
	"OOM": {opens: true, says: "the server is at its maxmemory: OOM", start: func(t *testing.T) *place {
		server := redistest.Start(t, "--maxmemory-policy", "noeviction")
		return configured(t, server, "maxmemory", "1", "0")
	}},
	"MISCONF": {opens: true, start: func(t *testing.T) *place {
		dir := t.TempDir()
		server := redistest.Start(t, "--save", "3600 1", "--dir", dir)
		return &place{
			server.Client(),
			func() {
				// What stands in the file's place can't be replaced, not even by root.
				if err := os.MkdirAll(filepath.Join(dir, "dump.rdb", "full"), 0o700); err != nil {
					t.Fatal(err)
				}
				do(t, server, "BGSAVE")
				until(t, func() bool {
					return strings.Contains(server.Client().Info(t.Context(), "persistence").Val(), "rdb_last_bgsave_status:err")
				})
			},
			func() { do(t, server, "CONFIG", "SET", "stop-writes-on-bgsave-error", "no") },
		}
	}},
	"NOREPLICAS": {opens: true, start: func(t *testing.T) *place {
		return configured(t, redistest.Start(t), "min-replicas-to-write", "1", "0")
	}},
	"MASTERDOWN": {opens: true, start: func(t *testing.T) *place {
		return orphaned(t, redistest.Start(t, "--replica-serve-stale-data", "no", "--replica-read-only", "no"))
	}},
	"CLUSTERDOWN": {opens: true, start: func(t *testing.T) *place {
		cluster := redistest.Cluster(t, 1)
		node := cluster.Nodes[0]
		other := cluster.Slot("another key")
		return &place{
			cluster.Client(),
			func() {
				do(t, node, "CLUSTER", "DELSLOTS", other)
				until(t, func() bool {
					return strings.Contains(node.Client().ClusterInfo(t.Context()).Val(), "cluster_state:fail")
				})
			},
			func() {
				do(t, node, "CLUSTER", "ADDSLOTS", other)
				until(t, func() bool {
					return strings.Contains(node.Client().ClusterInfo(t.Context()).Val(), "cluster_state:ok")
				})
			},
		}
	}},
	// The client takes the server's words for those of one that knows no HELLO, unless
	// Open has made it.
	"max number of clients": {opens: true, says: "redisstream: ", start: func(t *testing.T) *place {
		server := redistest.Start(t)
		// Each command of the store needs a connection of its own.
		rdb := client(t, server, func(o *redis.Options) { o.ConnMaxLifetime = time.Nanosecond })
		p := configured(t, server, "maxclients", "1", "10000")
		return &place{rdb, p.enter, p.leave}
	}},
	"NOAUTH": {opens: true, says: "no password is set here, and the server wants one: ", start: func(t *testing.T) *place {
		server := redistest.Start(t)
		rdb := client(t, server, func(o *redis.Options) { o.ConnMaxLifetime = time.Nanosecond })
		p := configured(t, server, "requirepass", "secret", "")
		return &place{rdb, p.enter, p.leave}
	}},
	"WRONGPASS": {opens: true, says: "the user or the password is wrong, or the user is off: WRONGPASS", start: func(t *testing.T) *place {
		server := redistest.Start(t)
		do(t, server, "ACL", "SETUSER", "limiter", "on", ">right", "+@all", "~*")
		rdb := client(t, server, func(o *redis.Options) {
			o.Username, o.Password, o.ConnMaxLifetime = "limiter", "right", time.Nanosecond
		})
		return &place{
			rdb,
			func() { do(t, server, "ACL", "SETUSER", "limiter", "<right", ">changed") },
			func() { do(t, server, "ACL", "SETUSER", "limiter", ">right") },
		}
	}},
	"NOPERM": {is: store.ErrRejected, says: "package redisstream lists what it needs", start: func(t *testing.T) *place {
		server := redistest.Start(t)
		do(t, server, "ACL", "SETUSER", "limiter", "on", ">pw", "+@all", "~*")
		rdb := client(t, server, func(o *redis.Options) { o.Username, o.Password = "limiter", "pw" })
		return &place{
			rdb,
			func() { do(t, server, "ACL", "SETUSER", "limiter", "-evalsha") },
			func() { do(t, server, "ACL", "SETUSER", "limiter", "+evalsha") },
		}
	}},
	"MOVED": {is: store.ErrRejected, says: "redis+cluster://", start: func(t *testing.T) *place {
		node, move := slotOf(t, "k")
		return &place{node.Client(), func() { move.Run() }, func() {
			move.From, move.To = move.To, move.From
			move.Run()
		}}
	}},
	"ASK": {is: store.ErrRejected, says: "redis+cluster://", start: func(t *testing.T) *place {
		node, move := slotOf(t, "k")
		return &place{node.Client(), func() {
			move.Begin()
			move.MigrateAll()
		}, func() {
			move.End()
			move.From, move.To = move.To, move.From
			move.Run()
		}}
	}},
}

// In each state a limiter decides by itself, says so once, and nothing is
// written to the log; afterwards it uses the log again.
func TestStates(t *testing.T) {
	for name, c := range situations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.says == "" {
				c.says = name
			}
			p := c.start(t)
			s := New(p.rdb, patient, WithLogger((&logBuffer{}).logger()))
			var log logBuffer
			limiter := core.New(s, core.WithLogger(log.logger()))
			t.Cleanup(func() { limiter.Close() })
			for range 3 {
				take(t, s, countedLog, "k")
				take(t, s, refundedLog, "k")
			}
			p.enter()

			for _, policy := range []*store.Log{countedLog, refundedLog} {
				_, err := s.Take(t.Context(), policy, "k", 1)
				sayState(t, c, err)
			}
			_, err := s.TakeAll(t.Context(), []store.Charge{{Log: countedLog, Key: "k", Cost: 1}, {Log: refundedLog, Key: "k", Cost: 1}})
			sayState(t, c, err)

			// Many at once, which share round trips.
			var group sync.WaitGroup
			for range 100 {
				group.Go(func() {
					_, err := s.Take(t.Context(), countedLog, "k", 1)
					sayState(t, c, err)
				})
			}
			group.Wait()

			const requests = 20
			for i := range int64(requests) {
				time.Sleep(time.Millisecond) // a circuit does not open by one moment's failures
				d, err := limiter.Allow(t.Context(), countedPolicy, "k")
				if err != nil || d.Source != core.SourceFallback || d.Limit.Max-d.Remaining != i+1 {
					t.Fatalf("request %d: %+v, %v", i, d, err)
				}
			}
			if opened := len(limiter.Health().Down) > 0; opened != c.opens {
				t.Errorf("the circuit is open: %v, want %v", opened, c.opens)
			}
			// A moment later, and still.
			until(t, func() bool { return log.String() != "" })
			wantLines(t, &log, 1)

			p.leave()
			until(t, func() bool {
				d, err := limiter.Peek(t.Context(), countedPolicy, "k")
				return err == nil && d.Source == core.SourceRedis
			})
			for _, policy := range []*store.Log{countedLog, refundedLog} {
				if u := take(t, s, policy, "k"); u.Limits[0].Used != 4 {
					t.Errorf("%s: %d used, want the 3 from before and 1", policy.Policy, u.Limits[0].Used)
				}
			}
			if c.opens {
				until(t, func() bool { return strings.Contains(log.String(), "answers again") })
				wantLines(t, &log, 2)
			} else {
				wantLines(t, &log, 1)
			}
		})
	}
}

// sayState checks the error of a decision.
func sayState(t *testing.T, c situation, err error) {
	t.Helper()
	if err == nil {
		t.Error("a decision, want an error")
		return
	}
	for _, marker := range []error{store.ErrRejected, store.ErrWrongType} {
		if errors.Is(err, marker) != (marker == c.is) {
			t.Errorf("%v; want it to be: %v", err, c.is)
		}
	}
	if !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "redisstream: ") {
		t.Errorf("%v; want it to say %q", err, c.says)
	}
}

func wantLines(t *testing.T, log *logBuffer, want int) {
	t.Helper()
	if n := strings.Count(log.String(), "\n"); n != want {
		t.Errorf("%d log lines, want %d:\n%s", n, want, log.String())
	}
}

// answers are those of servers that can't be started here: old ones, and those
// that a client of another make has reached.
var answers = map[string]situation{
	"max number of clients":     {says: "redisstream: the server has no room for more connections: raise its maxclients, or lower the clients' pool sizes: ERR max number of clients reached"},
	"unknown command 'evalsha'": {is: store.ErrRejected, says: "the server runs no scripts: it is a sentinel, or evalsha is renamed: ERR unknown command 'evalsha', with args"},
	"Error compiling script":    {is: store.ErrRejected, says: "Redis 7.0 or later is needed: ERR Error compiling script (new function)"},
}

func TestAnswers(t *testing.T) {
	server := redistest.Start(t)
	for prefix, c := range answers {
		proxy := redistest.NewProxy(t, server.Addr)
		_, text, _ := strings.Cut(c.says, ": ERR ")
		proxy.Rule(redistest.Scripts(redistest.ReplyWith("-ERR " + text + "\r\n")))
		rdb := client(t, server, func(o *redis.Options) { o.Addr = proxy.Addr })
		_, err := New(rdb, patient).Take(t.Context(), countedLog, prefix, 1)
		sayState(t, c, err)
	}
}

// A server that has become a replica leads to the new primary, where its name is
// the primary's now.
func TestNewPrimaryAtTheSameAddress(t *testing.T) {
	old, primary := redistest.Start(t), redistest.Start(t)
	var now atomic.Pointer[redistest.Server]
	now.Store(old)
	rdb := client(t, old, func(o *redis.Options) {
		o.Dialer = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, now.Load().Addr)
		}
	})
	s := New(rdb, patient)
	// All of several connections lead to the old one.
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() { take(t, s, countedLog, "k") })
	}
	group.Wait()
	awaitCheck(s)
	do(t, old, "REPLICAOF", "127.0.0.1", 1)
	now.Store(primary)
	for _, p := range []*store.Log{countedLog, refundedLog} {
		if u := take(t, s, p, "k"); u.Limits[0].Used != 1 {
			t.Errorf("%s: %d used at a new primary, want 1", p.Policy, u.Limits[0].Used)
		}
	}
}

// Each state of the table has its test.
func TestStatesAreComplete(t *testing.T) {
	tested := []string{
		"NOSCRIPT", "TRYAGAIN", "WRONGTYPE", // by tests of their own
		// By TestCommandMissing, on servers that word it so:
		"The user executing the script can't run", "ACL failure in script",
		"Unknown Redis command called from script", "Unknown command called from script",
	}
	for _, s := range states {
		_, real := situations[s.prefix]
		_, told := answers[s.prefix]
		if !real && !told && !slices.Contains(tested, s.prefix) {
			t.Errorf("no test of %s", s.prefix)
		}
	}
}

func client(t *testing.T, server *redistest.Server, set func(*redis.Options)) *redis.Client {
	o := server.Options()
	if set != nil {
		set(o)
	}
	rdb := redis.NewClient(o)
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

// configured is a server that a setting brings into a state and out of it.
func configured(t *testing.T, server *redistest.Server, setting, in, out string) *place {
	return &place{
		server.Client(),
		func() { do(t, server, "CONFIG", "SET", setting, in) },
		func() { do(t, server, "CONFIG", "SET", setting, out) },
	}
}

// orphaned is a server that becomes the replica of a primary that is not there:
// a real one's data would replace the logs.
func orphaned(t *testing.T, server *redistest.Server) *place {
	return &place{
		server.Client(),
		func() { do(t, server, "REPLICAOF", "127.0.0.1", 1) },
		func() { do(t, server, "REPLICAOF", "NO", "ONE") },
	}
}

// patiently makes a client wait for one command as long as that takes.
func patiently(o *redis.Options) { o.ReadTimeout, o.MaxRetries = -1, -1 }

// fill writes that many keys with values of that many bytes.
func fill(t *testing.T, server *redistest.Server, keys, size int) {
	t.Helper()
	value := make([]byte, size)
	pipe := server.Client().Pipeline()
	for i := range keys {
		_, _ = rand.Read(value)
		pipe.Set(t.Context(), fmt.Sprint("filler-", i), value, 0)
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// slotOf is a node of a cluster, and a move of a key's slot away from it.
func slotOf(t *testing.T, key string) (*redistest.Server, *redistest.SlotMove) {
	cluster := redistest.Cluster(t, 2)
	s := New(cluster.Client())
	move := cluster.Move(s.logKey(countedLog, key))
	return move.From, move
}

func do(t *testing.T, server *redistest.Server, args ...any) {
	t.Helper()
	if err := server.Client().Do(context.Background(), args...).Err(); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
}

func until(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 20s")
		}
	}
}
