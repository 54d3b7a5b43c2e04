package redistest_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/redistest"
)

func TestClusterReplicaTakesOver(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cluster := redistest.Cluster(t, 3, redistest.WithReplicas(1), redistest.WithArgs("--maxmemory", "50mb"))
	if n := len(cluster.Addrs()); n != 6 {
		t.Fatalf("%d nodes, want 6", n)
	}
	for _, replicas := range cluster.Replicas {
		if config := replicas[0].Client().ConfigGet(ctx, "maxmemory").Val(); config["maxmemory"] != "52428800" {
			t.Errorf("arguments did not reach a replica: %v", config)
		}
	}
	const key = "k"
	if err := cluster.Client().Set(ctx, key, "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	owner := cluster.Owner(cluster.Slot(key))
	if n := owner.Client().Exists(ctx, key).Val(); n != 1 {
		t.Error("the owner of the slot does not have the key")
	}
	owner.Kill()
	heir := cluster.AwaitTakeover(owner)
	if heir == owner || heir != cluster.Owner(cluster.Slot(key)) {
		t.Fatalf("%s is not the slot's new owner", heir.Addr)
	}
	if err := heir.Client().Set(ctx, key, "w", 0).Err(); err != nil {
		t.Errorf("the new owner: %v", err)
	}
}

func TestSlotMove(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cluster := redistest.Cluster(t, 3)
	var keys []string
	for i := range 25 {
		key := fmt.Sprint("{tag}", i)
		if err := cluster.Client().Set(ctx, key, i, 0).Err(); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	move := cluster.Move("{tag}")
	move.Begin()
	move.Migrate(keys[0])
	if err := move.From.Client().Get(ctx, keys[0]).Err(); err == nil || !strings.HasPrefix(err.Error(), "ASK ") {
		t.Errorf("key after its move: %v, want ASK", err)
	}
	if v, err := move.From.Client().Get(ctx, keys[1]).Result(); err != nil || v != "1" {
		t.Errorf("key before its move: %q, %v", v, err)
	}
	move.MigrateAll()
	move.End()
	if owner := cluster.Owner(move.Slot); owner != move.To {
		t.Errorf("the slot is %s's", owner.Addr)
	}
	back := cluster.Move("{tag}")
	if back.From != move.To || back.To == move.To {
		t.Errorf("the next move is from %s to %s", back.From.Addr, back.To.Addr)
	}
	back.Run()
	for i, key := range keys {
		if v, err := back.To.Client().Get(ctx, key).Int(); err != nil || v != i {
			t.Errorf("%s: %d, %v", key, v, err)
		}
	}
}

func TestSentinelsFailOver(t *testing.T) {
	t.Parallel()
	s := redistest.Sentinels(t, 3)
	if len(s.Sentinels) != 3 || len(s.Options().SentinelAddrs) != 3 {
		t.Fatalf("%d sentinels, want 3", len(s.Sentinels))
	}
	if err := s.Client().Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s.Sentinel.Kill() // two of three are a majority
	s.Primary.Kill()
	s.AwaitFailover()
	if err := s.Replica.Client().Set(t.Context(), "k", "w", 0).Err(); err != nil {
		t.Errorf("the new primary: %v", err)
	}
}

func TestReplicationOffset(t *testing.T) {
	t.Parallel()
	s := redistest.Sentinel(t)
	offsets := func() (primary, replica int64) {
		var err, err2 error
		primary, err = s.Primary.ReplicationOffset(t.Context())
		replica, err2 = s.Replica.ReplicationOffset(t.Context())
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		return primary, replica
	}
	s.Replica.Freeze()
	for range 100 {
		if err := s.Primary.Client().Set(t.Context(), "k", "v", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	s.Replica.Thaw()
	if n := s.Primary.Client().Wait(t.Context(), 1, 0).Val(); n != 1 {
		t.Fatalf("%d replicas have it", n)
	}
	if primary, replica := offsets(); replica < 100*int64(len("set k v")) || replica > primary {
		t.Errorf("offsets %d and %d", primary, replica)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	server := redistest.StartTLS(t)
	if err := server.Client().Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	ping := func(config *tls.Config) error {
		o := server.Options()
		o.TLSConfig, o.MaxRetries, o.DialerRetries = config, -1, 1
		client := redis.NewClient(o)
		defer func() { _ = client.Close() }()
		return client.Ping(t.Context()).Err()
	}
	if err := ping(&tls.Config{ServerName: "127.0.0.1"}); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("a client that does not trust the authority: %v", err)
	}
	other := server.Config.Clone()
	other.ServerName = "example.org"
	if err := ping(other); err == nil || !strings.Contains(err.Error(), "example.org") {
		t.Errorf("a client that expects another name: %v", err)
	}
	if err := ping(nil); err == nil {
		t.Error("a client without TLS got a reply")
	}
	server.Restart()
	if err := ping(server.Config); err != nil {
		t.Errorf("after Restart: %v", err)
	}
}

func TestUser(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	server := redistest.Start(t)
	server.AddUser("limiter", "pw", "mine:*", "get", "ping", "cluster|slots")
	o := server.Options()
	o.Username, o.Password = "limiter", "pw"
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	if err := client.Get(ctx, "mine:k").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("what is allowed: %v", err)
	}
	if denied := server.Denied(); len(denied) > 0 {
		t.Errorf("denied: %v", denied)
	}
	if err := client.Set(ctx, "mine:k", 1, 0).Err(); err == nil {
		t.Error("another command is allowed")
	}
	if err := client.Get(ctx, "other").Err(); err == nil || errors.Is(err, redis.Nil) {
		t.Error("another key is allowed")
	}
	if got, want := fmt.Sprint(server.Denied()), "[limiter: key other limiter: command set]"; got != want {
		t.Errorf("denied: %s, want %s", got, want)
	}
}
