package redisstream

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
	"github.com/streamlimit/streamlimit/core/storetest"
)

func TestConformance(t *testing.T) {
	server := redistest.Start(t)
	storetest.Run(t, harness(func() redis.UniversalClient { return redis.NewClient(server.Options()) }))
}

func TestConformanceCluster(t *testing.T) {
	cluster := redistest.Cluster(t, 3)
	h := harness(func() redis.UniversalClient {
		return redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs()})
	})
	h.Apart = true
	storetest.Run(t, h)
}

// newLog returns the log of a policy.
func newLog(name string, options ...core.PolicyOption) *store.Log {
	return core.NewPolicy(name, options...).Log()
}
