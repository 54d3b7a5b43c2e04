package redisstream

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
)

// admit returns how many of n requests a limiter admits.
func admit(t *testing.T, l *core.Limiter, p *core.Policy, n int) (admitted int) {
	t.Helper()
	for range n {
		d, err := l.Allow(t.Context(), p, "k")
		if err != nil || d.Source != core.SourceRedis {
			t.Fatalf("%+v, %v", d, err)
		}
		if d.Allowed {
			admitted++
		}
	}
	return admitted
}

// Processes that start with other limits, one after the other, hand out one budget.
func TestRestartWithOtherLimits(t *testing.T) {
	rdb := redistest.Start(t).Client()
	sum := 0
	for _, options := range [][]core.PolicyOption{
		{core.PerMinute(20)},
		{core.PerMinute(20), core.PerSecond(20)},
		{core.Per(20, 2*time.Minute), core.Refundable(0)},
		{core.PerHour(20), core.Coarse(10)},
		{core.PerMinute(20)},
	} {
		l := core.New(New(rdb, patient))
		sum += admit(t, l, core.NewPolicy("p", options...), 6)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if sum != 20 {
		t.Errorf("%d admitted, want 20", sum)
	}
	logs, err := New(rdb, patient).RegisterLogs(t.Context(), nil)
	if err != nil || len(logs) != 4 {
		t.Errorf("registered: %v, %v, want 4 logs", logs, err)
	}
	if left := rdb.PTTL(t.Context(), DefaultPrefix+logsSuffix).Val(); left <= time.Hour || left > time.Hour+time.Minute {
		t.Errorf("the registry ends in %v, want in an hour and a minute", left)
	}
}

// The registry forgets logs that hold nothing any more.
func TestRegistryForgets(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := New(rdb, patient)
	for name, ends := range map[string]int64{"p:c1s": time.Now().UnixMilli() - 1, "p:c2s": time.Now().Add(time.Hour).UnixMilli()} {
		if err := rdb.ZAdd(t.Context(), DefaultPrefix+logsSuffix, redis.Z{Score: float64(ends), Member: name}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	logs, err := s.RegisterLogs(t.Context(), []*store.Log{newLog("p", core.PerMinute(1))})
	if err != nil || len(logs) != 2 || rdb.ZCard(t.Context(), DefaultPrefix+logsSuffix).Val() != 2 {
		t.Errorf("%v, %v, want two logs", logs, err)
	}
}

// Limits change under load, by overrides, and no window of the shortest length has more
// than the largest limit.
func TestChangesUnderLoad(t *testing.T) {
	server := redistest.Start(t)
	const window = 300 * time.Millisecond
	p := core.NewPolicy("p", core.Per(40, window))
	rdb := server.Client()
	l := core.New(New(rdb, patient))
	defer l.Close()
	stop := time.Now().Add(2 * time.Second)
	var admitted atomic.Int64
	done := make(chan struct{})
	for range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			for time.Now().Before(stop) {
				d, err := l.Allow(t.Context(), p, "k")
				if err != nil || d.Source != core.SourceRedis {
					t.Errorf("%+v, %v", d, err)
					return
				}
				if d.Counted {
					admitted.Add(1)
				}
			}
		}()
	}
	limits := [][]core.Limit{
		{core.Per(40, window), core.Per(30, window+50*time.Millisecond)}, {core.Per(40, 2*window)}, {core.Per(20, window+1*time.Millisecond)},
	}
	logs := map[string]bool{} // all that were seen: the log of the smallest limit can expire before it has room again
	for i := 0; time.Now().Before(stop); i++ {
		if err := l.SetRule(t.Context(), core.Rule{Kind: core.RuleOverride, Policy: "p", Limits: limits[i%len(limits)]}); err != nil {
			t.Error(err)
		}
		time.Sleep(20 * time.Millisecond)
		for _, key := range rdb.Keys(t.Context(), DefaultPrefix+"{*}:p:*").Val() {
			logs[key] = true
		}
	}
	for range 4 {
		<-done
	}
	if len(logs) < 3 {
		t.Errorf("logs %v, want several", logs)
	}
	if most := int64(2*time.Second/window+2) * 40; admitted.Load() > most {
		t.Errorf("%d admitted in two seconds, want at most %d", admitted.Load(), most)
	}
}

// While a slot of a Cluster moves, a policy and its earlier logs have one budget, whichever
// of the logs are on which node, and whatever their layouts.
func TestChangesWhileASlotMoves(t *testing.T) {
	cluster := redistest.Cluster(t, 3)
	s := New(cluster.Client(), patient)
	const most = 20
	options := [][]core.PolicyOption{
		{core.PerHour(most)},
		{core.PerHour(most), core.PerDay(most + 1)},
		{core.Per(most, 2*time.Hour), core.Refundable(0)},
		{core.Per(most, 3*time.Hour), core.Coarse(4)},
	}
	for i, first := range options {
		for j, second := range options {
			if i == j {
				continue
			}
			key := fmt.Sprint(i, " to ", j)
			before, last := newLog("p", first...), newLog("p", second...)
			after := last.After(before, newLog("p", core.PerSecond(5))) // the log of 5 per second does not exist
			sum := 0
			ask := func(p *store.Log, n int, together bool) {
				t.Helper()
				for range n {
					var u store.Usage
					var err error
					if together {
						var us []store.Usage
						if us, err = s.TakeAll(t.Context(), []store.Charge{{Log: p, Key: key, Cost: 1}}); err == nil {
							u = us[0]
						}
					} else {
						u, err = s.Take(t.Context(), p, key, 1)
					}
					if err != nil {
						t.Fatalf("%s: %v", key, err)
					}
					if u.Allowed {
						sum++
					}
					if got := u.Limits[0].Used; got != int64(sum) {
						t.Errorf("%s: %d used, want %d", key, got, sum)
					}
					if !u.Allowed && (u.RetryAfter <= 0 || u.RetryAfter > 3*time.Hour) {
						t.Errorf("%s: RetryAfter %v", key, u.RetryAfter)
					}
				}
			}
			ask(before, 5, false)
			ask(after, 2, false)
			move := cluster.Move(s.logKey(before, key))
			move.Begin()
			ask(after, 2, true)
			move.Migrate(s.logKey(before, key)) // the earlier log is on the other node
			ask(after, 2, false)
			if u, err := s.Peek(t.Context(), after, key, 1); err != nil || !u.Allowed || u.Limits[0].Used != 11 {
				t.Errorf("%s: Peek %+v, %v, want 11 used", key, u, err)
			}
			move.MigrateAll()
			ask(after, 2, true)
			ask(after, most, false)
			move.End()
			ask(after, 2, false)
			if sum != most {
				t.Errorf("%s: %d admitted, want %d", key, sum, most)
			}
		}
	}
}

// While a slot moves, a denial waits for an earlier log with refunds: that can hold more
// later than it holds now.
func TestRetryAfterRefundsWhileASlotMoves(t *testing.T) {
	cluster := redistest.Cluster(t, 3)
	s := New(cluster.Client(), patient)
	refunds := newLog("p", core.PerHour(2), core.Refundable(0))
	p := newLog("p", core.PerHour(2)).After(refunds)
	first := take(t, s, refunds, "k")
	move := cluster.Move(s.logKey(refunds, "k"))
	move.Begin()
	own := newLog("p", core.PerHour(2))
	take(t, s, own, "k")
	take(t, s, own, "k")
	time.Sleep(2 * time.Millisecond)
	if err := s.Settle(t.Context(), refunds, "k", first.Entry, -1); err != nil {
		t.Fatal(err)
	}
	if u := take(t, s, p, "k"); u.Allowed || u.Limits[0].Used != 2 || u.RetryAfter != u.ResetAfter {
		t.Errorf("%+v, want 2 used, and RetryAfter until all logs are empty", u)
	}
}
