package redistest_test

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/redistest"
)

func TestServerAnswersAndPersistsNothing(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	client := redistest.Start(t).Client()
	if err := client.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	config, err := client.ConfigGet(ctx, "save").Result()
	if err != nil || config["save"] != "" {
		t.Errorf("save = %q, %v; want no snapshots", config["save"], err)
	}
	config, err = client.ConfigGet(ctx, "appendonly").Result()
	if err != nil || config["appendonly"] != "no" {
		t.Errorf("appendonly = %q, %v; want no", config["appendonly"], err)
	}
}

func TestClientSendsOnlyWhatItIsAsked(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	server := redistest.Start(t)
	// A server may run commands by itself at its start, as Valkey 9.1 does.
	if err := server.Client().ConfigResetStat(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(server.Options())
	t.Cleanup(func() { _ = client.Close() })
	if err := client.Get(ctx, "k").Err(); !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	info, err := server.Client().InfoMap(ctx, "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	for command := range info["Commandstats"] {
		switch command {
		case "cmdstat_get", "cmdstat_hello", "cmdstat_config|resetstat":
		default:
			t.Errorf("unexpected %s", command)
		}
	}
}

func TestArgumentsReachTheServer(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t, "--maxmemory", "10mb", "--requirepass", "secret").Client()
	config, err := client.ConfigGet(t.Context(), "maxmemory").Result()
	if err != nil || config["maxmemory"] != "10485760" {
		t.Errorf("maxmemory = %q, %v; want 10485760", config["maxmemory"], err)
	}
}

func TestServersAreApart(t *testing.T) {
	t.Parallel()
	one, two := redistest.Start(t), redistest.Start(t)
	if one.Addr == two.Addr {
		t.Fatalf("two servers at %s", one.Addr)
	}
	if err := one.Client().Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n := two.Client().Exists(t.Context(), "k").Val(); n != 0 {
		t.Error("the second server has the first one's key")
	}
}

func TestFreezeAndThaw(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	ping := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		return server.Client().Ping(ctx).Err()
	}
	server.Freeze()
	if err := ping(); err == nil {
		t.Error("a frozen server responds")
	}
	server.Thaw()
	var err error
	for range 50 {
		if err = ping(); err == nil {
			return
		}
	}
	t.Errorf("a thawed server does not respond: %v", err)
}

func TestKillAndRestart(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	addr := server.Addr
	if err := server.Client().Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	server.Kill() // twice is not an error
	if conn, err := net.Dial("tcp", addr); err == nil {
		_ = conn.Close()
		t.Fatal("a killed server takes connections")
	}
	server.Restart()
	if server.Addr != addr {
		t.Errorf("address changed from %s to %s", addr, server.Addr)
	}
	if v, err := server.Client().Get(ctx, "k").Result(); err != nil || v != "v" {
		t.Errorf("after Restart: %q, %v; want the value from the append-only file", v, err)
	}
	server.Restart() // the server is running
	if err := server.Client().Ping(ctx).Err(); err != nil {
		t.Error(err)
	}
}

func TestServerEndsWithItsTest(t *testing.T) {
	var server *redistest.Server
	var dir string
	t.Run("inner", func(t *testing.T) {
		server = redistest.Start(t)
		config, err := server.Client().ConfigGet(t.Context(), "dir").Result()
		if err != nil {
			t.Fatal(err)
		}
		dir = config["dir"]
	})
	if conn, err := net.Dial("tcp", server.Addr); err == nil {
		_ = conn.Close()
		t.Error("the server has outlived its test")
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cluster := redistest.Cluster(t, 3)
	if n := len(cluster.Addrs()); n != 3 {
		t.Fatalf("%d nodes, want 3", n)
	}
	for i := range 100 {
		key := string(rune('a'+i%26)) + string(rune('a'+i/26))
		if err := cluster.Client().Set(ctx, key, i, 0).Err(); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
	}
	for _, node := range cluster.Nodes {
		if n := node.Client().DBSize(ctx).Val(); n == 0 {
			t.Errorf("%s has none of 100 keys", node.Addr)
		}
	}
}

func TestClusterOfOne(t *testing.T) {
	t.Parallel()
	if err := redistest.Cluster(t, 1).Client().Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Error(err)
	}
}

func TestSentinelPromotesTheReplica(t *testing.T) {
	t.Parallel()
	s := redistest.Sentinel(t)
	if err := s.Client().Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n := s.Primary.Client().Exists(t.Context(), "k").Val(); n != 1 {
		t.Error("the sentinel's client does not write to the primary")
	}
	s.Primary.Kill()
	sentinel := redis.NewSentinelClient(s.Sentinel.Options())
	defer func() { _ = sentinel.Close() }()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		addr, err := sentinel.GetMasterAddrByName(t.Context(), s.Master).Result()
		if err == nil && len(addr) == 2 && addr[0]+":"+addr[1] == s.Replica.Addr {
			return
		}
	}
	t.Error("the replica was not promoted within 20s")
}
