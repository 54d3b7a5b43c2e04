package redisstream

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/storetest"
)

// The nodes of a Cluster or Ring have clocks of their own: a log's entries leave by that
// of its own node, whichever node the client asks for other things.
func TestEntriesLeaveByTheClockOfTheirNode(t *testing.T) {
	for name, connect := range map[string]func(onNewNode func(*redis.Client)) redis.UniversalClient{
		"Cluster": func(onNewNode func(*redis.Client)) redis.UniversalClient {
			o := redistest.Cluster(t, 3).Options()
			rdb := redis.NewClusterClient(o)
			rdb.OnNewNode(onNewNode)
			return rdb
		},
		"Ring": func(onNewNode func(*redis.Client)) redis.UniversalClient {
			addrs := map[string]string{"a": redistest.Start(t).Addr, "b": redistest.Start(t).Addr}
			return redis.NewRing(&redis.RingOptions{Addrs: addrs, NewClient: func(o *redis.Options) *redis.Client {
				node := redis.NewClient(o)
				onNewNode(node)
				return node
			}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			clocks := make(map[string]*storetest.Clock)
			rdb := connect(func(node *redis.Client) {
				mu.Lock()
				defer mu.Unlock()
				clock, known := clocks[node.Options().Addr]
				if !known {
					clock = &storetest.Clock{}
					clock.Advance(time.Since(time.Unix(0, 0)) + time.Duration(len(clocks))*4*time.Second)
					clocks[node.Options().Addr] = clock
				}
				node.AddHook(newClockHook(clock))
			})
			defer rdb.Close()
			s := New(rdb, WithTimeout(10*time.Second))
			p := newLog("p", core.Per(5, 2*time.Second))
			const keys = 20
			key := func(i int) string { return fmt.Sprint("key-", i) }
			for i := range keys {
				take(t, s, p, key(i))
			}
			for _, want := range []int{1, 1, 0} { // after 0, 1 and 2 seconds
				for i := range keys {
					entries, err := s.Entries(t.Context(), p, key(i), 10)
					if err != nil || len(entries) != want {
						t.Errorf("%s: entries %v, %v, want %d", key(i), entries, err, want)
					}
				}
				mu.Lock()
				for _, clock := range clocks {
					clock.Advance(time.Second)
				}
				mu.Unlock()
			}
			if len(clocks) < 2 {
				t.Errorf("%d clocks, want several", len(clocks))
			}
		})
	}
}
