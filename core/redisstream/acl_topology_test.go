package redisstream

import (
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// addLimiter makes a user with the documented commands, and more.
func addLimiter(t *testing.T, servers []*redistest.Server, more ...string) {
	t.Helper()
	for _, server := range servers {
		server.AddUser("limiter", "pw", "streamlimit:*", slices.Concat(documentedCommands(t), more)...)
	}
}

func nothingDenied(t *testing.T, servers []*redistest.Server) {
	t.Helper()
	for _, server := range servers {
		if denied := server.Denied(); len(denied) > 0 {
			t.Errorf("%s denied %v", server.Addr, denied)
		}
	}
}

// A client of a Cluster needs command, cluster|slots and asking besides what is
// documented: also while a slot moves.
func TestLeastPrivilegeCluster(t *testing.T) {
	cluster := redistest.Cluster(t, 3)
	addLimiter(t, cluster.Nodes, "command", "cluster|slots", "asking")
	o := cluster.Options()
	o.Username, o.Password = "limiter", "pw"
	rdb := redis.NewClusterClient(o)
	defer rdb.Close()
	s := New(rdb, patient)
	works(t, s)
	move := cluster.Move(s.logKey(countedLog, "k"))
	for _, step := range []func(){func() {}, move.Begin, move.MigrateAll, move.End} {
		step()
		everywhere(t, s)
	}
	nothingDenied(t, cluster.Nodes)
}

// A client of Sentinel needs no more than is documented, of either server.
func TestLeastPrivilegeSentinel(t *testing.T) {
	topology := redistest.Sentinel(t)
	servers := []*redistest.Server{topology.Primary, topology.Replica}
	addLimiter(t, servers)
	o := topology.Options()
	o.Username, o.Password = "limiter", "pw"
	rdb := redis.NewFailoverClient(o)
	defer rdb.Close()
	s := New(rdb, patient)
	works(t, s)
	everything(t, s)
	nothingDenied(t, servers)
	topology.Primary.Kill()
	topology.AwaitFailover()
	for deadline := time.Now().Add(20 * time.Second); s.Ping(t.Context()) != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the client does not find the new primary")
		}
	}
	everything(t, s)
	nothingDenied(t, servers[1:])
}

// everywhere calls each method of a store that a Cluster has all of.
func everywhere(t *testing.T, s *Store) {
	t.Helper()
	ctx := t.Context()
	for _, q := range questions() {
		if err := q.ask(s, "k"); err != nil {
			t.Errorf("%s: %v", q.name, err)
		}
	}
	u, err := s.Take(ctx, refundedLog, "k", 1)
	must(t, err)
	must(t, s.Settle(ctx, refundedLog, "k", u.Entry, -1))
	if entries, err := s.Entries(ctx, refundedLog, "k", 10); err != nil || len(entries) == 0 {
		t.Errorf("entries %v, %v", entries, err)
	}
	must(t, s.SetRule(ctx, kept(core.Rule{Kind: core.RuleBlock, Key: "k"})))
	if rules, err := s.Rules(ctx, ""); err != nil || len(rules.Set) != 1 {
		t.Errorf("rules %v, %v", rules, err)
	}
	if found, err := s.DeleteRule(ctx, "block key k"); err != nil || !found {
		t.Errorf("rule found %v, %v", found, err)
	}
	must(t, s.Reset(ctx, countedLog, "k"))
	must(t, s.Ping(ctx))
	awaitCheck(s)
}
