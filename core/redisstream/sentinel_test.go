package redisstream

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/redistest"
)

// A primary dies under load and three sentinels make its replica the primary.
func TestSentinelFailoverUnderLoad(t *testing.T) {
	topology := redistest.Sentinels(t, 3)
	o := topology.Options()
	o.DialerRetries = 1 // as with Open
	rdb := redis.NewFailoverClient(o)
	t.Cleanup(func() { rdb.Close() })
	s := New(rdb, patient)
	l := startLoad(t, s, 6, loadPolicies(1500)[2])
	f := &failover{load: l, primary: topology.Primary, replica: topology.Replica}
	l.awaitAll(t, "load", func(a *account) bool { return len(a.admitted) > 50 })
	f.kill(t)
	topology.AwaitFailover()
	taken := time.Since(f.killed)
	f.check(t, s, l.accounts)
	t.Logf("figure: taken=%v back=%v lost=%d admitted=%d", taken, f.back(l.accounts), f.lost, f.admitted)
}
