package lease

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// bench is a table whose calls the test answers, under a clock that it moves.
type bench struct {
	*Table[string, int]
	now     Moment
	calls   []*Call[string, int] // sent, in order
	returns [][]Return[string, int]
	timers  []func()
}

const d = time.Second

var terms = Terms{Length: d, Ahead: 1000}

func newBench() *bench {
	b := &bench{now: Moment{Mono: time.Hour, Wall: time.Hour}}
	b.Table = NewTable(Config[string, int]{
		Now:    func() Moment { return b.now },
		Ask:    func(c *Call[string, int]) { b.calls = append(b.calls, c) },
		Return: func(all []Return[string, int]) { b.returns = append(b.returns, all) },
		After:  func(_ time.Duration, f func()) { b.timers = append(b.timers, f) },
	})
	return b
}

func (b *bench) advance(d time.Duration) {
	b.now = b.now.add(d)
	timers := b.timers
	b.timers = nil
	for _, f := range timers {
		f()
	}
}

// asks queues a request, and returns where its answer arrives.
func (b *bench) asks(key string, least, most int64) *Answer[int] {
	a := &Answer[int]{Taken: Taken[int]{Units: -1}}
	b.Join(key, terms, &Waiter[string, int]{Least: least, Most: most, Answer: func(got Answer[int]) { *a = got }})
	return a
}

// last answers the last call with all that it asked for.
func (b *bench) last() *Call[string, int] { return b.calls[len(b.calls)-1] }

func (b *bench) grant(ahead int64) {
	b.last().Done(Reply[int]{Room: 1 << 40, Ahead: ahead}, nil)
}

// leased returns a table with a lease of so many units.
func leased(units int64) *bench {
	b := newBench()
	b.asks("k", 1, 1)
	b.grant(0)
	b.asks("k", 1, 1)
	b.grant(units)
	return b
}

func TestOrderOfArrival(t *testing.T) {
	b := newBench()
	first := b.asks("k", 1, 1)
	var rest []*Answer[int]
	for _, need := range []int64{1, 1, 5, 1, 1, 1} {
		rest = append(rest, b.asks("k", need, need))
	}
	if len(b.calls) != 1 {
		t.Fatalf("%d calls are in flight, want 1", len(b.calls))
	}
	b.grant(0)
	if first.Units != 1 || rest[0].Units != -1 {
		t.Fatalf("the first call answered %+v and %+v", first, rest[0])
	}
	want := []Want{{2, 1, 1}, {1, 5, 5}, {3, 1, 1}}
	if len(b.calls) != 2 || !slices.Equal(b.last().Wants, want) {
		t.Fatalf("calls %+v, want a second for %v", b.calls, want)
	}
	b.last().Done(Reply[int]{Room: 4, Waits: []Wait{{Least: 5, For: time.Second}, {Least: 1, For: time.Minute}}}, nil)
	got := make([]int64, len(rest))
	for i, a := range rest {
		got[i] = a.Units
	}
	if want := []int64{1, 1, 0, 1, 1, 0}; !slices.Equal(got, want) {
		t.Errorf("granted %v, want %v", got, want)
	}
	if rest[2].RetryAfter != time.Second || rest[5].RetryAfter != time.Minute {
		t.Errorf("waits %v and %v", rest[2].RetryAfter, rest[5].RetryAfter)
	}
}

// TestLargeBeforeSmall: if a lease has too few units for the first waiting request, later
// and smaller requests do not get them while a call is in flight.
func TestLargeBeforeSmall(t *testing.T) {
	b := newBench()
	b.asks("k", 1, 1)
	large, small := b.asks("k", 50, 50), b.asks("k", 1, 1)
	b.grant(20) // units ahead: no request waited when the call was sent
	if large.Units != -1 || small.Units != -1 {
		t.Fatalf("answered %+v and %+v by 20 units", large, small)
	}
	if want := []Want{{1, 50, 50}, {1, 1, 1}}; !slices.Equal(b.last().Wants, want) {
		t.Errorf("the next call asks for %v, want %v", b.last().Wants, want)
	}
	b.asks("k", 50, 50)
	if small = b.asks("k", 1, 1); small.Units != -1 {
		t.Errorf("a later request was served first: %+v", small)
	}
}

func TestPartial(t *testing.T) {
	b := leased(10)
	if a := b.asks("k", 1, 7); a.Units != 7 || !a.Local || a.Left != 3 {
		t.Errorf("up to 7 of 10: %+v", a)
	}
	if a := b.asks("k", 1, 7); a.Units != 3 || a.Left != 0 {
		t.Errorf("up to 7 of 3: %+v", a)
	}
	a := b.asks("k", 1, 7)
	b.grant(0) // to the renewal
	b.last().Done(Reply[int]{Room: 2}, nil)
	if a.Units != 2 || a.Local {
		t.Errorf("up to 7 where there is room for 2: %+v", a)
	}
}

func TestRefillAhead(t *testing.T) {
	b := leased(100)
	sent := len(b.calls)
	for range 74 {
		b.Take("k", 1, 1)
	}
	if len(b.calls) != sent {
		t.Fatal("a call was sent while more than a quarter is left")
	}
	b.Take("k", 1, 1)
	if len(b.calls) != sent+1 || len(b.last().Wants) != 0 || b.last().Ahead == 0 {
		t.Fatalf("no call for the next lease at a quarter: %+v", b.calls)
	}
	for range 25 {
		if _, ok := b.Take("k", 1, 1); !ok {
			t.Fatal("the lease hands out nothing while the next one is on its way")
		}
	}
	a := b.asks("k", 1, 1)
	if len(b.calls) != sent+1 {
		t.Fatal("a second call is in flight")
	}
	b.grant(50)
	if a.Units != 1 || a.Left != 49 || !a.Local {
		t.Errorf("who waited for the next lease got %+v", a)
	}
}

// TestBothLeases: the next lease waits until the current one is used up.
func TestBothLeases(t *testing.T) {
	b := leased(100)
	for range 75 {
		b.Take("k", 1, 1)
	}
	b.grant(100)
	for i := range 125 {
		if a := b.asks("k", 1, 1); a.Units != 1 {
			t.Fatalf("unit %d of two leases: %+v", i, a)
		}
	}
}

// TestTakeFromBothLeases: Take also uses the next lease without a call, so that requests
// are served while the store does not respond.
func TestTakeFromBothLeases(t *testing.T) {
	b := leased(100)
	for range 75 {
		b.Take("k", 1, 1)
	}
	b.grant(100)
	sent := len(b.calls)
	if got, ok := b.Take("k", 101, 200); ok {
		t.Errorf("Take(101) with 25 and 100 units left: %+v", got)
	}
	if got, ok := b.Take("k", 20, 20); !ok || got.Left != 5 {
		t.Errorf("Take(20) with 25 units left in the current lease: %+v", got)
	}
	if len(b.calls) != sent {
		t.Error("a call was sent while both leases had units")
	}
	if got, ok := b.Take("k", 80, 80); !ok || got.Units != 80 || got.Left != 20 {
		t.Fatalf("Take(80) with 5 and 100 units left: %+v", got)
	}
	if len(b.calls) != sent+1 {
		t.Errorf("%d calls were sent with a fifth of the next lease left, want 1", len(b.calls)-sent)
	}
	b.advance(d)
	if got, ok := b.Take("k", 1, 1); ok {
		t.Errorf("Take after both leases have ended: %+v", got)
	}
}

func TestRenewBeforeTheEnd(t *testing.T) {
	b := leased(100)
	sent := len(b.calls)
	b.advance(d*3/4 - 1)
	b.Take("k", 1, 1)
	if len(b.calls) != sent {
		t.Fatal("the next lease is asked for before three quarters of the time")
	}
	b.advance(1)
	b.Take("k", 1, 1)
	if len(b.calls) != sent+1 {
		t.Error("the next lease is not asked for in time")
	}
}

// TestSlowNetwork: nothing is taken ahead after a call that took a quarter of a lease.
func TestSlowNetwork(t *testing.T) {
	b := leased(10)
	ask := func(trip time.Duration) int64 {
		b.asks("k", 20, 20)
		ahead := b.last().Ahead
		b.now = b.now.add(trip)
		b.grant(0)
		return ahead
	}
	ask(d / 4)
	if ask(d/4+1) == 0 {
		t.Error("nothing is taken ahead after a quarter of a lease")
	}
	if ahead := ask(0); ahead != 0 {
		t.Errorf("%d units are taken ahead after a longer call", ahead)
	}
	if ask(0) == 0 {
		t.Error("nothing is taken ahead when the network is fast again")
	}
}

func TestSize(t *testing.T) {
	b := newBench()
	b.asks("k", 1, 1)
	if b.last().Ahead != 0 {
		t.Errorf("a key that was never seen takes %d units ahead", b.last().Ahead)
	}
	b.grant(0)
	for before := int64(0); before < terms.Ahead; {
		b.asks("k", 1, 1)
		ahead := b.last().Ahead
		if ahead < 2*before && ahead < terms.Ahead || ahead <= before {
			t.Fatalf("after %d units, which were used early, a call takes %d", before, ahead)
		}
		before = ahead
		b.grant(ahead)
		b.Take("k", ahead, ahead)
		b.calls = b.calls[:1] // leave the renewal out
		l := b.of("k", terms)
		l.call = nil
	}
	// Less than half is used: the next call takes twice what was used.
	b.asks("k", 1, 1)
	b.grant(b.last().Ahead)
	b.Take("k", 100, 100)
	b.advance(d)
	b.asks("k", 1, 1)
	if got := b.last().Ahead; got != 200 {
		t.Errorf("after 100 of 1000 units were used, a call takes %d ahead, want 200", got)
	}
	// Where the log had no room, more would not help.
	b.grant(50)
	b.Take("k", 50, 50)
	l := b.of("k", terms)
	l.call = nil
	b.asks("k", 1, 1)
	if got := b.last().Ahead; got != 200 {
		t.Errorf("after 50 of 200 were granted, a call asks for %d", got)
	}
}

func TestEnds(t *testing.T) {
	for name, step := range map[string]Moment{"monotonic": {Mono: d}, "wall": {Wall: d}} {
		b := leased(100)
		b.now = Moment{b.now.Mono + step.Mono - min(step.Mono, 1), b.now.Wall + step.Wall - min(step.Wall, 1)}
		if _, ok := b.Take("k", 1, 1); !ok {
			t.Errorf("%s clock: ended too early", name)
		}
		b.now = Moment{b.now.Mono + min(step.Mono, 1), b.now.Wall + min(step.Wall, 1)}
		if _, ok := b.Take("k", 1, 1); ok {
			t.Errorf("%s clock: not ended", name)
		}
	}
}

// TestReturns: the remaining units of many leases are returned once, in one call.
func TestReturns(t *testing.T) {
	b := newBench()
	for i := range 50 {
		key := fmt.Sprint(i)
		b.asks(key, 1, 1)
		b.grant(0)
		b.asks(key, 1, 1)
		b.grant(10)
		b.Take(key, 3, 3)
	}
	b.advance(d)
	b.advance(0)
	b.advance(d)
	if len(b.returns) != 1 || len(b.returns[0]) != 50 || b.returns[0][0].Units != 7 {
		t.Fatalf("%d returns, want one of 50 keys", len(b.returns))
	}
	b.Close()
	if len(b.returns) != 1 {
		t.Error("units are returned twice")
	}
	if b.size() != 0 {
		t.Errorf("%d keys are left after two lengths of a lease", b.size())
	}
}

func (b *bench) size() (n int) {
	for i := range b.shards {
		n += len(b.shards[i].keys)
	}
	return n
}

// TestLateSweep: a process that was stopped drops returns that the log would ignore.
func TestLateSweep(t *testing.T) {
	b := leased(10)
	b.advance(2 * d)
	b.advance(0)
	if len(b.returns) != 0 {
		t.Errorf("returned %v two lengths after it was taken", b.returns)
	}
}

func TestLateReply(t *testing.T) {
	b := leased(1)
	b.Take("k", 1, 1)
	a := b.asks("k", 1, 1)
	b.now = b.now.add(d)
	later := b.asks("k", 1, 1)
	b.calls[len(b.calls)-1].Done(Reply[int]{Room: 100, Ahead: 10}, nil)
	if a.Units != 1 || a.Local {
		t.Errorf("who waited when the call was sent got %+v", a)
	}
	if later.Units != -1 {
		t.Errorf("who came later got %+v of a lease that has ended", later)
	}
	b.advance(sweepPause)
	if len(b.returns) != 1 || b.returns[0][0].Units != 10 {
		t.Errorf("what was taken ahead is not returned: %v", b.returns)
	}
}

func TestUnknownOutcome(t *testing.T) {
	b := newBench()
	failed := errors.New("lost")
	a := b.asks("k", 1, 1)
	later := b.asks("k", 1, 1)
	b.last().Done(Reply[int]{Room: 100, Ahead: 100}, failed)
	if a.Err != failed || a.Units != 0 {
		t.Errorf("got %+v", a)
	}
	if _, ok := b.Take("k", 1, 1); ok {
		t.Error("units of a call that failed are handed out")
	}
	if later.Units != -1 || len(b.calls) != 2 {
		t.Error("who came later has no call of its own")
	}
}

func TestPutBack(t *testing.T) {
	b := leased(10)
	four, _ := b.Take("k", 4, 4)
	b.PutBack("k", four)
	if b.Left("k") != 10 {
		t.Errorf("%d units after a request was put back, want 10", b.Left("k"))
	}
	if all, _ := b.Take("k", 1, 100); all.Units != 10 {
		t.Errorf("took %d of 10 units", all.Units)
	}
	// Before the units ahead are there, the answer of the same call is put back.
	b.advance(d / 2)
	b.Join("k", terms, &Waiter[string, int]{Least: 2, Most: 2, Answer: func(a Answer[int]) { b.PutBack("k", a.Taken) }})
	b.grant(5)
	if b.Left("k") != 5 {
		t.Errorf("%d units, want 3 and the 2 that were put back", b.Left("k"))
	}
	four, _ = b.Take("k", 4, 4)
	b.advance(d)
	b.advance(d)
	b.returns = nil
	b.PutBack("k", four)
	b.advance(d)
	if len(b.returns) != 1 || len(b.returns[0]) != 1 || b.returns[0][0].Units != 4 || b.Left("k") != 0 {
		t.Errorf("4 units that came back to a closed lease: returned %v, %d left", b.returns, b.Left("k"))
	}
	// A call that took nothing ahead makes no lease.
	for _, when := range []string{"in the answer", "later"} {
		b := newBench()
		var one Answer[int]
		b.Join("k", terms, &Waiter[string, int]{Least: 1, Most: 1, Answer: func(a Answer[int]) {
			if one = a; when == "in the answer" {
				b.PutBack("k", one.Taken)
			}
		}})
		b.grant(0)
		if when == "later" {
			b.PutBack("k", one.Taken)
		}
		b.advance(d)
		if len(b.returns) != 1 || len(b.returns[0]) != 1 || b.returns[0][0].Units != 1 {
			t.Errorf("a unit that was put back %s: returned %v, want it once", when, b.returns)
		}
	}
}

func TestLeave(t *testing.T) {
	b := newBench()
	var got []int64
	waiter := func() *Waiter[string, int] {
		w := &Waiter[string, int]{Least: 1, Most: 1, Answer: func(a Answer[int]) { got = append(got, a.Units) }}
		b.Join("k", terms, w)
		return w
	}
	inFlight, queued := waiter(), waiter()
	if !b.Leave(inFlight) || !b.Leave(queued) {
		t.Error("they had their answer")
	}
	b.grant(0)
	if len(got) != 0 {
		t.Error("who has left got an answer")
	}
	if a := b.asks("k", 1, 1); a.Units != 1 {
		t.Errorf("the unit of one that has left is lost: %+v", a)
	}
}

func TestReset(t *testing.T) {
	b := leased(10)
	b.asks("k", 20, 20)
	b.Reset("k")
	b.grant(10)
	if _, ok := b.Take("k", 1, 1); ok {
		t.Error("units of before the reset are handed out")
	}
}

func TestClose(t *testing.T) {
	b := leased(100)
	for range 75 {
		b.Take("k", 1, 1)
	}
	b.Close()
	b.grant(50)
	sum := int64(0)
	for _, all := range b.returns {
		for _, r := range all {
			sum += r.Units
		}
	}
	if sum != 75 {
		t.Errorf("%d units are returned, want 25 and 50", sum)
	}
	if b.asks("k", 1, 1); b.last().Ahead != 0 {
		t.Error("a closed table takes units ahead")
	}
}

// TestFindAfterDrop: a lease that was dropped is not found again, not even by a request
// that looks for it at the same time.
func TestFindAfterDrop(t *testing.T) {
	b := leased(100)
	for begun := time.Now(); time.Since(begun) < 200*time.Millisecond; {
		l := b.of("k", terms)
		var finders sync.WaitGroup
		for range 2 {
			finders.Go(func() {
				for !l.gone.Load() {
					b.recentOf(l.hash).CompareAndSwap(l, nil) // so that find searches the shard again
					b.find("k")
				}
			})
		}
		runtime.Gosched()
		l.mu.Lock()
		b.forget(l)
		l.mu.Unlock()
		finders.Wait()
		if found := b.find("k"); found != nil {
			t.Fatalf("found a lease that was dropped, gone: %t", found.gone.Load())
		}
	}
}

func TestFull(t *testing.T) {
	b := newBench()
	for i := range shards*keysInShard + 5000 {
		b.asks(fmt.Sprint(i), 1, 1)
	}
	if n := b.size(); n > shards*keysInShard {
		t.Errorf("%d keys", n)
	}
	a := b.asks("further", 1, 1)
	b.grant(0)
	if a.Units != 1 {
		t.Errorf("a request beyond the bound got %+v", a)
	}
	for _, c := range b.calls {
		c.Done(Reply[int]{Room: 1}, nil)
	}
	b.asks("another", 1, 1)
	if b.last().lease.spare {
		t.Error("no idle key made room")
	}
	for i := range 1000 {
		b.asks(fmt.Sprint("later ", i), 1, 1)
		b.grant(0)
	}
	if n := len(b.agenda.leases); n > shards*keysInShard {
		t.Errorf("the sweep is to look at %d keys, some of which are gone", n)
	}
}

// TestSweeps: there are as many sweeps as the pause allows, however many keys ask for an
// earlier one.
func TestSweeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var armed atomic.Int64
		begun := time.Now()
		table := NewTable(Config[string, int]{
			Now: func() Moment {
				return Moment{}.add(time.Hour + time.Since(begun))
			},
			Ask:    func(c *Call[string, int]) { go c.Done(Reply[int]{Room: 1 << 40, Ahead: c.Ahead}, nil) },
			Return: func([]Return[string, int]) {},
			After: func(d time.Duration, f func()) {
				armed.Add(1)
				time.AfterFunc(d, f)
			},
		})
		var all sync.WaitGroup
		for key := range 20 {
			all.Go(func() {
				for i := int64(0); i < 12_000; i++ {
					_, _ = table.Begin(fmt.Sprint(key), terms, 1+i%7, 1+i%7).Wait(t.Context())
					time.Sleep(time.Duration(2+key%3)*time.Millisecond + time.Duration(i*7919%997)*time.Microsecond)
				}
			})
		}
		time.Sleep(20 * time.Second)
		before := armed.Load()
		time.Sleep(5 * time.Second)
		if n, most := armed.Load()-before, int64(5*time.Second/sweepPause); n > most {
			t.Errorf("%d sweeps in 5 s, want at most %d", n, most)
		}
		all.Wait()
		time.Sleep(time.Minute) // the timers end
	})
}

// TestNoGrowthAfterAnError: while no server answers, a lease does not ask for more and
// more.
func TestNoGrowthAfterAnError(t *testing.T) {
	b := leased(8)
	b.Take("k", 8, 8)
	b.asks("k", 1, 1)
	ahead := b.last().Ahead
	for range 5 {
		b.last().Done(Reply[int]{}, errors.New("lost"))
		b.asks("k", 1, 1)
	}
	if ahead == 0 || b.last().Ahead != ahead {
		t.Errorf("a call asks for %d units after five errors, and asked for %d before", b.last().Ahead, ahead)
	}
}

func TestBytes(t *testing.T) {
	b := newBench()
	keys := make([]string, 50_000)
	for i := range keys {
		keys[i] = fmt.Sprintf("198.51.100.%d", i)
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // also what pools hold
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	b.Ask = func(c *Call[string, int]) { c.Done(Reply[int]{Room: 100, Ahead: c.Ahead}, nil) }
	for _, k := range keys {
		b.asks(k, 1, 1)
		b.asks(k, 1, 1)
	}
	bytes := (heap() - before) / uint64(len(keys))
	t.Logf("%d bytes a key", bytes)
	if bytes > 800 {
		t.Errorf("%d bytes a key, want at most 800", bytes)
	}
	runtime.KeepAlive(keys)
	runtime.KeepAlive(b)
}

// TestAcquire has many callers wait and leave. All units that the log grants are used or
// returned.
func TestAcquire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var granted, returned, used atomic.Int64
		var table *Table[string, int]
		var calls sync.WaitGroup
		table = NewTable(Config[string, int]{
			Now: Now,
			Ask: func(c *Call[string, int]) {
				calls.Go(func() {
					time.Sleep(time.Millisecond)
					sum := c.Ahead
					for _, w := range c.Wants {
						sum += w.Count
					}
					granted.Add(sum)
					c.Done(Reply[int]{Room: 1 << 40, Ahead: c.Ahead}, nil)
				})
			},
			Return: func(all []Return[string, int]) {
				for _, r := range all {
					returned.Add(r.Units)
				}
			},
			After: func(d time.Duration, f func()) { time.AfterFunc(d, f) },
		})
		var callers sync.WaitGroup
		for i := range 50 {
			callers.Go(func() {
				for n := range 400 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n%5+1)*time.Millisecond)
					a, err := table.Begin(fmt.Sprint("key", i%3), terms, 1, 1).Wait(ctx)
					cancel()
					if err == nil {
						used.Add(a.Units)
					} else if !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("got %v", err)
					}
					time.Sleep(time.Duration(n*i%7) * time.Millisecond)
				}
			})
		}
		callers.Wait()
		table.Close()
		calls.Wait()
		time.Sleep(3 * d)
		t.Logf("%d granted, %d used, %d returned", granted.Load(), used.Load(), returned.Load())
		if lost := granted.Load() - used.Load() - returned.Load(); lost != 0 {
			t.Errorf("%d units are lost", lost)
		}
	})
}

func TestTakeAllocatesNothing(t *testing.T) {
	b := leased(1 << 30)
	if n := testing.AllocsPerRun(1000, func() { b.Take("k", 1, 1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTake(b *testing.B) {
	table := leased(1 << 60)
	table.Now = Now
	l := table.of("k", terms)
	l.current.Load().end = Now().add(time.Hour)
	l.current.Load().renew = Now().add(time.Hour)
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			table.Take("k", 1, 1)
		}
	})
	b.Run("64", func(b *testing.B) {
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				table.Take("k", 1, 1)
			}
		})
	})
}
