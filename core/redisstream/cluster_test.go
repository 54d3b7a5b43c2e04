package redisstream

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// The slots of logs move from node to node while clients use them: no error
// reaches a caller, and each log admits just its limit.
func TestReshardUnderLoad(t *testing.T) {
	cluster := redistest.Cluster(t, 3, redistest.WithReplicas(1))
	s := New(cluster.Client(), patient)
	l := startLoad(t, s, 6, loadPolicies(300)...)
	moves := 0
	for full := false; !full; {
		for i := range 6 { // all logs of a key are in one slot
			move := cluster.Move(s.logKey(l.accounts[0].policy, fmt.Sprint("load-", i)))
			move.Run()
			moves++
		}
		full = !slices.ContainsFunc(l.accounts, func(a *account) bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.denied < 3 && len(a.errors) == 0
		})
	}
	l.end()
	for _, a := range l.accounts {
		a.exact(t)
	}
	if moves < 18 {
		t.Errorf("%d moves: too few to tell", moves)
	}
	t.Logf("figure: moves=%d %s", moves, l.figures())
}

// A process that sends no decision to the server with the rules follows them after
// its failover: the client asks by itself only once a minute where the rules are.
func TestRulesAfterClusterFailover(t *testing.T) {
	cluster := redistest.Cluster(t, 3, redistest.WithReplicas(1))
	rdb := redis.NewClusterClient(cluster.Options())
	t.Cleanup(func() { rdb.Close() })
	s := New(rdb, patient)
	must(t, s.SetRule(t.Context(), kept(core.Rule{Kind: core.RuleBlock, Key: "a"})))
	dying := cluster.Owner(cluster.Slot(s.ruleKeys()[0]))
	dying.Kill()
	cluster.AwaitTakeover(dying)
	taken := time.Now()
	for {
		_, err := s.Rules(t.Context(), "")
		if err == nil {
			break
		}
		if time.Since(taken) > 10*time.Second {
			t.Fatalf("the rules can't be read 10s after the failover: %v", err)
		}
		time.Sleep(rulesInterval)
	}
}

// One primary of a cluster is killed: the logs of the others don't notice, and
// its own are back once its replica has taken over. What is lost is what the
// replica had not got.
func TestClusterFailoverUnderLoad(t *testing.T) {
	// Without it a cluster refuses all keys while some slots have no primary.
	cluster := redistest.Cluster(t, 3, redistest.WithReplicas(1), redistest.WithArgs("--cluster-require-full-coverage", "no"))
	o := cluster.Options()
	o.DialerRetries = 1 // as with Open
	rdb := redis.NewClusterClient(o)
	t.Cleanup(func() { rdb.Close() })
	s := New(rdb, patient)
	l := startLoad(t, s, 12, loadPolicies(800)[2])
	owner := func(a *account) *redistest.Server { return cluster.Owner(cluster.Slot(s.logKey(a.policy, a.key))) }
	dying := owner(l.accounts[0])
	var hit, others []*account
	for _, a := range l.accounts {
		if owner(a) == dying {
			hit = append(hit, a)
		} else {
			others = append(others, a)
		}
	}
	if len(others) == 0 {
		t.Fatal("all logs are on one node")
	}
	f := &failover{load: l, primary: dying, replica: cluster.Replicas[slices.Index(cluster.Nodes, dying)][0]}
	l.awaitAll(t, "load", func(a *account) bool { return len(a.admitted) > 50 })
	f.kill(t)
	cluster.AwaitTakeover(dying)
	taken := time.Since(f.killed)
	f.check(t, s, hit)
	for _, a := range others {
		a.exact(t)
	}
	if back := f.back(hit); back > taken+10*time.Second {
		t.Errorf("decisions are back %v after the primary died, and its replica took over after %v", back, taken)
	}
	t.Logf("figure: taken=%v back=%v lost=%d admitted=%d unharmed=%d", taken, f.back(hit), f.lost, f.admitted, len(others))
}

// A ban in the middle of a move of the rules' slot, when their keys are on two servers,
// waits until they are together again.
func TestBanWhileTheRulesMove(t *testing.T) {
	cluster := redistest.Cluster(t, 3)
	rdb := redis.NewClusterClient(cluster.Options())
	t.Cleanup(func() { rdb.Close() })
	s := New(rdb, patient)
	ban := core.Rule{Kind: core.RuleBan, Key: "a", Until: time.Now().Add(time.Hour)}
	must(t, s.SetRule(t.Context(), kept(ban)))
	keys := s.ruleKeys()
	move := cluster.Move(keys[0])
	move.Begin()
	move.Migrate(keys[0])
	done := make(chan error, 1)
	go func() {
		ban.Key = "b"
		done <- s.SetRule(t.Context(), kept(ban))
	}()
	select {
	case err := <-done:
		t.Fatalf("SetRule returned %v while its keys were on two servers", err)
	case <-time.After(3 * movingPause):
	}
	move.MigrateAll()
	move.End()
	must(t, <-done)
	changes, err := s.Rules(t.Context(), "")
	must(t, err)
	if len(changes.Set) != 2 {
		t.Errorf("%d rules after the move, want 2", len(changes.Set))
	}
}
