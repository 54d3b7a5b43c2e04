package redisstream

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
)

func slotCharge(p *store.Log, key, token string) store.Charge {
	return store.Charge{Log: p, Key: key, Cost: 1, Token: token}
}

func takeSlot(t testing.TB, s *Store, c store.Charge) store.Usage {
	t.Helper()
	usages, err := s.TakeAll(t.Context(), []store.Charge{c})
	if err != nil {
		t.Fatal(err)
	}
	return usages[0]
}

// TestExpiredSlots: an acquire removes at most 500 expired slots, and the others count.
func TestExpiredSlots(t *testing.T) {
	server := redistest.Start(t)
	rdb := server.Client()
	s := New(rdb, patient)
	p := core.NewConcurrency("p", 1000, time.Minute).Log()
	log := s.logKey(p, "k")
	crowd := make([]redis.Z, 1700)
	for i := range crowd {
		crowd[i] = redis.Z{Score: float64(i), Member: fmt.Sprint("crashed-", i)}
	}
	must(t, rdb.ZAdd(t.Context(), log, crowd...).Err())
	must(t, rdb.PExpire(t.Context(), log, time.Second).Err())
	for i, want := range []store.LimitUsage{{Used: 1200}, {Used: 701}, {Used: 202}, {Used: 3}} {
		u := takeSlot(t, s, slotCharge(p, "k", fmt.Sprint("token-", i)))
		if i == 0 {
			if u.Allowed || u.Limits[0] != want {
				t.Fatalf("%+v, want %+v", u, want)
			}
			takeSlot(t, s, slotCharge(p, "other", "x")) // another key does not matter
			continue
		}
		if want.Used = []int64{0, 701, 202, 3}[i]; !u.Allowed || u.Limits[0] != want {
			t.Fatalf("call %d: %+v, want %+v", i, u, want)
		}
	}
	if left := rdb.PTTL(t.Context(), log).Val(); left < time.Minute || left > 2*time.Minute {
		t.Errorf("the slots live for %v", left)
	}
	for _, c := range []store.Charge{slotCharge(p, "k", "token-1"), slotCharge(p, "k", "token-2"), slotCharge(p, "k", "token-3")} {
		must(t, s.ReleaseSlots(t.Context(), []store.Charge{c})[0])
	}
	if n := rdb.Exists(t.Context(), log).Val(); n != 0 {
		t.Error("a set without slots is left")
	}
}

// TestRenewSlots: many slots are renewed in one call, wherever they are.
func TestRenewSlots(t *testing.T) {
	for _, topology := range []string{"server", "cluster"} {
		t.Run(topology, func(t *testing.T) {
			var rdb redis.UniversalClient
			if topology == "server" {
				rdb = redistest.Start(t).Client()
			} else {
				cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: redistest.Cluster(t, 3).Addrs()})
				t.Cleanup(func() { cluster.Close() })
				rdb = cluster
			}
			s := New(rdb, patient)
			short, long := core.NewConcurrency("p", 5, time.Minute).Log(), core.NewConcurrency("p", 17, time.Hour).Log()
			var all []store.Charge
			for i := range 60 {
				c := slotCharge([]*store.Log{short, long}[i%2], fmt.Sprint("key-", i/3), fmt.Sprint("token-", i))
				if i%10 != 0 && !takeSlot(t, s, c).Allowed {
					t.Fatal("denied")
				}
				all = append(all, c)
			}
			for i, err := range s.RenewSlots(t.Context(), all) {
				if (i%10 == 0) != errors.Is(err, store.ErrSlotLost) || i%10 != 0 && err != nil {
					t.Errorf("slot %d: %v", i, err)
				}
			}
			for i, c := range all {
				score := rdb.ZScore(t.Context(), s.logKey(c.Log, c.Key), memberOf(c)).Val()
				if left := time.Until(time.UnixMilli(int64(score))); i%10 != 0 && (left < c.Log.Longest-10*time.Second || left > c.Log.Longest+time.Second) {
					t.Errorf("slot %d is live for %v, want %v", i, left, c.Log.Longest)
				}
			}
			// A shorter hold does not shorten the life of a set.
			for i, c := range all {
				if c.Log == short && i%10 != 0 {
					must(t, s.RenewSlots(t.Context(), []store.Charge{c})[0])
				}
				if i%3 == 2 { // the last one of its set
					if left := rdb.PTTL(t.Context(), s.logKey(c.Log, c.Key)).Val(); left < 2*time.Hour-10*time.Second {
						t.Errorf("the set of %s lives for %v, want two of the longest holds", c.Key, left)
					}
				}
			}
			for i, err := range s.ReleaseSlots(t.Context(), all) {
				if err != nil {
					t.Errorf("slot %d: %v", i, err)
				}
			}
			for i := range 20 {
				if u, err := s.Peek(t.Context(), short, fmt.Sprint("key-", i), 1); err != nil || u.Limits[0].Used != 0 {
					t.Errorf("key %d: %+v, %v", i, u, err)
				}
			}
		})
	}
}

// TestSetEncoding: a set that may have more than 16 slots is a skip list.
func TestSetEncoding(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := New(rdb, patient)
	l := core.New(s)
	defer l.Close()
	for most, want := range map[int64]string{1: "listpack", 16: "listpack", 17: "skiplist", 1000: "skiplist"} {
		p := core.NewConcurrency(fmt.Sprint("p", most), most, time.Minute)
		slot, err := l.Acquire(t.Context(), p, "k")
		must(t, err)
		log := s.logKey(p.Log(), "k")
		if got := rdb.ObjectEncoding(t.Context(), log).Val(); got != want {
			t.Errorf("a set of up to %d slots is a %s, want a %s", most, got, want)
		}
		slot.Release()
		if n := rdb.Exists(t.Context(), log).Val(); n != 0 {
			t.Errorf("a set of up to %d slots remains after its last release", most)
		}
	}
}

// TestCrashedSlots: the slots of a process that is gone are free after the hold, and not
// before. Those of another process stay.
func TestCrashedSlots(t *testing.T) {
	server := redistest.Start(t)
	p := core.NewConcurrency("p", 2, time.Second)
	crashes, lives := core.New(New(server.Client(), patient)), core.New(New(server.Client(), patient))
	defer lives.Close()
	if _, err := crashes.Acquire(t.Context(), p, "k"); err != nil {
		t.Fatal(err)
	}
	kept, err := lives.Acquire(t.Context(), p, "k")
	must(t, err)
	defer kept.Release()
	crashed := time.Now()
	must(t, crashes.Close()) // releases nothing, as a crash
	for {
		slot, err := lives.Acquire(t.Context(), p, "k")
		if err == nil {
			slot.Release()
			break
		}
		if time.Since(crashed) > 10*time.Second {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if after := time.Since(crashed); after < 600*time.Millisecond {
		t.Errorf("free after %v, with a hold of 1s", after)
	}
	select {
	case <-kept.Lost():
		t.Error("a slot that is renewed is lost")
	default:
	}
}

// serverTime returns how long the server has run scripts, in microseconds.
func serverTime(t testing.TB, rdb *redis.Client) (usec float64) {
	t.Helper()
	for _, m := range regexp.MustCompile(`cmdstat_eval(?:sha)?:calls=\d+,usec=(\d+)`).FindAllStringSubmatch(rdb.Info(t.Context(), "commandstats").Val(), -1) {
		n, _ := strconv.ParseFloat(m[1], 64)
		usec += n
	}
	return usec
}

// BenchmarkSlots measures the time of the server: of an acquire and its release beside a
// counted decision, for 64 callers; of renewals; and of an acquire after a crowd.
func BenchmarkSlots(b *testing.B) {
	const callers = 64
	for _, c := range []struct {
		name string
		call func(s *Store, i int) error
	}{
		{"counted", func(s *Store, i int) error {
			_, err := s.Take(b.Context(), newCounted, fmt.Sprint("k", i%1000), 1)
			return err
		}},
		{"acquire and release", func(s *Store, i int) error {
			c := slotCharge(newConcurrency, fmt.Sprint("k", i%1000), fmt.Sprint("a-random-token-", i))
			if _, err := s.TakeAll(b.Context(), []store.Charge{c}); err != nil {
				return err
			}
			return s.ReleaseSlots(b.Context(), []store.Charge{c})[0]
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			rdb := redistest.Start(b).Client()
			s := New(rdb, patient)
			before := serverTime(b, rdb)
			var wg sync.WaitGroup
			for caller := range callers {
				wg.Go(func() {
					for i := caller; i < b.N; i += callers {
						if err := c.call(s, i); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric((serverTime(b, rdb)-before)/float64(b.N), "server-us/op")
		})
	}
	for _, keys := range []int{1, 10, 50, 100, 1000} {
		b.Run(fmt.Sprintf("renew 1000 slots of %d keys", keys), func(b *testing.B) {
			rdb := redistest.Start(b).Client()
			s := New(rdb, patient)
			p := core.NewConcurrency("slots", int64(1000/keys), time.Minute).Log()
			var all []store.Charge
			for i := range 1000 {
				all = append(all, slotCharge(p, fmt.Sprint("k", i%keys), fmt.Sprintf("a-random-token-%07d", i)))
				if !takeSlot(b, s, all[i]).Allowed {
					b.Fatal("denied")
				}
			}
			bytes := 0.0
			for i := range keys {
				bytes += float64(rdb.MemoryUsage(b.Context(), s.logKey(p, fmt.Sprint("k", i))).Val())
			}
			before := serverTime(b, rdb)
			for range b.N {
				if err := errors.Join(s.RenewSlots(b.Context(), all)...); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((serverTime(b, rdb)-before)/float64(b.N), "server-us/op")
			b.ReportMetric(bytes/1000, "bytes/slot")
		})
	}
	b.Run("acquire after 100000 have expired", func(b *testing.B) {
		rdb := redistest.Start(b).Client()
		s := New(rdb, patient)
		crowd := make([]redis.Z, 100_000)
		for i := range crowd {
			crowd[i] = redis.Z{Score: float64(i), Member: fmt.Sprint("a-token-that-is-random-", i)}
		}
		log := s.logKey(newConcurrency, "k")
		total, n := 0.0, 0
		for range b.N {
			if n%100 == 0 {
				rdb.ZAdd(b.Context(), log, crowd...)
			}
			n++
			before := serverTime(b, rdb)
			takeSlot(b, s, slotCharge(newConcurrency, "k", fmt.Sprint("token-", n)))
			total += serverTime(b, rdb) - before
		}
		b.ReportMetric(total/float64(n), "server-us/op")
	})
}

var (
	newCounted     = newLog("counted", core.PerMinute(1_000_000))
	newConcurrency = core.NewConcurrency("slots", 1_000_000, time.Minute).Log()
)

// TestSlotsWithLostReplies: no more than the limit are inside, whatever replies are
// lost, and in the end all slots are free.
func TestSlotsWithLostReplies(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr)
	p := core.NewConcurrency("p", 5, time.Second)
	l := newLoss(append(breaks(), make([]redistest.Fate, 30)...)...)
	proxy.Rule(l.rule)
	var inside, admitted, failed atomic.Int64
	var callers sync.WaitGroup
	end := time.Now().Add(2 * time.Second)
	var limiters []*core.Limiter
	for range 2 {
		o := server.Options()
		o.Addr = proxy.Addr
		rdb := redis.NewClient(o)
		t.Cleanup(func() { rdb.Close() })
		limiter := core.New(New(rdb, patient), core.WithFailureMode(core.FailClosed), core.WithLogger(slog.New(slog.DiscardHandler)))
		t.Cleanup(func() { limiter.Close() })
		limiters = append(limiters, limiter)
		for range 20 {
			callers.Go(func() {
				for time.Now().Before(end) {
					slot, err := limiter.Acquire(t.Context(), p, "k")
					var limited *core.LimitedError
					switch {
					case errors.As(err, &limited):
						time.Sleep(time.Millisecond)
						continue
					case err != nil:
						failed.Add(1)
						time.Sleep(5 * time.Millisecond)
						continue
					}
					admitted.Add(1)
					if n := inside.Add(1); n > 5 {
						t.Errorf("%d are inside, the limit is 5", n)
					}
					time.Sleep(time.Millisecond)
					inside.Add(-1)
					slot.Release()
				}
			})
		}
	}
	callers.Wait()
	if admitted.Load() < 50 || failed.Load() == 0 {
		t.Errorf("%d admitted and %d failed: the test tests little", admitted.Load(), failed.Load())
	}
	t.Logf("figure: admitted=%d failed=%d", admitted.Load(), failed.Load())
	proxy.Rule(nil)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		d, err := limiters[0].Peek(t.Context(), p, "k")
		if err == nil && d.Remaining == 5 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("slots are held by nobody: %+v, %v", d, err)
		}
	}
}

// A process that had no time to read the reply to an acquire releases the slot.
func TestSlotOfUnreadReply(t *testing.T) {
	s := New(redistest.Start(t).Client(), patient)
	slots := core.NewConcurrency("slots", 1, time.Minute).Log()
	asks := []store.Charge{{Log: slots, Key: "k", Cost: 1, Token: "a"}, {Log: countedLog, Key: "k", Cost: 1}}
	if _, err := s.TakeAll(t.Context(), asks); err != nil {
		t.Fatal(err)
	}
	s.releaseUnread(asks)
	u, err := s.Peek(t.Context(), slots, "k", 1)
	if err != nil || u.Limits[0].Used != 0 || len(asks) != 2 || asks[1].Log != countedLog {
		t.Errorf("%+v, %v, the charges are %+v", u, err, asks)
	}
}
