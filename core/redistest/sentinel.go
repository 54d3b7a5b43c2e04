package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

// SentinelServer is a primary with one replica, watched by one sentinel, which
// makes the replica the primary when the primary has been gone for half a
// second.
type SentinelServer struct {
	Master   string // the name under which the sentinel knows the primary
	Primary  *Server
	Replica  *Server
	Sentinel *Server

	mu     sync.Mutex
	client *redis.Client
}

// Sentinel starts the three, and waits until the replica is in sync and the
// sentinel knows it: from then on it can take over. Arguments are for the
// primary and the replica, as in [Start].
func Sentinel(t testing.TB, args ...string) *SentinelServer {
	t.Helper()
	s := &SentinelServer{Master: "limits", Primary: Start(t, args...)}
	host, port, err := net.SplitHostPort(s.Primary.Addr)
	must(t, err)
	// Without the delay a replica's data follows at once instead of after the
	// 5 s in which a busy primary waits for more replicas.
	must(t, s.Primary.Client().ConfigSet(context.Background(), "repl-diskless-sync-delay", "0").Err())
	s.Replica = Start(t, append([]string{"--replicaof", host + " " + port}, args...)...)
	await(t, "the replica", s.inSync)

	dir := t.TempDir()
	conf := filepath.Join(dir, "sentinel.conf")
	s.Sentinel = launch(t, dir, func(own int) []string {
		// A sentinel writes what it learns into its file: each try needs a new one.
		text := fmt.Sprintf("port %[1]d\nbind 127.0.0.1\ndir %[2]q\n"+
			"sentinel monitor %[3]s %[4]s %[5]s 1\n"+
			"sentinel down-after-milliseconds %[3]s 500\n"+
			"sentinel failover-timeout %[3]s 2000\n",
			own, dir, s.Master, host, port)
		must(t, os.WriteFile(conf, []byte(text), 0o600))
		return []string{conf, "--sentinel"}
	})
	await(t, "the sentinel", s.watched)
	t.Cleanup(s.close)
	return s
}

// inSync is nil when the replica has the primary's data.
func (s *SentinelServer) inSync(ctx context.Context) error {
	info, err := s.Replica.Client().Info(ctx, "replication").Result()
	if err != nil {
		return err
	}
	if status := infoField(info, "master_link_status"); status != "up" {
		return fmt.Errorf("master_link_status:%s", status)
	}
	return nil
}

// watched is nil when the sentinel knows a replica that is fit to take over.
func (s *SentinelServer) watched(ctx context.Context) error {
	sentinel := redis.NewSentinelClient(s.Sentinel.Options())
	defer func() { _ = sentinel.Close() }()
	replicas, err := sentinel.Replicas(ctx, s.Master).Result()
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
}

// Client is a client that asks the sentinel for the primary, the same at each
// call, closed when the test ends.
func (s *SentinelServer) Client() *redis.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		s.client = redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: s.Master, SentinelAddrs: []string{s.Sentinel.Addr},
			DisableIdentity: true, ContextTimeoutEnabled: true,
		})
	}
	return s.client
}

func (s *SentinelServer) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		_ = s.client.Close()
	}
}
