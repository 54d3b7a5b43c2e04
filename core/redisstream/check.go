package redisstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/internal/warning"
)

// The codes of warnings, which core/WARNINGS.md explains.
const (
	warnEviction = "STREAMLIMIT_W004"
	warnOldRedis = "STREAMLIMIT_W005"
	warnPartly   = "STREAMLIMIT_W011"
	warnOneNode  = "STREAMLIMIT_W014"
)

// oldestRedis is the first version that has what the scripts need.
const oldestRedis = 7

// checkTimeout is how long a check may take, which nobody waits for.
const checkTimeout = 10 * time.Second

// check looks once at how the servers are set up, in the background, when they
// have answered for the first time.
type check struct {
	begun   atomic.Bool // or ended before that
	mu      sync.Mutex
	stop    context.CancelFunc // nil until it has begun
	running sync.WaitGroup
}

// beginCheck starts the check, unless it was started before or the store is
// closed.
func (s *Store) beginCheck() {
	c := &s.check
	if c.begun.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begun.Swap(true) {
		return
	}
	ctx, stop := context.WithTimeout(context.Background(), checkTimeout)
	c.stop = stop
	c.running.Go(func() {
		defer stop()
		s.checkTopology(ctx)
		s.checkServers(ctx)
	})
}

// endCheck stops the check and waits for it. None begins after that.
func (s *Store) endCheck() {
	c := &s.check
	c.mu.Lock()
	c.begun.Store(true)
	if c.stop != nil {
		c.stop()
	}
	c.mu.Unlock()
	c.running.Wait()
}

// setup is what is to be known of a server.
type setup struct {
	address   string
	version   string
	eviction  string // maxmemory-policy
	maxMemory string // "0" for no limit
	oneNode   bool   // the nodes of streams have no bound
}

// checkTopology asks which logs one script may use, and warns of a Cluster that the
// client can't find its way in.
func (s *Store) checkTopology(ctx context.Context) {
	if s.batcher.topology.ask(ctx) == nil && s.batcher.topology.partly() {
		warning.Log(s.logger, warnPartly, "the server is one of a Cluster, and other keys are on other servers; use a client for a Cluster, "+
			"by redis+cluster://host:port or redis.NewClusterClient")
	}
}

// checkServers warns of servers that can't keep the logs.
func (s *Store) checkServers(ctx context.Context) {
	// The client may not obey ctx, and ends by timeouts of its own then.
	found := make(chan []setup, 1)
	go func() { found <- s.setups(ctx) }()
	var setups []setup
	select {
	case setups = <-found:
	case <-ctx.Done():
		return
	}
	slices.SortFunc(setups, func(a, b setup) int { return strings.Compare(a.address, b.address) })
	var old, evicting, unbounded []string
	var version, eviction string
	for _, one := range setups {
		if one.old() {
			old, version = append(old, one.address), one.version
		}
		if one.evicts() {
			evicting, eviction = append(evicting, one.address), one.eviction
		}
		if one.oneNode {
			unbounded = append(unbounded, one.address)
		}
	}
	if old != nil {
		warning.Log(s.logger, warnOldRedis, fmt.Sprintf("Redis %d.0 or later is needed, or Valkey", oldestRedis),
			"servers", old, "version", version)
	}
	if evicting != nil {
		warning.Log(s.logger, warnEviction, "Redis may evict logs and rules when its memory is full, and forget what was counted; set maxmemory-policy to noeviction",
			"servers", evicting, "maxmemory-policy", eviction)
	}
	if unbounded != nil {
		warning.Log(s.logger, warnOneNode, "a log of a busy key grows without end, since stream-node-max-entries and stream-node-max-bytes are 0; set one of them, usually to 100 and 4096",
			"servers", unbounded)
	}
}

// setups asks each server that decides. One that does not tell is left out, such
// as by an ACL without INFO.
func (s *Store) setups(ctx context.Context) (all []setup) {
	var mu sync.Mutex
	ask := func(ctx context.Context, address string, process func(context.Context, redis.Cmder) error) {
		info := redis.NewStringCmd(ctx, "info")
		if process(ctx, info) != nil {
			return
		}
		one := parseInfo(address, info.Val())
		one.oneNode = oneNode(ctx, process)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, one)
	}
	each := func(ctx context.Context, server *redis.Client) error {
		ask(ctx, server.Options().Addr, server.Process)
		return nil
	}
	switch rdb := s.transport.rdb.(type) {
	case *redis.ClusterClient:
		_ = rdb.ForEachMaster(ctx, each)
	case *redis.Ring:
		_ = rdb.ForEachShard(ctx, each)
	default:
		address := ""
		if c, ok := rdb.(*redis.Client); ok {
			address = c.Options().Addr
		}
		// Not to take a connection from decisions.
		ask(ctx, address, func(ctx context.Context, cmd redis.Cmder) error {
			return s.batcher.command(ctx, s.prefix+rulesSuffix, cmd)
		})
	}
	return all
}

// parseInfo reads a reply to INFO. What it does not say stays "".
func parseInfo(address, info string) setup {
	one := setup{address: address}
	fields := map[string]*string{"redis_version": &one.version, "maxmemory_policy": &one.eviction, "maxmemory": &one.maxMemory}
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if field, ok := fields[name]; ok {
			*field = value
		}
	}
	return one
}

// mayReadConfig asks whether the user may read the configuration. To try it would add
// an entry to ACL LOG where the user may not.
const mayReadConfig = "#!lua flags=no-writes\nreturn redis.acl_check_cmd('CONFIG', 'GET', 'stream-node-max-*') and 1 or 0"

// oneNode reports whether the server keeps each stream in one node, however long.
// Then trimming frees no memory. It is false where the server does not tell.
func oneNode(ctx context.Context, process func(context.Context, redis.Cmder) error) bool {
	may := redis.NewIntCmd(ctx, "eval", mayReadConfig, 0)
	if process(ctx, may) != nil || may.Val() != 1 {
		return false
	}
	bounds := redis.NewMapStringStringCmd(ctx, "config", "get", "stream-node-max-*")
	return process(ctx, bounds) == nil && bounds.Val()["stream-node-max-entries"] == "0" && bounds.Val()["stream-node-max-bytes"] == "0"
}

// old reports whether the server lacks what the scripts need. Valkey reports the
// version of Redis that it is compatible with.
func (s setup) old() bool {
	text, _, _ := strings.Cut(s.version, ".")
	major, err := strconv.Atoi(text)
	return err == nil && major < oldestRedis
}

// evicts reports whether the server drops keys when its memory is full: each policy
// but noeviction may drop logs, which have a time to live. Without a limit it
// never does.
func (s setup) evicts() bool {
	return s.eviction != "" && s.eviction != "noeviction" && s.maxMemory != "" && s.maxMemory != "0"
}

// answered reports whether a server has answered a command, if only with an
// error. One that refuses the connection has not.
func answered(err error) bool {
	if err == nil {
		return true
	}
	var reply redis.Error
	if !errors.As(err, &reply) {
		return false
	}
	_, refused := setupError(err)
	return !refused
}
