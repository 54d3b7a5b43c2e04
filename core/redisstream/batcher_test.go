package redisstream

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
	"github.com/streamlimit/streamlimit/core/storetest"
)

// Decisions that share a round trip are the same as one after the other.
func TestTogetherAsAlone(t *testing.T) {
	server := redistest.Start(t)
	h := harness(func() redis.UniversalClient { return redis.NewClient(server.Options()) })
	clock := &storetest.Clock{}
	clock.Advance(time.Duration(time.Now().UnixMilli()) * time.Millisecond)
	s := h.New(t, clock).(*Store)
	policies := []*store.Log{
		newLog("counted", core.Per(5, 20*time.Millisecond)),
		newLog("counted2", core.Per(3, 7*time.Millisecond)),
		newLog("limits", core.Per(4, 10*time.Millisecond), core.Per(9, 40*time.Millisecond)),
		newLog("costs", core.Per(9, 30*time.Millisecond), core.VariableCost()),
		newLog("coarse", core.Per(6, 30*time.Millisecond), core.Coarse(5)),
		newLog("refunded", core.Per(6, 30*time.Millisecond), core.Refundable(0)),
	}
	// Logs that are not counted keep their place in a batch, and so can be another's
	// earlier ones here.
	policies = append(policies,
		newLog("changed", core.Per(12, 25*time.Millisecond), core.VariableCost()).After(policies[2], policies[3]),
		newLog("changed2", core.Per(15, 25*time.Millisecond), core.Refundable(0)).After(policies[3], policies[4], policies[5]),
	)
	history := 0
	rapid.Check(t, func(t *rapid.T) {
		history++
		for range rapid.IntRange(1, 12).Draw(t, "batches") {
			clock.Advance(time.Duration(rapid.IntRange(0, 15).Draw(t, "wait")) * time.Millisecond)
			var together []*waiter
			var alone []store.Usage
			for range rapid.IntRange(1, 20).Draw(t, "decisions") {
				p := rapid.SampledFrom(policies).Draw(t, "policy")
				key := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
				cost := int64(1)
				if p.VariableCost {
					cost = rapid.Int64Range(1, 9).Draw(t, "cost")
				}
				log := func(way string) string { return s.logKey(p, fmt.Sprint(history, way, key)) }
				together = append(together, waiterFor(p, log("together"), cost))
				u, err := s.decide(context.Background(), p, log("alone"), cost, modeTake)
				if err != nil {
					t.Fatal(err)
				}
				alone = append(alone, u)
			}
			s.runTogether(together)
			for i, waiter := range together {
				<-waiter.done
				if waiter.err != nil {
					t.Fatal(waiter.err)
				}
				got, want := waiter.usage[0], alone[i]
				got.Entry, want.Entry = store.EntryID{}, store.EntryID{} // logs start at random
				if waiter.charges[0].policy.Layout == store.Counted && want.Allowed && want.Limits[0].Used < waiter.charges[0].policy.Limits[0].Max {
					// It may be late here, as LimitUsage says.
					if f := got.Limits[0].FreeIn; f <= 0 || f > want.ResetAfter {
						t.Fatalf("decision %d on %s: units come free in %v, want up to %v", i, waiter.charges[0].policy, f, want.ResetAfter)
					}
					got.Limits[0].FreeIn = want.Limits[0].FreeIn
				}
				if got != want {
					t.Fatalf("decision %d of %d, on %s:\n%+v together, and\n%+v alone", i, len(together), waiter.charges[0].policy, got, want)
				}
			}
		}
	})
}

// Callers that come at once share round trips; each gets what was left for it.
func TestCallersShareRoundTrips(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := New(rdb, patient)
	const callers = 2000
	p := newLog("p", core.PerHour(callers/2))
	take(t, s, p, "warm") // loads the script
	take(t, s, summedLog, "warm")
	s.check.running.Wait() // which counts as well
	before := commands(t, rdb)
	var allowed atomic.Int64
	left := make([]int64, callers)
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() {
			u, err := s.Take(t.Context(), p, "k", 1)
			if err != nil {
				t.Error(err)
			}
			left[i] = -1
			if u.Allowed {
				allowed.Add(1)
				left[i] = p.Limits[0].Max - u.Limits[0].Used
			}
		})
	}
	group.Wait()
	if n := allowed.Load(); n != callers/2 {
		t.Errorf("%d of %d admitted, want %d", n, callers, callers/2)
	}
	slices.Sort(left)
	for i, n := range left[callers/2:] {
		if n != int64(i) {
			t.Fatalf("what was left after each, from none on: %v", left[callers/2:])
		}
	}
	if n := commands(t, rdb) - before; n > callers/4 {
		t.Errorf("%d callers took %d scripts", callers, n)
	}
}

// A caller who goes before its decision is sent is not charged.
func TestCallerGoesBeforeItIsSent(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr)
	rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr, DisableIdentity: true, ContextTimeoutEnabled: true})
	t.Cleanup(func() { rdb.Close() })
	s := New(rdb, WithTimeout(5*time.Second))
	p := newLog("p", core.PerHour(100))
	take(t, s, p, "k")
	take(t, s, p, "k")
	proxy.Freeze()
	var under sync.WaitGroup
	under.Go(func() { _, _ = s.Take(t.Context(), p, "k", 1) })
	for inFlight := 0; inFlight == 0; time.Sleep(time.Millisecond) {
		s.batcher.one.mu.Lock()
		inFlight = s.batcher.one.inFlight
		s.batcher.one.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Take(ctx, p, "k", 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the caller's deadline", err)
	}
	proxy.Thaw()
	under.Wait()
	if u, err := s.Peek(t.Context(), p, "k", 1); err != nil || u.Limits[0].Used != 3 {
		t.Errorf("%d used, %v, want 3", u.Limits[0].Used, err)
	}
}

// One log that can't be used does no harm to others in its batch.
func TestOneOfManyFails(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := New(rdb, patient)
	var all []*waiter
	for i, p := range []*store.Log{countedLog, summedLog, refundedLog, coarseLog} {
		for _, key := range []string{"before", "mine", "after"} {
			log := s.logKey(p, key)
			if key == "mine" {
				if err := rdb.Set(t.Context(), log, "mine", 0).Err(); err != nil {
					t.Fatal(err)
				}
			}
			all = append(all, waiterFor(p, log, 1))
		}
		_ = i
	}
	s.runTogether(all)
	for i, waiter := range all {
		<-waiter.done
		if i%3 == 1 {
			if !errors.Is(waiter.err, store.ErrWrongType) || !strings.Contains(waiter.err.Error(), "WRONGTYPE") {
				t.Errorf("%s: %v, want ErrWrongType", waiter.charges[0].policy, waiter.err)
			}
			if got := rdb.Get(t.Context(), waiter.charges[0].log).Val(); got != "mine" {
				t.Errorf("the value is now %q", got)
			}
			continue
		}
		if waiter.err != nil || !waiter.usage[0].Allowed || waiter.usage[0].Limits[0].Used != 1 {
			t.Errorf("%s: %+v, %v", waiter.charges[0].policy, waiter.usage[0], waiter.err)
		}
	}
}

// On a Cluster callers of one log share round trips, and nobody is left behind.
func TestCallersOnACluster(t *testing.T) {
	s := New(redistest.Cluster(t, 3).Client(), patient)
	p := newLog("p", core.PerHour(150))
	var allowed atomic.Int64
	var group sync.WaitGroup
	for i := range 600 {
		group.Go(func() {
			u, err := s.Take(t.Context(), p, fmt.Sprint("k", i%2), 1)
			if err != nil {
				t.Error(err)
			}
			if u.Allowed {
				allowed.Add(1)
			}
		})
	}
	group.Wait()
	if n := allowed.Load(); n != 300 {
		t.Errorf("%d admitted, want 300", n)
	}
	s.batcher.servers(func(v *server) {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.queue.size != 0 || v.inFlight != 0 {
			t.Errorf("%d wait and %d are in flight", v.queue.size, v.inFlight)
		}
	})
}

// While a slot moves a script is allowed one key: many callers of one log are
// answered nevertheless.
func TestCallersOfAMovingSlot(t *testing.T) {
	cluster := redistest.Cluster(t, 3)
	s := New(cluster.Client(), patient)
	for _, p := range []*store.Log{countedLog, summedLog, refundedLog, coarseLog} {
		key := p.Policy
		take(t, s, p, key)
		move := cluster.Move(s.logKey(p, key))
		move.Begin()
		var callers sync.WaitGroup
		for range 50 {
			callers.Go(func() {
				if u, err := s.Take(t.Context(), p, key, 1); err != nil || !u.Allowed {
					t.Errorf("%s: %+v, %v", p.Policy, u, err)
				}
			})
		}
		callers.Wait()
		if u, err := s.Peek(t.Context(), p, key, 1); err != nil || u.Limits[0].Used != 51 {
			t.Errorf("%s: %d used, %v, want 51", p.Policy, u.Limits[0].Used, err)
		}
		move.Run()
	}
}

// A client that gives up sooner than the caller is no caller that goes.
func TestClientsTimeoutIsNotTheCallers(t *testing.T) {
	server := redistest.Start(t)
	o := server.Options()
	o.ReadTimeout = 20 * time.Millisecond
	rdb := redis.NewClient(o)
	t.Cleanup(func() { rdb.Close() })
	s := New(rdb, patient)
	take(t, s, countedLog, "k")
	server.Freeze()
	defer server.Thaw()
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
	defer cancel()
	if _, err := s.Take(ctx, countedLog, "k", 1); err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "redisstream: no ") {
		t.Errorf("%v, with the caller's time %v, want an answer before that", err, ctx.Err())
	}
}

// A lone decision allocates no more than go-redis and the arguments need.
func TestAllocationsOfALoneDecision(t *testing.T) {
	o := redistest.Start(t).Options()
	o.ContextTimeoutEnabled = true
	rdb := redis.NewClient(o)
	t.Cleanup(func() { rdb.Close() })
	s := New(rdb, patient)
	p := newLog("p", core.PerHour(1_000_000))
	for range 10 {
		take(t, s, p, "k")
	}
	const most = 17 // 9 of them in go-redis and in the timer
	fewest := math.Inf(1)
	for range 5 { // in a starved process another goroutine sends decisions
		fewest = min(fewest, testing.AllocsPerRun(300, func() { take(t, s, p, "k") }))
	}
	if fewest > most+0.5 {
		t.Errorf("%v allocations, want at most %d", fewest, most)
	}
}
