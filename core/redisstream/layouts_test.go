package redisstream

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
)

var (
	refundedLog = newLog("refunded", core.PerMinute(100), core.VariableCost(), core.Refundable(0))
	coarseLog   = newLog("coarse", core.PerMinute(1_000_000), core.VariableCost(), core.Coarse(64))
)

// Logs that entries were deleted from or given back in survive being saved and
// loaded, by a snapshot and by an append-only file, while their windows move on.
func TestSavedAndReloaded(t *testing.T) {
	for _, persistence := range []string{"rdb", "aof"} {
		t.Run(persistence, func(t *testing.T) {
			var args []string
			if persistence == "aof" {
				args = []string{"--appendonly", "yes", "--appendfsync", "always"}
			}
			server := redistest.Start(t, args...)
			rdb := server.Client()
			s := New(rdb, patient)
			// Windows short enough that whole nodes of the streams are trimmed.
			coarse := newLog("coarse", core.Per(1_000_000, 400*time.Millisecond), core.Coarse(20))
			refunded := newLog("refunded", core.Per(100_000, 400*time.Millisecond), core.Refundable(0))
			load := func() {
				for start := time.Now(); time.Since(start) < time.Second; {
					take(t, s, coarse, "k")
					u := take(t, s, refunded, "k")
					if err := s.Settle(t.Context(), refunded, "k", u.Entry, -1); err != nil && !errors.Is(err, store.ErrTooLate) {
						t.Fatal(err)
					}
				}
			}
			policies := []*store.Log{
				coarse, refunded, // whose windows end meanwhile, and these, whose don't:
				newLog("coarse-hour", core.PerHour(1_000_000), core.Coarse(20)),
				newLog("refunded-hour", core.PerHour(100_000), core.Refundable(0)),
			}
			for range 300 {
				take(t, s, policies[2], "k")
				u := take(t, s, policies[3], "k")
				if u.Limits[0].Used%3 == 0 {
					if err := s.Settle(t.Context(), policies[3], "k", u.Entry, -1); err != nil {
						t.Fatal(err)
					}
				}
			}
			for range 2 {
				load()
				type state struct {
					entries []store.Entry
					used    int64
				}
				states := func() (all []state) {
					for _, p := range policies[2:] {
						entries, err := s.Entries(t.Context(), p, "k", 10_000)
						if err != nil {
							t.Fatal(err)
						}
						u, err := s.Peek(t.Context(), p, "k", 1)
						if err != nil {
							t.Fatal(err)
						}
						all = append(all, state{entries, u.Limits[0].Used})
					}
					return all
				}
				before := states()
				if persistence == "rdb" {
					if err := rdb.Save(t.Context()).Err(); err != nil {
						t.Fatal(err)
					}
				} else if err := rdb.BgRewriteAOF(t.Context()).Err(); err != nil {
					t.Fatal(err)
				}
				server.Restart()
				if after := states(); !reflect.DeepEqual(after, before) {
					t.Fatalf("after a restart: %+v\nbefore: %+v", after, before)
				}
			}
			load()
		})
	}
}

// The memory that a coarse log takes does not depend on its requests.
func TestCoarseLogIsBounded(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := New(rdb, patient)
	p := newLog("p", core.Per(1_000_000, 960*time.Millisecond), core.Coarse(64))
	log := s.logKey(p, "k")
	call := decision(&charge{policy: p, log: log, cost: 1}, modeTake)
	take(t, s, p, "k") // loads the script
	for start := time.Now(); time.Since(start) < 3*time.Second; {
		pipe := rdb.Pipeline()
		for range 200 {
			_ = pipe.Process(t.Context(), newOnce(t.Context(), call))
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	u, err := s.Peek(t.Context(), p, "k", 1)
	if err != nil || u.Limits[0].Used < 4*65 {
		t.Fatalf("%d units within a window, %v: too few to tell", u.Limits[0].Used, err)
	}
	if n := rdb.XLen(t.Context(), log).Val(); n > 2*65 {
		t.Errorf("%d entries, want about 65 and what whole nodes keep", n)
	}
	if bytes := rdb.MemoryUsage(t.Context(), log).Val(); bytes > 130_000 {
		t.Errorf("a log of %d requests takes %d bytes, want at most 130,000", u.Limits[0].Used, bytes)
	}
}

// As TestTotalStartsOver, for a log with refunds.
func TestTotalsOfRefundsStartOver(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := New(rdb, patient)
	p := newLog("p", core.PerHour(10), core.VariableCost(), core.Refundable(0))
	const modulus = 1 << 52
	future := time.Now().Add(time.Minute).UnixMilli() // so that all falls into one millisecond
	args := &redis.XAddArgs{
		Stream: s.logKey(p, "k"), ID: fmt.Sprintf("%d-%d", future, modulus-3),
		Values: []any{"c", 3, "b", modulus - 2, "k", modulus - 1, "d", 0, "p", 0},
	}
	if err := rdb.XAdd(t.Context(), args).Err(); err != nil {
		t.Fatal(err)
	}
	used := int64(3)
	for i, cost := range []int64{2, 3, 4, 4} {
		u, err := s.Take(t.Context(), p, "k", cost)
		if used += cost; err != nil || !u.Allowed || u.Limits[0].Used != used {
			t.Fatalf("request %d: %+v, %v, want %d used", i, u, err, used)
		}
		if err := s.Settle(t.Context(), p, "k", u.Entry, -cost+1); err != nil {
			t.Fatal(err)
		}
		used -= cost - 1
		if u, err := s.Peek(t.Context(), p, "k", 1); err != nil || u.Limits[0].Used != used {
			t.Fatalf("after refund %d: %+v, %v, want %d used", i, u, err, used)
		}
	}
}

// All logs are asked in one round trip where one script can see them.
func TestTogetherIsOneRoundTrip(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := New(rdb, patient)
	asks := []store.Charge{
		{Log: countedLog, Key: "address", Cost: 1}, {Log: summedLog, Key: "user", Cost: 2},
		{Log: refundedLog, Key: "user", Cost: 3}, {Log: coarseLog, Key: "service", Cost: 4},
	}
	takeAll := func() {
		t.Helper()
		usages, err := s.TakeAll(t.Context(), asks)
		if err != nil {
			t.Fatal(err)
		}
		for i, u := range usages {
			if !u.Allowed || u.Limits[0].Used%asks[i].Cost != 0 {
				t.Fatalf("%s: %+v", asks[i].Log, u)
			}
		}
	}
	takeAll()              // loads the script
	s.check.running.Wait() // which counts as well
	before := commands(t, rdb)
	for range 20 {
		takeAll()
	}
	if got := commands(t, rdb) - before; got != 20 {
		t.Errorf("20 decisions on 4 logs took %d commands, want 20", got)
	}
}

// Before Redis 7.2 the clock advances within a script: a log must not have room
// when it is asked for the second time.
func TestTogetherReadsTheClockOnce(t *testing.T) {
	s := New(redistest.Start(t).Client(), patient)
	tight := newLog("tight", core.Per(1, 2*time.Millisecond))
	wide := newLog("wide", core.PerHour(1_000_000))
	admitted := int64(0)
	for start := time.Now(); time.Since(start) < 2*time.Second; {
		usages, err := s.TakeAll(t.Context(), []store.Charge{{Log: tight, Key: "k", Cost: 1}, {Log: wide, Key: "k", Cost: 1}})
		if err != nil {
			t.Fatal(err)
		}
		if usages[0].Allowed && usages[1].Allowed {
			admitted++
		}
	}
	u, err := s.Peek(t.Context(), wide, "k", 1)
	if err != nil || u.Limits[0].Used != admitted || admitted < 100 {
		t.Errorf("%d admitted, %d counted, %v", admitted, u.Limits[0].Used, err)
	}
}

// While a slot moves, logs of one key can be on two nodes, and no script sees
// them all.
func TestTogetherWhileASlotMoves(t *testing.T) {
	cluster := redistest.Cluster(t, 3)
	s := New(cluster.Client(), patient)
	asks := []store.Charge{{Log: refundedLog, Key: "k", Cost: 1}, {Log: countedLog, Key: "k", Cost: 1}}
	move := cluster.Move(s.logKey(countedLog, "k"))
	for i, step := range []func(){func() {}, move.Begin, func() { move.Migrate(s.logKey(countedLog, "k")) }, move.End} {
		if i > 0 || !t.Failed() {
			step()
		}
		usages, err := s.TakeAll(t.Context(), asks)
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		for j, u := range usages {
			if !u.Allowed || u.Limits[0].Used != int64(i+1) {
				t.Errorf("step %d, %s: %+v", i, asks[j].Log, u)
			}
		}
		if i == 2 {
			move.Migrate(s.logKey(refundedLog, "k"))
		}
	}
}
