package redisstream

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
	"github.com/streamlimit/streamlimit/core/storetest"
)

// calendarStores returns stores of as many processes on one server with a test clock, at a
// time.
func calendarStores(t *testing.T, n int, at string) ([]*Store, *storetest.Clock) {
	t.Helper()
	server := redistest.Start(t)
	now, err := time.Parse(time.RFC3339, at)
	if err != nil {
		t.Fatal(err)
	}
	clock := &storetest.Clock{}
	clock.Advance(now.Sub(clock.Now()))
	h := harness(func() redis.UniversalClient { return redis.NewClient(server.Options()) })
	stores := make([]*Store, n)
	for i := range stores {
		stores[i] = h.New(t, clock).(*Store)
		t.Cleanup(func() { stores[i].Close() })
	}
	return stores, clock
}

// Processes whose clocks are days off decide by the server's clock, together.
func TestPeriodsByServerClock(t *testing.T) {
	stores, clock := calendarStores(t, 3, "2027-03-31T23:59:59Z")
	for i, s := range stores {
		s.periods.ahead.Store(int64(time.Duration(i-1) * 40 * 24 * time.Hour))
	}
	p := newLog("p", core.PerCalendarMonth(50, time.UTC))
	burst := func() int64 {
		var admitted atomic.Int64
		var wg sync.WaitGroup
		for i := range 150 {
			wg.Go(func() {
				u, err := stores[i%len(stores)].Take(t.Context(), p, "k", 1)
				if err != nil {
					t.Error(err)
				} else if u.Allowed {
					admitted.Add(1)
				}
			})
		}
		wg.Wait()
		return admitted.Load()
	}
	if n := burst(); n != 50 {
		t.Errorf("%d were admitted in March, want 50", n)
	}
	clock.Advance(time.Second)
	for _, s := range stores {
		s.cache.forgetAll()
	}
	if n := burst(); n != 50 {
		t.Errorf("%d were admitted in April, want 50", n)
	}
	for _, s := range stores {
		if off := s.periods.now().Sub(clock.Now()).Abs(); off > time.Minute {
			t.Errorf("a process is %v off after the server has told it the time", off)
		}
	}
}

// A period that has ended keeps no policy of several from being decided, shadow or not.
func TestPeriodsTogetherByServerClock(t *testing.T) {
	stores, clock := calendarStores(t, 1, "2027-03-31T23:59:59Z")
	s := stores[0]
	month := newLog("month", core.PerCalendarMonth(1, time.UTC))
	shadow := newLog("shadow", core.PerCalendarDay(1, time.UTC), core.Shadow())
	hour := newLog("hour", core.PerHour(100))
	charges := []store.Charge{{Log: month, Key: "k", Cost: 1}, {Log: shadow, Key: "k", Cost: 1}, {Log: hour, Key: "k", Cost: 1}}
	for i := range int64(2) {
		u, err := s.TakeAll(t.Context(), charges)
		if err != nil {
			t.Fatal(err)
		}
		for j := range charges {
			if !u[j].Allowed || u[j].Limits[0].Used != 1 && j < 2 || u[2].Limits[0].Used != i+1 {
				t.Errorf("period %d, charge %d: %+v", i, j, u[j])
			}
		}
		clock.Advance(time.Second)
	}
}

// The log of calendar limits alone has one live entry, and its time to live ends a day
// after the period.
func TestPeriodsTakeOneEntry(t *testing.T) {
	server := redistest.Start(t)
	rdb := redis.NewClient(server.Options())
	defer rdb.Close()
	s := New(rdb, patient)
	defer s.Close()
	for _, p := range []*store.Log{
		newLog("a", core.PerCalendarDay(1e6, time.UTC)),
		newLog("b", core.PerCalendarDay(1e6, time.UTC), core.PerCalendarMonth(1e7, time.UTC), core.VariableCost(), core.Refundable(0)),
	} {
		for range 300 {
			if u, err := s.Take(t.Context(), p, "k", 1); err != nil || !u.Allowed {
				t.Fatalf("%+v, %v", u, err)
			}
		}
		log := s.logKey(p, "k")
		if n := rdb.XLen(t.Context(), log).Val(); n != 1 {
			t.Errorf("%s has %d entries, want 1", p, n)
		}
		if size := rdb.MemoryUsage(t.Context(), log).Val(); size > 10_000 {
			t.Errorf("%s takes %d bytes", p, size)
		}
		now := time.Now()
		end := now
		for _, period := range p.Periods {
			if _, e := period.Around(now); e.After(end) {
				end = e
			}
		}
		want := end.Add(24 * time.Hour).Sub(now)
		if got := rdb.PTTL(t.Context(), log).Val(); got < want-time.Minute || got > want+time.Minute {
			t.Errorf("%s lives for %v, want %v", p, got, want)
		}
	}
}
