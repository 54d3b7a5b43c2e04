package faults

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// patience is the timeout of stores in rows that are not about timeouts.
const patience = time.Minute

// layouts has a policy of each layout with the same limit.
func layouts(limit core.Limit) []*core.Policy {
	return []*core.Policy{
		core.NewPolicy("counted", limit),
		core.NewPolicy("summed", limit, core.VariableCost()),
		core.NewPolicy("refunded", limit, core.VariableCost(), core.Refundable(0)),
		core.NewPolicy("coarse", limit, core.VariableCost(), core.Slices(4)),
	}
}

// connect is a store on a client of its own.
func connect(t testing.TB, server *redistest.Server, options ...redisstream.Option) *redisstream.Store {
	t.Helper()
	rdb := patient(server.Options())
	t.Cleanup(func() { rdb.Close() })
	return redisstream.New(rdb, append([]redisstream.Option{redisstream.WithTimeout(patience)}, options...)...)
}

// patient is a client that waits for a busy machine.
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
