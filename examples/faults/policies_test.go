package faults

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// patience is the timeout of stores in rows that do not test timeouts.
const patience = time.Minute

// layouts has a policy of each layout with the same limit, each with a log of its
// own. There is no coarse one for a window that is too short.
func layouts(name string, limit core.Limit) []*core.Policy {
	policies := []*core.Policy{
		core.NewPolicy(name+"-counted", limit),
		core.NewPolicy(name+"-summed", limit, core.VariableCost()),
		core.NewPolicy(name+"-refunded", limit, core.VariableCost(), core.Refundable(0)),
	}
	const slices = 4
	if limit.Window >= slices*time.Millisecond {
		policies = append(policies, core.NewPolicy(name+"-coarse", limit, core.VariableCost(), core.Coarse(slices)))
	}
	return policies
}

// connect returns a store on a client of its own.
func connect(t testing.TB, server *redistest.Server, options ...redisstream.Option) *redisstream.Store {
	t.Helper()
	rdb := patient(server.Options())
	t.Cleanup(func() { rdb.Close() })
	return redisstream.New(rdb, append([]redisstream.Option{redisstream.WithTimeout(patience)}, options...)...)
}

// patient returns a client that waits for a busy machine.
func patient(o *redis.Options) *redis.Client {
	o.PoolSize, o.PoolTimeout, o.DialTimeout = 64, patience, patience
	o.ReadTimeout, o.WriteTimeout = patience, patience
	o.ContextTimeoutEnabled = true
	return redis.NewClient(o)
}

// bothStores runs a test on memory and on Redis, each with a limiter.
func bothStores(t *testing.T, test func(t *testing.T, l *core.Limiter)) {
	t.Helper()
	server := redistest.Start(t)
	for name, store := range map[string]core.Store{"memory": core.NewMemory(), "redis": connect(t, server)} {
		l := core.New(store, core.WithFailureMode(core.FailClosed))
		t.Cleanup(func() { l.Close() })
		t.Run(name, func(t *testing.T) { test(t, l) })
	}
}
