package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// slots is how many hash slots a cluster has.
const slots = 16384

// ClusterServer is a running Redis Cluster.
type ClusterServer struct {
	Nodes []*Server // its primaries; the slots are shared out evenly, in order

	mu     sync.Mutex
	client *redis.ClusterClient
}

// Cluster starts a cluster of that many primaries without replicas, and waits
// until all of them see all of it (cluster_state:ok). Three are the usual
// number: a smaller cluster has no majority once one is gone.
func Cluster(t testing.TB, primaries int) *ClusterServer {
	t.Helper()
	if primaries < 1 || primaries > 100 {
		t.Fatalf("redistest: a cluster of %d primaries: use 1 to 100, usually 3", primaries)
	}
	c := &ClusterServer{Nodes: make([]*Server, primaries)}
	busPorts := make([]int, primaries)
	for i := range c.Nodes {
		dir := t.TempDir()
		c.Nodes[i] = launch(t, dir, func(port int) []string {
			busPorts[i] = freePort(t)
			return []string{
				"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir,
				"--save", "", "--appendonly", "no",
				"--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(busPorts[i]),
				"--cluster-node-timeout", "2000",
			}
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for i, node := range c.Nodes {
		// Different epochs from the start spare the nodes from settling them.
		must(t, node.Client().Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err())
		must(t, node.Client().ClusterAddSlotsRange(ctx, slots*i/primaries, slots*(i+1)/primaries-1).Err())
	}
	for i, node := range c.Nodes[1:] {
		host, port, err := net.SplitHostPort(node.Addr)
		must(t, err)
		must(t, c.Nodes[0].Client().Do(ctx, "CLUSTER", "MEET", host, port, busPorts[i+1]).Err())
	}
	for _, node := range c.Nodes {
		await(t, "the cluster", func(ctx context.Context) error { return c.complete(ctx, node) })
	}
	t.Cleanup(c.close)
	return c
}

// complete is nil when the node knows all nodes and who has which slots.
func (c *ClusterServer) complete(ctx context.Context, node *Server) error {
	info, err := node.Client().ClusterInfo(ctx).Result()
	if err != nil {
		return err
	}
	if state := infoField(info, "cluster_state"); state != "ok" {
		return fmt.Errorf("%s: cluster_state:%s", node.Addr, state)
	}
	shards, err := node.Client().ClusterShards(ctx).Result()
	if err != nil {
		return err
	}
	if len(shards) != len(c.Nodes) {
		return fmt.Errorf("%s: knows %d of %d nodes", node.Addr, len(shards), len(c.Nodes))
	}
	return nil
}

// Addrs are the addresses of the nodes.
func (c *ClusterServer) Addrs() []string {
	addrs := make([]string, len(c.Nodes))
	for i, node := range c.Nodes {
		addrs[i] = node.Addr
	}
	return addrs
}

// Client is a client of the cluster, the same at each call, closed when the
// test ends.
func (c *ClusterServer) Client() *redis.ClusterClient {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client == nil {
		c.client = redis.NewClusterClient(c.Options())
	}
	return c.client
}

// Options are those of Client, for clients with settings of their own.
func (c *ClusterServer) Options() *redis.ClusterOptions {
	return &redis.ClusterOptions{
		Addrs: c.Addrs(), DisableIdentity: true, ContextTimeoutEnabled: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

func (c *ClusterServer) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client != nil {
		_ = c.client.Close()
	}
}

// await tries until done is nil, for at most startTimeout.
func await(t testing.TB, what string, done func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	err := errors.New("not tried")
	for ctx.Err() == nil {
		if err = done(ctx); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("redistest: %s is not ready within %v: %v", what, startTimeout, err)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
}
