package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

// SentinelServer is a primary with one replica and sentinels. The sentinels promote the
// replica after the primary has failed for half a second.
type SentinelServer struct {
	Master    string // the name under which the sentinels know the primary
	Primary   *Server
	Replica   *Server
	Sentinel  *Server // the first of Sentinels
	Sentinels []*Server

	t      testing.TB
	mu     sync.Mutex
	client *redis.Client
}

// Sentinel is [Sentinels] with one sentinel, which decides by itself.
func Sentinel(t testing.TB, args ...string) *SentinelServer {
	t.Helper()
	return Sentinels(t, 1, args...)
}

// Sentinels starts a primary, a replica and n sentinels, which decide by majority. It
// waits until the replica is in sync, and the sentinels know it and each other. The
// replica can then take over. The arguments are for the primary and the replica, as in
// [Start].
func Sentinels(t testing.TB, n int, args ...string) *SentinelServer {
	t.Helper()
	// Without the delay a replica gets its data at once. With it a primary waits 5 s for
	// more replicas.
	args = append([]string{"--repl-diskless-sync-delay", "0"}, args...)
	s := &SentinelServer{t: t, Master: "limits", Primary: Start(t, args...)}
	host, port, err := net.SplitHostPort(s.Primary.Addr)
	must(t, err)
	s.Replica = Start(t, append([]string{"--replicaof", host + " " + port}, args...)...)
	await(t, "the replica", s.Replica.inSync)
	for range n {
		s.Sentinels = append(s.Sentinels, s.watch(host, port, n/2+1))
	}
	s.Sentinel = s.Sentinels[0]
	for _, one := range s.Sentinels {
		await(t, "a sentinel", func(ctx context.Context) error { return s.watched(ctx, one) })
	}
	t.Cleanup(s.close)
	return s
}

// watch starts a sentinel.
func (s *SentinelServer) watch(host, port string, quorum int) *Server {
	s.t.Helper()
	dir := s.t.TempDir()
	conf := filepath.Join(dir, "sentinel.conf")
	return launch(s.t, dir, nil, func(own int) []string {
		// A sentinel writes its state into its file, so each try needs a new file.
		text := fmt.Sprintf("port %[1]d\nbind 127.0.0.1\ndir %[2]q\n"+
			"sentinel monitor %[3]s %[4]s %[5]s %[6]d\n"+
			"sentinel down-after-milliseconds %[3]s 500\n"+
			"sentinel failover-timeout %[3]s 2000\n",
			own, dir, s.Master, host, port, quorum)
		must(s.t, os.WriteFile(conf, []byte(text), 0o600))
		return []string{conf, "--sentinel"}
	})
}

// watched returns nil if a sentinel knows all others, and a replica that can take over.
func (s *SentinelServer) watched(ctx context.Context, sentinel *Server) error {
	return s.asking(sentinel, func(client *redis.SentinelClient) error {
		primary, err := client.Master(ctx, s.Master).Result()
		if err != nil {
			return err
		}
		if others := strconv.Itoa(len(s.Sentinels) - 1); primary["num-other-sentinels"] != others {
			return fmt.Errorf("it knows %s of %s others", primary["num-other-sentinels"], others)
		}
		replicas, err := client.Replicas(ctx, s.Master).Result()
		if err != nil {
			return err
		}
		for _, r := range replicas {
			if net.JoinHostPort(r["ip"], r["port"]) == s.Replica.Addr &&
				r["flags"] == "slave" && r["master-link-status"] == "ok" {
				return nil
			}
		}
		if len(replicas) == 0 {
			return errors.New("it knows no replica")
		}
		return fmt.Errorf("it knows a replica with flags %s", strings.ToValidUTF8(replicas[0]["flags"], "?"))
	})
}

// AwaitFailover waits until the replica is the primary, and all running sentinels report
// it.
func (s *SentinelServer) AwaitFailover() {
	s.t.Helper()
	await(s.t, "the new primary", func(ctx context.Context) error {
		info, err := s.Replica.Client().Info(ctx, "replication").Result()
		if err != nil {
			return err
		}
		if role := infoField(info, "role"); role != "master" {
			return errors.New("the replica is still a replica")
		}
		for _, sentinel := range s.Sentinels {
			if !sentinel.alive() {
				continue
			}
			err := s.asking(sentinel, func(client *redis.SentinelClient) error {
				addr, err := client.GetMasterAddrByName(ctx, s.Master).Result()
				if err == nil && strings.Join(addr, ":") != s.Replica.Addr {
					err = errors.New("a sentinel names the old one")
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *SentinelServer) asking(sentinel *Server, ask func(*redis.SentinelClient) error) error {
	client := redis.NewSentinelClient(sentinel.Options())
	defer func() { _ = client.Close() }()
	return ask(client)
}

// Client returns a client that finds the primary by the sentinels, the same at each call.
// It is closed when the test ends.
func (s *SentinelServer) Client() *redis.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		s.client = redis.NewFailoverClient(s.Options())
	}
	return s.client
}

// Options returns the options of Client, for clients with settings of their own.
func (s *SentinelServer) Options() *redis.FailoverOptions {
	o := &redis.FailoverOptions{
		MasterName: s.Master, DisableIdentity: true, ContextTimeoutEnabled: true,
	}
	for _, sentinel := range s.Sentinels {
		o.SentinelAddrs = append(o.SentinelAddrs, sentinel.Addr)
	}
	return o
}

func (s *SentinelServer) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		_ = s.client.Close()
	}
}
