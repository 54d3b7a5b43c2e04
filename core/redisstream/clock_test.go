package redisstream

import (
	"context"
	_ "embed"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/internal/lease"
	"github.com/streamlimit/streamlimit/core/store"
	"github.com/streamlimit/streamlimit/core/storetest"
)

//go:embed testdata/clock.lua
var clockSource string

// clockHook makes a real server run the real scripts by a test's clock.
type clockHook struct {
	clock   *storetest.Clock
	scripts map[string]*script // the script with the clock, by its digest without
}

func newClockHook(clock *storetest.Clock) clockHook {
	h := clockHook{clock: clock, scripts: make(map[string]*script)}
	for _, sc := range []*script{counted, summed, refunded, calendar, slotScript, renewScript, together, many, changed, togetherChanged, manyChanged} {
		_, source, _ := strings.Cut(sc.source, "\n") // without the first line
		h.scripts[sc.sha.(string)] = newScript(clockSource + source)
	}
	return h
}

func (h clockHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if t, ok := cmd.(*redis.TimeCmd); ok {
			t.SetVal(h.clock.Now())
			return nil
		}
		if entries, ok := cmd.(*redis.StringSliceCmd); ok && cmd.Args()[1] == entriesSource {
			args := entries.Args()
			_, source, _ := strings.Cut(entriesSource, "\n")
			ruled := redis.NewStringSliceCmd(ctx, append([]any{"eval", clockSource + source}, append(args[2:], h.clock.Now().UnixMilli())...)...)
			err := next(ctx, ruled)
			entries.SetVal(ruled.Val())
			entries.SetErr(err)
			return err
		}
		decision, ok := cmd.(once)
		if !ok {
			return next(ctx, cmd)
		}
		args := decision.Args()
		sc, ok := h.scripts[args[1].(string)]
		if !ok { // rules end by the clock on the wall
			return next(ctx, cmd)
		}
		send := func(name, script string) (once, error) {
			all := append([]any{name, script}, args[2:]...)
			ruled := once{redis.NewIntSliceCmd(ctx, append(all, h.clock.Now().UnixMilli())...)}
			return ruled, next(ctx, ruled)
		}
		ruled, err := send("evalsha", sc.sha.(string))
		if redis.HasErrorPrefix(err, "NOSCRIPT") {
			ruled, err = send("eval", sc.source)
		}
		decision.SetVal(ruled.Val())
		decision.SetErr(err)
		return err
	}
}

func (clockHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (clockHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// processClock is the clock of the process beside a server's. It never steps
// back; where the server's does, the cache is cleared, since how
// long it stays true is not tested then.
func processClock(s *Store, server *storetest.Clock) func() time.Time {
	var last atomic.Int64
	return func() time.Time {
		now := server.Now()
		if last.Swap(now.UnixMilli()) > now.UnixMilli() {
			s.cache.forgetAll()
		}
		return now
	}
}

// harness runs the suite of package storetest on a server or cluster.
func harness(connect func() redis.UniversalClient) storetest.Harness {
	clocks := make(map[store.Store]*storetest.Clock)
	newStore := func(t testing.TB) *Store {
		rdb := connect()
		t.Cleanup(func() { rdb.Close() })
		// Tests share two processors with the race detector: wait longer.
		return New(rdb, patient, WithPrefix(t.Name()+":"))
	}
	return storetest.Harness{
		New: func(t testing.TB, clock *storetest.Clock) core.Store {
			s := newStore(t)
			s.transport.rdb.AddHook(newClockHook(clock))
			s.cache.now = processClock(s, clock)
			s.leases.table.Now = func() lease.Moment {
				now := time.Duration(clock.Now().UnixNano())
				return lease.Moment{Mono: now, Wall: now}
			}
			clocks[s] = clock
			return s
		},
		NewReal: func(t testing.TB) core.Store { return newStore(t) },
		TimeToLive: func(t testing.TB, store core.Store, p *store.Log, key string) time.Duration {
			s := store.(*Store)
			log := s.logKey(p, key)
			expiry, err := s.transport.rdb.Get(context.Background(), log+":expiry").Int64()
			if err == redis.Nil || err == nil && s.transport.rdb.Exists(context.Background(), log).Val() == 0 {
				return 0
			}
			if err != nil {
				t.Fatal(err)
			}
			return time.Duration(expiry-clocks[s].Now().UnixMilli()) * time.Millisecond
		},
	}
}
