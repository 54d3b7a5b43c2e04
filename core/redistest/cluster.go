package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// slots is the number of hash slots of a cluster.
const slots = 16384

// ClusterServer is a running Redis Cluster.
type ClusterServer struct {
	Nodes    []*Server   // the primaries at the start; the slots are distributed evenly, in order
	Replicas [][]*Server // of each of Nodes; none by default

	t      testing.TB
	byID   map[string]*Server // all nodes, by their names in the cluster
	mu     sync.Mutex
	client *redis.ClusterClient
}

// ClusterOption is a setting for [Cluster].
type ClusterOption func(*clusterSettings)

type clusterSettings struct {
	replicas int
	args     []string
}

// WithReplicas adds n replicas to each primary. One of them takes over within seconds
// after the primary fails.
func WithReplicas(n int) ClusterOption {
	return func(s *clusterSettings) { s.replicas = n }
}

// WithArgs starts all nodes with further arguments, as [Start] does.
func WithArgs(args ...string) ClusterOption {
	return func(s *clusterSettings) { s.args = args }
}

// Cluster starts a cluster of that many primaries. It waits until every node sees the
// whole cluster (cluster_state:ok). Three is the usual number: a smaller cluster has no
// majority after the loss of one.
func Cluster(t testing.TB, primaries int, options ...ClusterOption) *ClusterServer {
	t.Helper()
	var set clusterSettings
	for _, o := range options {
		o(&set)
	}
	if primaries < 1 || primaries > 100 {
		t.Fatalf("redistest: a cluster of %d primaries: use 1 to 100, usually 3", primaries)
	}
	c := &ClusterServer{t: t, Nodes: make([]*Server, primaries), Replicas: make([][]*Server, primaries), byID: make(map[string]*Server)}
	busPorts := make(map[*Server]int)
	node := func() *Server {
		dir, busPort := t.TempDir(), 0
		s := launch(t, dir, nil, func(port int) []string {
			busPort = freePort(t)
			return append([]string{
				"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir,
				"--save", "", "--appendonly", "no",
				// Replicas are in sync soon, and the nodes know it soon.
				"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",
				"--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(busPort),
				"--cluster-node-timeout", "2000",
			}, set.args...)
		})
		busPorts[s] = busPort
		return s
	}
	for i := range c.Nodes {
		c.Nodes[i] = node()
		for range set.replicas {
			c.Replicas[i] = append(c.Replicas[i], node())
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for _, node := range c.all() {
		c.byID[node.nodeID(ctx)] = node
	}
	for i, node := range c.Nodes {
		// Different epochs from the start save the nodes from settling them.
		must(t, node.Client().Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err())
		must(t, node.Client().ClusterAddSlotsRange(ctx, slots*i/primaries, slots*(i+1)/primaries-1).Err())
	}
	for _, node := range c.all()[1:] {
		host, port, err := net.SplitHostPort(node.Addr)
		must(t, err)
		must(t, c.Nodes[0].Client().Do(ctx, "CLUSTER", "MEET", host, port, busPorts[node]).Err())
	}
	for i, replicas := range c.Replicas {
		for _, replica := range replicas {
			await(t, "a replica", func(ctx context.Context) error {
				return replica.Client().ClusterReplicate(ctx, c.Nodes[i].nodeID(ctx)).Err()
			})
		}
	}
	for _, node := range c.all() {
		await(t, "the cluster", func(ctx context.Context) error { return c.complete(ctx, node) })
	}
	if set.replicas == 0 {
		// Without replicas no node takes over, so a node that a busy machine delays
		// should not count as failed soon. The short timeout was needed while the nodes
		// found each other.
		for _, node := range c.Nodes {
			must(t, node.Client().ConfigSet(context.Background(), "cluster-node-timeout", "15000").Err())
		}
	}
	t.Cleanup(c.close)
	return c
}

// all returns the nodes, primaries first.
func (c *ClusterServer) all() []*Server {
	return append(slices.Clone(c.Nodes), slices.Concat(c.Replicas...)...)
}

// complete returns nil if the node knows all nodes and all owners of slots, and is in
// sync if it is a replica.
func (c *ClusterServer) complete(ctx context.Context, node *Server) error {
	if err := stateOK(ctx, node); err != nil {
		return err
	}
	shards, err := node.Client().ClusterShards(ctx).Result()
	if err != nil {
		return err
	}
	known := 0
	for _, shard := range shards {
		for _, n := range shard.Nodes {
			if n.Health == "online" {
				known++
			}
		}
	}
	if len(shards) != len(c.Nodes) || known != len(c.all()) {
		return fmt.Errorf("%s: knows %d shards and %d nodes online, want %d and %d", node.Addr, len(shards), known, len(c.Nodes), len(c.all()))
	}
	return node.inSync(ctx)
}

func stateOK(ctx context.Context, node *Server) error {
	info, err := node.Client().ClusterInfo(ctx).Result()
	if err != nil {
		return err
	}
	if state := infoField(info, "cluster_state"); state != "ok" {
		return fmt.Errorf("%s: cluster_state:%s", node.Addr, state)
	}
	return nil
}

// nodeID returns a server's name in the cluster.
func (s *Server) nodeID(ctx context.Context) string {
	id, _ := s.Client().Do(ctx, "CLUSTER", "MYID").Text()
	return id
}

// Addrs returns the addresses of the nodes, primaries first.
func (c *ClusterServer) Addrs() []string {
	var addrs []string
	for _, node := range c.all() {
		addrs = append(addrs, node.Addr)
	}
	return addrs
}

// Slot returns the hash slot of a key.
func (c *ClusterServer) Slot(key string) int {
	c.t.Helper()
	slot, err := c.Client().ClusterKeySlot(context.Background(), key).Result()
	must(c.t, err)
	return int(slot)
}

// Owner returns the primary of a slot. It waits until all running nodes agree.
func (c *ClusterServer) Owner(slot int) *Server {
	c.t.Helper()
	return c.awaitOwner("the owner of a slot", slot, func(*Server) bool { return true })
}

// awaitOwner waits until all running nodes name the same primary of a slot, and ok
// accepts that primary.
func (c *ClusterServer) awaitOwner(what string, slot int, will func(*Server) bool) *Server {
	c.t.Helper()
	var owner *Server
	await(c.t, what, func(ctx context.Context) (err error) {
		if owner, err = c.owner(ctx, slot); err == nil && !will(owner) {
			err = fmt.Errorf("all nodes say that %s has slot %d", owner.Addr, slot)
		}
		return err
	})
	return owner
}

// owner returns the primary of a slot, or an error unless all running nodes agree. A node
// that does not know a move yet sends clients to the wrong node. It could also take part
// in the next move with an outdated epoch.
//
// CLUSTER SLOTS names the one primary that the node sends clients to. In newer servers
// CLUSTER SHARDS also names a dead primary next to its successor.
func (c *ClusterServer) owner(ctx context.Context, slot int) (*Server, error) {
	var owner *Server
	for _, node := range c.all() {
		if !node.alive() {
			continue
		}
		ranges, err := node.Client().ClusterSlots(ctx).Result() //nolint:staticcheck // not deprecated for this: see above
		if err != nil {
			return nil, fmt.Errorf("%s: %w", node.Addr, err)
		}
		i := slices.IndexFunc(ranges, func(r redis.ClusterSlot) bool { return r.Start <= slot && slot <= r.End })
		if i < 0 || len(ranges[i].Nodes) == 0 || c.byID[ranges[i].Nodes[0].ID] == nil {
			return nil, fmt.Errorf("%s: it knows no owner of slot %d", node.Addr, slot)
		}
		named := c.byID[ranges[i].Nodes[0].ID]
		if owner != nil && named != owner {
			return nil, fmt.Errorf("%s: it says that %s has slot %d, and others say %s", node.Addr, named.Addr, slot, owner.Addr)
		}
		owner = named
	}
	if owner == nil {
		return nil, errors.New("no node is running")
	}
	return owner, nil
}

// AwaitTakeover waits until a replica has taken over the slots of a killed primary, and
// all running nodes know it. It returns the new primary.
func (c *ClusterServer) AwaitTakeover(killed *Server) *Server {
	c.t.Helper()
	i := slices.Index(c.Nodes, killed)
	if i < 0 || len(c.Replicas[i]) == 0 {
		c.t.Fatalf("redistest: %s is not a primary with replicas", killed.Addr)
	}
	heir := c.awaitOwner("the new primary", slots*i/len(c.Nodes), func(owner *Server) bool { return owner != killed })
	for _, node := range c.all() {
		if node.alive() {
			await(c.t, "the cluster", func(ctx context.Context) error { return stateOK(ctx, node) })
		}
	}
	return heir
}

// Client returns a client of the cluster, the same at each call. It is closed when the
// test ends.
func (c *ClusterServer) Client() *redis.ClusterClient {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client == nil {
		c.client = redis.NewClusterClient(c.Options())
	}
	return c.client
}

// Options returns the options of Client, for clients with settings of their own.
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

// await calls done until it returns nil, for at most startTimeout.
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
