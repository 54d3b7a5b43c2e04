package memory_test

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/internal/memory"
	"github.com/streamlimit/streamlimit/core/store"
	"github.com/streamlimit/streamlimit/core/storetest"
)

// roomy is a number of keys that the test does not reach.
const roomy = 250_000

func newLog(name string, options ...core.PolicyOption) *store.Log {
	return core.NewPolicy(name, options...).Log()
}

// testClock is a clock that only advance moves.
type testClock struct{ passed atomic.Int64 }

func (c *testClock) Now() time.Time          { return time.UnixMilli(1_900_000_000_000 + c.passed.Load()) }
func (c *testClock) advance(d time.Duration) { c.passed.Add(d.Milliseconds()) }

func TestConformance(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		New: func(_ testing.TB, clock *storetest.Clock) store.Store {
			return memory.New(roomy, clock.Now)
		},
		NewReal: func(testing.TB) store.Store { return memory.New(roomy, nil) },
	})
}

// A full store removes expired logs, the longest idle first. It never removes a live log:
// new keys get an error instead.
func TestStoreIsBounded(t *testing.T) {
	clock := &testClock{}
	m := memory.New(3, clock.Now)
	defer m.Close()
	short := newLog("short", core.PerSecond(1))
	long := newLog("long", core.PerHour(1))
	take := func(p *store.Log, key string) (bool, error) {
		u, err := m.Take(t.Context(), p, key, 1)
		return u.Allowed, err
	}
	for _, key := range []string{"a", "b"} {
		if ok, err := take(short, key); !ok || err != nil {
			t.Fatal(key, ok, err)
		}
		clock.advance(100 * time.Millisecond)
	}
	if ok, err := take(long, "c"); !ok || err != nil {
		t.Fatal("c", ok, err)
	}
	if _, err := take(short, "d"); !errors.Is(err, store.ErrFull) {
		t.Fatalf("a fourth live key: %v, want ErrFull", err)
	}
	for p, key := range map[*store.Log]string{short: "a", long: "c"} {
		if ok, err := take(p, key); ok || err != nil {
			t.Errorf("a live key of a full store: %v, %v, want a denial", ok, err)
		}
	}
	if _, err := m.Peek(t.Context(), short, "e", 1); err != nil {
		t.Errorf("a peek needs no room: %v", err)
	}
	clock.advance(800 * time.Millisecond) // a has expired, b not yet
	if ok, err := take(short, "d"); !ok || err != nil {
		t.Errorf("with an expired key: %v, %v", ok, err)
	}
	if ok, err := take(short, "b"); ok || err != nil {
		t.Errorf("b: %v, %v, want a denial", ok, err)
	}
	if err := m.Reset(t.Context(), long, "c"); err != nil {
		t.Fatal(err)
	}
	if ok, err := take(short, "e"); !ok || err != nil {
		t.Errorf("after a reset: %v, %v", ok, err)
	}
	if m.Len() != 3 {
		t.Errorf("%d keys, want 3", m.Len())
	}
}

// The bound is exact for all keys. An active key does not keep idle keys behind it in the
// store.
func TestBoundIsExact(t *testing.T) {
	clock := &testClock{}
	const keys = 5000
	m := memory.New(keys, clock.Now)
	defer m.Close()
	p := newLog("p", core.Per(100, time.Second))
	take := func(key string) error {
		_, err := m.Take(t.Context(), p, key, 1)
		return err
	}
	for round := range 3 {
		for i := range keys {
			if err := take("active-" + strconv.Itoa(i)); err != nil {
				t.Fatalf("round %d, key %d of %d: %v", round, i+1, keys, err)
			}
		}
		if err := take("one more"); !errors.Is(err, store.ErrFull) || m.Len() != keys {
			t.Fatalf("round %d: one more than %d keys: %v", round, m.Len(), err)
		}
		clock.advance(500 * time.Millisecond)
		for i := 0; i < keys; i += 2 { // the older half is active again
			if err := take("active-" + strconv.Itoa(i)); err != nil {
				t.Fatal(err)
			}
		}
		clock.advance(500 * time.Millisecond)
		for i := range keys / 2 {
			if err := take("new-" + strconv.Itoa(i)); err != nil {
				t.Fatalf("round %d: new key %d after %d have expired: %v", round, i+1, keys/2, err)
			}
		}
		clock.advance(time.Second)
	}
}

// A busy key uses memory for its window only.
func TestStoreDropsOldEntries(t *testing.T) {
	clock := &testClock{}
	m := memory.New(roomy, clock.Now)
	defer m.Close()
	p := newLog("p", core.Per(1000, 100*time.Millisecond))
	grown := func() uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 200_000 {
			clock.advance(time.Millisecond)
			if u, err := m.Take(t.Context(), p, "k", 1); err != nil || !u.Allowed {
				t.Fatal(u, err)
			}
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	grown()
	if got := grown(); got > 1<<20 {
		t.Errorf("200,000 requests on a key with 100 entries in its window allocated %d bytes", got)
	}
}

// Expired logs are freed without any call.
func TestStoreIsSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New(roomy, nil)
		defer m.Close()
		p := newLog("p", core.Per(1, 5*time.Second))
		for i := range 10_000 {
			if _, err := m.Take(t.Context(), p, strconv.Itoa(i), 1); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(4 * time.Second)
		if m.Len() != 10_000 {
			t.Errorf("%d keys within their window, want 10000", m.Len())
		}
		time.Sleep(3 * time.Second)
		if m.Len() != 0 {
			t.Errorf("%d keys after their window, want none", m.Len())
		}
	})
}

// The store keeps no string of the caller's, which a framework may reuse.
func TestStoreCopiesKeys(t *testing.T) {
	m := memory.New(roomy, nil)
	defer m.Close()
	p := newLog("p", core.PerMinute(1))
	buf := []byte("first")
	if _, err := m.Take(t.Context(), p, unsafe.String(&buf[0], len(buf)), 1); err != nil {
		t.Fatal(err)
	}
	copy(buf, "other")
	for key, want := range map[string]bool{"first": false, "other": true} {
		if u, err := m.Take(t.Context(), p, key, 1); err != nil || u.Allowed != want {
			t.Errorf("%s: allowed %v, %v, want %v", key, u.Allowed, err, want)
		}
	}
}

// A request for more keys than there is room for takes no room from other requests, not
// even for a moment.
func TestStoreRefusesNoKeyThatFits(t *testing.T) {
	m := memory.New(10, nil)
	defer m.Close()
	p := newLog("p", core.PerHour(1))
	for i := range 9 {
		if _, err := m.Take(t.Context(), p, strconv.Itoa(i), 1); err != nil {
			t.Fatal(err)
		}
	}
	var all []store.Charge
	for _, key := range []string{"x", "y", "z"} {
		all = append(all, store.Charge{Log: p, Key: key, Cost: 1})
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for ctx.Err() == nil {
				if _, err := m.TakeAll(context.Background(), all); !errors.Is(err, store.ErrFull) {
					t.Errorf("three keys where one fits: %v, want ErrFull", err)
					return
				}
			}
		})
	}
	for range 20_000 {
		if n := m.Len(); n > 9 {
			t.Errorf("%d keys are counted, want 9", n)
			break
		}
		if _, err := m.Take(t.Context(), p, "one", 1); err != nil {
			t.Errorf("one key where one fits: %v", err)
			break
		}
		if err := m.Reset(t.Context(), p, "one"); err != nil {
			t.Error(err)
		}
	}
	cancel()
	group.Wait()
	if m.Len() != 9 {
		t.Errorf("%d keys are counted, want 9", m.Len())
	}
}

// Units above the estimate are charged in a full store, too, when the request's own log
// has expired like others.
func TestStoreSettlesWhereExpiredKeysMakeRoom(t *testing.T) {
	clock := &testClock{}
	m := memory.New(2, clock.Now)
	defer m.Close()
	p := newLog("p", core.PerSecond(10), core.VariableCost(), core.Refundable(0))
	u, err := m.Take(t.Context(), p, "settled", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Reset(t.Context(), p, "settled"); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "b"} {
		if _, err := m.Take(t.Context(), p, key, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Settle(t.Context(), p, "settled", u.Entry, 5); !errors.Is(err, store.ErrFull) {
		t.Errorf("a charge in a store full of live keys: %v, want ErrFull", err)
	}
	clock.advance(time.Second)
	if err := m.Settle(t.Context(), p, "settled", u.Entry, 5); err != nil {
		t.Errorf("a charge in a store of expired keys: %v", err)
	}
	if u, err := m.Peek(t.Context(), p, "settled", 1); err != nil || u.Limits[0].Used != 5 {
		t.Errorf("after the charge %d units are used, %v, want 5", u.Limits[0].Used, err)
	}
}
