//go:build !race

// The race detector makes these tests ten times slower, and so measures something else.
// make test runs them without it, and runs nothing else at the same time.

package faults

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// Idle connections that a NAT or a load balancer has dropped fail at most one request,
// whose decision was in flight.
func TestRow33_IdleConnectionsReset(t *testing.T) {
	r := row(t, 33)
	server := redistest.Start(t)
	const rounds, callers = 20, 100
	policies := layouts("idle", core.PerHour(1_000_000))
	for _, obeys := range []bool{true, false} {
		proxy := redistest.NewProxy(t, server.Addr)
		rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr, ContextTimeoutEnabled: obeys})
		t.Cleanup(func() { rdb.Close() })
		l := core.New(redisstream.New(rdb))
		t.Cleanup(func() { l.Close() })
		var all tally
		worst := int64(0)
		for round := range rounds {
			var c tally
			atOnce(callers, func(i int) {
				key, p := fmt.Sprint("k", i%10), policies[i%len(policies)]
				switch i % 10 {
				case 0:
					c.decide(func() (core.Decision, error) { return l.Peek(t.Context(), p, key) })
				case 1:
					c.decide(func() (core.Decision, error) {
						both, err := l.AllowAll(t.Context(), core.Charge{Policy: policies[0], Key: key}, core.Charge{Policy: policies[1], Key: key})
						if err != nil {
							return core.Decision{}, err
						}
						return both[0], nil
					})
				default:
					c.allow(t.Context(), l, p, key)
				}
			})
			if c.fallback.Load() > 1 || c.overloaded.Load()+c.failed.Load()+c.denied.Load() > 0 || l.Health().Down != nil {
				t.Errorf("ContextTimeoutEnabled %v, round %d: %v; want all by Redis but one", obeys, round, &c)
			}
			worst = max(worst, c.fallback.Load())
			all.plus(&c)
			proxy.Reset()
		}
		r.Figure("ContextTimeoutEnabled %v: %d of %d by fallback, at most %d a round of %d, slowest %v",
			obeys, all.fallback.Load(), all.all(), worst, callers, ms(all.took.of(1)))
	}
}
