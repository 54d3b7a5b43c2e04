package redisstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
)

// layouts are policies of all layouts, with room for all that a client could
// send again.
var layouts = []*store.Log{
	newLog("counted", core.PerHour(100_000)),
	newLog("summed", core.PerHour(100_000), core.VariableCost()),
	newLog("refunded", core.PerHour(100_000), core.VariableCost(), core.Refundable(0)),
	newLog("coarse", core.PerHour(100_000), core.VariableCost(), core.Coarse(64)),
	newLog("calendar", core.PerCalendarWeek(100_000, time.UTC), core.PerHour(100_000), core.VariableCost(), core.Refundable(0)),
}

// network is a proxy, or several.
type network interface{ Rule(redistest.Rule) }

// loss counts the replies that it loses after the server has carried out the
// request: the connection breaks before the reply, or within it, or stays.
type loss struct {
	lost  atomic.Int64
	fates []redistest.Fate
	which func(words []string) bool // nil: all scripts
}

func newLoss(fates ...redistest.Fate) *loss { return &loss{fates: fates} }

// breaks are the losses that a client sees at once.
func breaks() []redistest.Fate {
	return []redistest.Fate{redistest.CutReply(0), redistest.CutReply(1), redistest.CutReply(3), redistest.CutReply(7)}
}

func (l *loss) rule(words []string) redistest.Fate {
	if words[0] != "evalsha" && words[0] != "eval" || l.which != nil && !l.which(words) {
		return redistest.Fate{}
	}
	n := l.lost.Add(1)
	return l.fates[int(n)%len(l.fates)]
}

// log writes how many more are lost now, as a figure for the table of faults.
func (l *loss) log(t *testing.T, before int64) {
	t.Helper()
	t.Logf("figure: lost=%d", l.lost.Load()-before)
}

// question is one that a store can be asked, and the logs that it takes one unit
// from.
type question struct {
	name string
	ask  func(s *Store, key string) error
	logs []*store.Log
}

func questions() (all []question) {
	for _, p := range layouts {
		all = append(all, question{p.Policy, func(s *Store, key string) error {
			_, err := s.Take(context.Background(), p, key, 1)
			return err
		}, []*store.Log{p}})
	}
	return append(all, question{"together", func(s *Store, key string) error {
		var asks []store.Charge
		for _, p := range layouts {
			asks = append(asks, store.Charge{Log: p, Key: key, Cost: 1})
		}
		_, err := s.TakeAll(context.Background(), asks)
		return err
	}, layouts})
}

// used is the units in a log, seen by a store on a network without faults.
func used(t *testing.T, look *Store, p *store.Log, key string) int64 {
	t.Helper()
	u, err := look.Peek(context.Background(), p, key, 1)
	must(t, err)
	return u.Limits[0].Used
}

// atMostOnce asks each question n times and loses the replies: no request is in
// a log more than once. The first log has it exactly once, which shows that the
// reply is what was lost.
func atMostOnce(t *testing.T, rdb redis.UniversalClient, net network, l *loss, look *Store, n int) {
	t.Helper()
	s := New(rdb, patient)
	defer s.Close()
	defer l.log(t, l.lost.Load())
	for _, q := range questions() {
		if err := q.ask(s, "k"); err != nil { // loads the script
			t.Fatal(err)
		}
		awaitCheck(s) // which runs scripts as well
		for i := range n {
			before, lost := make([]int64, len(q.logs)), l.lost.Load()
			for j, p := range q.logs {
				before[j] = used(t, look, p, "k")
			}
			net.Rule(l.rule)
			err := q.ask(s, "k")
			net.Rule(nil)
			if err == nil || l.lost.Load() == lost {
				t.Fatalf("%s, request %d: error %v, %d replies were lost", q.name, i, err, l.lost.Load()-lost)
			}
			for j, p := range q.logs {
				if more := used(t, look, p, "k") - before[j]; more > 1 || j == 0 && more != 1 {
					t.Fatalf("%s, request %d is recorded %d times in the log of %s (%v)", q.name, i, more, p.Policy, err)
				}
			}
		}
	}
	refunded := layouts[2]
	for i := range n {
		u, err := s.Take(t.Context(), refunded, "settled", 3)
		must(t, err)
		before := used(t, look, refunded, "settled")
		correction := int64(1 - 2*(i%2)) // one more, one less
		net.Rule(l.rule)
		err = s.Settle(t.Context(), refunded, "settled", u.Entry, correction)
		net.Rule(nil)
		if more := used(t, look, refunded, "settled") - before; err == nil || more != correction {
			t.Fatalf("correction %d by %d: %d, %v", i, correction, more, err)
		}
	}
}

// A reply that is lost after the script ran is an unknown outcome: sending the
// decision again would count the request twice. go-redis sends commands up to
// four times by default.
func TestAtMostOnce(t *testing.T) {
	const timeout = 300 * time.Millisecond // of the client: shorter than the store's, so that there is time for retries
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		server := redistest.Start(t)
		look := New(server.Client(), patient)
		for _, o := range []*redis.Options{{}, {ContextTimeoutEnabled: true}, {MaxRetries: 10, Protocol: 2}} {
			proxy := redistest.NewProxy(t, server.Addr)
			o.Addr, o.DisableIdentity = proxy.Addr, true
			rdb := redis.NewClient(o)
			atMostOnce(t, rdb, proxy, newLoss(breaks()...), look, 70)
			o.ReadTimeout = timeout
			waits := redis.NewClient(o)
			atMostOnce(t, waits, proxy, newLoss(redistest.LoseReply()), look, 1)
			must(t, errors.Join(rdb.Close(), waits.Close()))
		}
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		cluster := redistest.Cluster(t, 3)
		proxies := redistest.NewProxies(t, cluster.Addrs()...)
		look := New(cluster.Client(), patient)
		client := func(change func(*redis.ClusterOptions)) *redis.ClusterClient {
			o := &redis.ClusterOptions{Addrs: cluster.Addrs(), Dialer: proxies.Dial, DisableIdentity: true}
			change(o)
			rdb := redis.NewClusterClient(o)
			t.Cleanup(func() { rdb.Close() })
			return rdb
		}
		plain := client(func(*redis.ClusterOptions) {})
		atMostOnce(t, plain, proxies, newLoss(breaks()...), look, 20)
		waits := client(func(o *redis.ClusterOptions) { o.ReadTimeout = timeout })
		atMostOnce(t, waits, proxies, newLoss(redistest.LoseReply()), look, 1)

		// A client with an old map of the slots gets MOVED each time.
		log := look.logKey(layouts[0], "k")
		move := cluster.Move(log)
		lost := client(func(o *redis.ClusterOptions) {
			o.ClusterSlots = func(context.Context) ([]redis.ClusterSlot, error) {
				return []redis.ClusterSlot{{Start: 0, End: 16383, Nodes: []redis.ClusterNode{{Addr: move.To.Addr}}}}, nil
			}
		})
		atMostOnce(t, lost, proxies[move.From.Addr], newLoss(breaks()...), look, 20)

		// While the slot moves and the logs are on the other node: ASK.
		move.Begin()
		move.MigrateAll()
		asking := newLoss(breaks()...)
		asking.which = func(words []string) bool { return words[2] == "1" } // without scratch, the other is refused
		for _, rdb := range []*redis.ClusterClient{plain, client(func(o *redis.ClusterOptions) { o.ContextTimeoutEnabled = true })} {
			atMostOnceAsking(t, rdb, proxies[move.To.Addr], asking, look, 10)
		}
		slow := newLoss(redistest.LoseReply())
		slow.which = asking.which
		waits = client(func(o *redis.ClusterOptions) { o.ReadTimeout, o.MaxRetries = timeout, 3 })
		atMostOnceAsking(t, waits, proxies[move.To.Addr], slow, look, 1)
		move.End()
	})
	t.Run("sentinel", func(t *testing.T) {
		t.Parallel()
		s := redistest.Sentinel(t)
		proxies := redistest.NewProxies(t, s.Primary.Addr)
		o := s.Options()
		o.Dialer, o.ContextTimeoutEnabled = proxies.Dial, false
		rdb := redis.NewFailoverClient(o)
		t.Cleanup(func() { rdb.Close() })
		atMostOnce(t, rdb, proxies, newLoss(breaks()...), New(s.Client(), patient), 20)
	})
	t.Run("ring", func(t *testing.T) {
		t.Parallel()
		a, b := redistest.Start(t), redistest.Start(t)
		proxies := redistest.NewProxies(t, a.Addr, b.Addr)
		ring := func(o *redis.RingOptions) *redis.Ring {
			o.Addrs = map[string]string{"a": a.Addr, "b": b.Addr}
			o.HeartbeatFrequency = time.Hour // which the lost replies would not disturb anyway
			rdb := redis.NewRing(o)
			t.Cleanup(func() { rdb.Close() })
			return rdb
		}
		look := New(ring(&redis.RingOptions{}), patient)
		atMostOnce(t, ring(&redis.RingOptions{Dialer: proxies.Dial}), proxies, newLoss(breaks()...), look, 20)
		atMostOnce(t, ring(&redis.RingOptions{Dialer: proxies.Dial, ReadTimeout: timeout}), proxies, newLoss(redistest.LoseReply()), look, 1)
	})
}

// atMostOnceAsking is atMostOnce for logs that are on the node that their slot
// moves to.
func atMostOnceAsking(t *testing.T, rdb *redis.ClusterClient, net network, l *loss, look *Store, n int) {
	t.Helper()
	s := New(rdb, patient)
	defer l.log(t, l.lost.Load())
	for _, q := range questions() {
		for i := range n {
			p, lost := q.logs[0], l.lost.Load()
			before := used(t, look, p, "k")
			net.Rule(l.rule)
			err := q.ask(s, "k")
			net.Rule(nil)
			if more := used(t, look, p, "k") - before; err == nil || more != 1 || l.lost.Load() != lost+1 {
				t.Fatalf("%s, request %d is recorded %d times, and %d replies were lost: %v", q.name, i, more, l.lost.Load()-lost, err)
			}
		}
	}
}

// Whatever is left of a reply, it is an error, and the next request is answered.
func TestReplyCutAtEveryByte(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr)
	for _, retries := range []int{-1, 0} {
		rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr, MaxRetries: retries, DisableIdentity: true})
		t.Cleanup(func() { rdb.Close() })
		s, offsets := New(rdb, patient, WithPrefix(fmt.Sprint(retries, ":"))), 0
		for _, q := range questions() {
			must(t, q.ask(s, "k"))
			count := used(t, s, q.logs[0], "k")
			for n := 0; ; n++ {
				proxy.Rule(redistest.Scripts(redistest.CutReply(n)))
				err := q.ask(s, "k")
				proxy.Rule(nil)
				if err == nil { // that was all of it, and the connection is gone
					for q.ask(s, "k") != nil {
						time.Sleep(time.Millisecond)
					}
					break
				}
				must(t, q.ask(s, "k"))
				if want := count + 2*int64(n+1); used(t, s, q.logs[0], "k") != want {
					t.Fatalf("%s: cut at byte %d: %d used, want %d", q.name, n, used(t, s, q.logs[0], "k"), want)
				}
				offsets++
			}
		}
		if offsets < 5*20 {
			t.Errorf("%d offsets: replies are longer than that", offsets)
		}
		t.Logf("figure: offsets=%d", offsets)
	}
}

// What is no reply to the script is an error too, and none of it is taken for
// the reply to the next request.
func TestGarbageForAReply(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr)
	for _, retries := range []int{-1, 0} {
		rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr, MaxRetries: retries, DisableIdentity: true, ReadTimeout: 3 * time.Second})
		t.Cleanup(func() { rdb.Close() })
		s := New(rdb, patient, WithPrefix(fmt.Sprint(retries, ":")))
		for _, q := range questions() {
			must(t, q.ask(s, "k"))
			count := used(t, s, q.logs[0], "k")
			for _, garbage := range []string{
				"*9000000000000000000\r\n",
				"what?\r\n", "\r\n", "\x00\x01\xff\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n", "+OK\r\n", ":1\r\n", "$5\r\nhello\r\n", "$-1\r\n", "_\r\n",
				"*-1\r\n", "*0\r\n", "*2\r\n:1\r\n:1\r\n", "*2\r\n*1\r\n:1\r\n:2\r\n", "*x\r\n", "*-2\r\n", "*5\r\n:1\r\n$1\r\nx\r\n:1\r\n:1\r\n:1\r\n",
				"*5\r\n:99999999999999999999999\r\n", "%1\r\n:1\r\n:1\r\n", "-ERR what\r\n", "-\r\n", ":1\r\n:1\r\n:1\r\n",
				// More than the reply: what is left over must answer nobody.
				"*5\r\n:1\r\n:0\r\n:0\r\n:7\r\n:0\r\n*5\r\n:1\r\n:0\r\n:0\r\n:777\r\n:0\r\n",
			} {
				proxy.Rule(redistest.Scripts(redistest.ReplyWith(garbage)))
				err := q.ask(s, "k")
				proxy.Rule(nil)
				if err == nil && !strings.Contains(garbage, "777") {
					t.Errorf("%s: %q is taken for a reply", q.name, garbage)
				}
				if err := q.ask(s, "k"); err != nil {
					t.Fatalf("%s: after %q: %v", q.name, garbage, err)
				}
				if count += 2; used(t, s, q.logs[0], "k") != count {
					t.Fatalf("%s: after %q: %d used, want %d", q.name, garbage, used(t, s, q.logs[0], "k"), count)
				}
			}
		}
	}
}
