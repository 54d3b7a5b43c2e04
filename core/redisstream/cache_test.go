package redisstream

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
)

// A denial is cached until an entry leaves, for a second at most.
func TestDenialsAreCached(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := New(rdb, patient)
	now := time.Now()
	s.cache.now = func() time.Time { return now }
	denied := func(p *store.Log) store.Usage {
		t.Helper()
		u := take(t, s, p, "k")
		if u.Allowed {
			t.Fatalf("%s: %+v, want a denial", p, u)
		}
		return u
	}
	flood := func(p *store.Log) int {
		s.check.running.Wait() // which counts as well
		before := commands(t, rdb)
		for range 100 {
			if u := denied(p); u.Cached != cacheable(p) {
				t.Errorf("%+v", u)
			}
		}
		return commands(t, rdb) - before
	}
	p := newLog("p", core.PerHour(1))
	take(t, s, p, "k")
	first := denied(p)
	if n := flood(p); n != 0 {
		t.Errorf("100 denied requests took %d scripts, want none", n)
	}
	now = now.Add(999*time.Millisecond + 500*time.Microsecond)
	if u := denied(p); u.RetryAfter != first.RetryAfter-999*time.Millisecond || u.ResetAfter != first.ResetAfter-999*time.Millisecond ||
		u.Limits[0].FreeIn != first.Limits[0].FreeIn-999*time.Millisecond || u.Limits[0].Used != 1 {
		t.Errorf("%+v a second later, at first %+v", u, first)
	}
	// It is asked again after a second, which is how soon a reset by another
	// process is seen,
	rdb.Del(t.Context(), s.logKey(p, "k"))
	now = now.Add(time.Millisecond)
	if u := take(t, s, p, "k"); !u.Allowed {
		t.Errorf("%+v a second after another process has reset the log", u)
	}
	// and at once after one by this.
	denied(p)
	if err := s.Reset(t.Context(), p, "k"); err != nil {
		t.Fatal(err)
	}
	if u := take(t, s, p, "k"); !u.Allowed {
		t.Errorf("%+v after a reset", u)
	}
	// Other limits have denials of their own.
	denied(p)
	if u := take(t, s, newLog("p", core.PerHour(2)), "k"); !u.Allowed {
		t.Errorf("%+v by a limit with room", u)
	}
	// Where the first entry of a limit leaves sooner, its units are shown.
	two := newLog("two", core.PerHour(1), core.Per(5, 400*time.Millisecond))
	take(t, s, two, "k")
	denied(two)
	now = now.Add(450 * time.Millisecond)
	time.Sleep(450 * time.Millisecond)
	if u := denied(two); u.Limits[1].Used != 0 {
		t.Errorf("%+v: the second limit's unit has left", u)
	}
	for _, p := range []*store.Log{
		newLog("costs", core.PerHour(1), core.VariableCost()),
		newLog("refunds", core.PerHour(1), core.Refundable(0)),
	} {
		take(t, s, p, "k")
		if n := flood(p); n != 100 {
			t.Errorf("%s: 100 denied requests took %d scripts, want each its own", p, n)
		}
	}
}

func TestDenialsAreBounded(t *testing.T) {
	d := newCache()
	p := newLog("p", core.PerHour(1))
	u := store.Usage{RetryAfter: time.Hour}
	for i := range 3 * cacheShards * cachedInShard {
		key := fmt.Sprint(i)
		d.put(p, key, u, d.sending(key))
	}
	n := 0
	for i := range d.shards {
		n += len(d.shards[i].kept)
	}
	if n != cacheShards*cachedInShard {
		t.Errorf("%d denials are cached, want %d", n, cacheShards*cachedInShard)
	}
	d.forgetAll()
	if _, ok := d.get(p, "1"); ok {
		t.Error("it is not forgotten")
	}
}

// A cached denial allocates nothing.
func TestAllocationsOfADenial(t *testing.T) {
	l := core.New(New(redistest.Start(t).Client(), patient))
	defer l.Close()
	p := core.NewPolicy("p", core.PerHour(1))
	deny := func() {
		if _, err := l.Allow(t.Context(), p, "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
	}
	deny()
	fewest := math.Inf(1)
	for range 5 { // a denial is cached for a second, and what runs beside the test allocates
		deny()
		fewest = min(fewest, testing.AllocsPerRun(300, deny))
	}
	if fewest != 0 {
		t.Errorf("%v allocations, want 0", fewest)
	}
}

// BenchmarkDenied is a request that is denied without asking Redis.
func BenchmarkDenied(b *testing.B) {
	l := core.New(New(redistest.Start(b).Client(), patient))
	defer l.Close()
	p := core.NewPolicy("p", core.PerHour(1))
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Allow(ctx, p, "192.0.2.1"); err != nil {
			b.Fatal(err)
		}
	}
}
