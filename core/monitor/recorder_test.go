package monitor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

var (
	api    = core.NewPolicy("api", core.PerMinute(100))
	search = core.NewPolicy("search", core.PerMinute(100), core.PerSecond(10))
)

// observed returns an observation as the limiter makes it.
func observed(p *core.Policy, key string, result core.Result) core.Observation {
	return core.Observation{
		Policy: p, Key: key, Route: "/route", Cost: 1, Result: result, Source: core.SourceRedis,
		Limit: core.PerMinute(100), Remaining: 50, Took: 100 * time.Microsecond, Request: result,
	}
}

var errStore = errors.New("no answer")

// tickAt sets the recorder's clock to the end of a second.
func tickAt(r *Recorder, end time.Time) {
	r.picture.clock.ahead.Store(int64(end.Sub(r.picture.clock.own())))
	r.tick(end)
}

// Every decision counts once, with concurrent decisions and at the end of a second.
func TestCountsAreExact(t *testing.T) {
	r := newRecorder(nil)
	const workers, each = 8, 10_000
	results := []core.Result{core.ResultAllowed, core.ResultDenied, core.ResultShadowDenied, core.ResultError}
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := range each {
				o := observed(api, fmt.Sprint("key", i%100), results[i%len(results)])
				if i%10 == 0 {
					o.Policy = search
				}
				if i%20 == 4 {
					o.Source = core.SourceFallback
				}
				if o.Result == core.ResultError {
					o.Source, o.Err = core.SourceNone, errStore
				}
				if i%20 == 5 { // the second decision on one request
					o.Before = core.ResultAllowed
				}
				if w == 0 && i%1000 == 0 {
					runtime.Gosched()
				}
				r.Observe(o)
			}
		})
	}
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	end := time.Unix(1_700_000_000, 0)
	for ticking := true; ticking; {
		select {
		case <-done:
			ticking = false
		case <-time.After(time.Millisecond):
		}
		end = end.Add(time.Millisecond) // all within one minute
		tickAt(r, end)
	}
	// Each 20 decisions have five of each result, and one from fallback.
	got := r.picture.fine.sum(end.UnixMilli(), 60)
	sum := *got["api"]
	sum.add(got["search"])
	want := tally{atAllowed: 5, atDenied: 5, atShadowDenied: 5, atError: 5, atRedis: 14, atFallback: 1, atNone: 5}
	requests := tally{atAllowed: 4, atDenied: 5, atShadowDenied: 5, atError: 5}
	for i := range want {
		want[i] *= workers * each / 20
		requests[i] *= workers * each / 20
	}
	if sum != want {
		t.Errorf("counted %v, want %v", sum, want)
	}
	if got := *r.picture.requests.sum(end.UnixMilli(), 60)[onlyName]; got != requests {
		t.Errorf("counted requests %v, want %v", got, requests)
	}
	if n := got["search"].total(); n != workers*each/10 {
		t.Errorf("%d by policy search, want %d", n, workers*each/10)
	}
	// The route was not known at the first decision on a request.
	if got := *r.picture.routes.sum(end.UnixMilli(), 60)["/route"]; got.total() != want.total() {
		t.Errorf("%v of the route, want %v", got, want)
	}
	// There are only 100 keys, so their counts are exact.
	for _, k := range r.minute.top(end.UnixMilli()).Denied {
		if k.Error != 0 || k.Count != workers*each/100 {
			t.Errorf("key %+v, want a count of %d", k, workers*each/100)
		}
	}
}

// An observation allocates nothing, for a known key and for a key that replaces another.
func TestObserveAllocates(t *testing.T) {
	r := newRecorder(nil)
	keys := make([]string, 5000)
	for i := range keys {
		keys[i] = fmt.Sprint("203.0.113.", i)
	}
	for _, distinct := range []int{1, len(keys)} {
		i := 0
		n := testing.AllocsPerRun(6000, func() {
			i++
			r.Observe(observed(api, keys[i%distinct], []core.Result{core.ResultAllowed, core.ResultDenied}[i%2]))
		})
		if n != 0 {
			t.Errorf("%v allocations with %d keys", n, distinct)
		}
	}
}

// A recorder takes the same memory for any number of keys: 1.5 MB on two processors.
func TestMemoryIsBounded(t *testing.T) {
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	r := newRecorder(nil)
	end := time.Now().Truncate(time.Second)
	for i := range 200_000 {
		o := observed(api, fmt.Sprint("2001:db8::", i%100_000), []core.Result{core.ResultAllowed, core.ResultDenied}[i%2])
		o.Remaining = 0
		o.Route = fmt.Sprint("/", i%1000)
		r.Observe(o)
		if i%4000 == 0 {
			end = end.Add(time.Second)
			tickAt(r, end)
		}
	}
	took := heap() - before
	t.Logf("%d kB after 100,000 keys and 1,000 routes, on %d processors", took>>10, len(r.shards))
	if most := int64(2<<20 + len(r.shards)<<19); took > most {
		t.Errorf("%d bytes, want at most %d", took, most)
	}
	if routes := r.picture.routes.sum(end.UnixMilli(), 30); len(routes) > maxRoutes+1 || routes[other] == nil {
		t.Errorf("%d routes", len(routes))
	}
	runtime.KeepAlive(r)
}

// Policies beyond the bound count as other.
func TestPoliciesAreBounded(t *testing.T) {
	r := newRecorder(nil)
	for i := range 1000 {
		r.Observe(observed(core.NewPolicy(fmt.Sprint("p", i), core.PerMinute(1)), "k", core.ResultAllowed))
	}
	end := time.Now().Truncate(time.Second)
	tickAt(r, end)
	counts := r.picture.fine.sum(end.UnixMilli(), 2)
	if len(counts) > maxPolicies+1 || counts[other] == nil || counts[other].total() < 1000-2*maxPolicies {
		t.Errorf("%d policies, others %v", len(counts), counts[other])
	}
	var total int64
	for _, n := range counts {
		total += n.total()
	}
	if total != 1000 {
		t.Errorf("%d decisions counted, want 1000", total)
	}
}

// testFeed stores entries, or fails.
type testFeed struct {
	mu      sync.Mutex
	entries [][]byte
	err     error
}

func (f *testFeed) AddEntry(_ context.Context, data []byte) (time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.entries = append(f.entries, data)
	}
	return time.Now(), f.err
}

func (f *testFeed) Now(context.Context) (time.Time, error) { return time.Now(), nil }

func (f *testFeed) EntriesAfter(context.Context, string, int, func(string, []byte)) error {
	return errors.New("not for this test")
}

// A process publishes its details when they change, and every ten seconds. It publishes
// nothing after a minute without decisions.
func TestEntriesAreFew(t *testing.T) {
	feed := &testFeed{}
	r := newRecorder(feed)
	end := time.Unix(1_700_000_000, 0)
	var details []int
	for i := range 180 {
		if i < 25 || i == 50 {
			r.Observe(observed(api, "k", core.ResultAllowed))
		}
		if i == 13 {
			r.Observe(observed(search, "k", core.ResultAllowed)) // a new policy
		}
		before := len(feed.entries)
		tickAt(r, end.Add(time.Duration(i)*time.Second))
		for _, data := range feed.entries[before:] {
			e, err := parseEntry(data)
			if err != nil {
				t.Fatal(err)
			}
			if e.Top != nil {
				details = append(details, i)
			}
			if e.Top == nil && len(data) > 450 {
				t.Errorf("an entry of %d bytes: %s", len(data), data)
			}
		}
	}
	// At 103 there was no decision since 50, and the keys have left the minute.
	if got, want := fmt.Sprint(details), "[0 10 13 23 33 43 53 63 73 83 93 103]"; got != want {
		t.Errorf("details published at %v, want %v", got, want)
	}
	if n := len(feed.entries); n != 34 {
		t.Errorf("%d entries, want 26 for the seconds with decisions, and 8 later", n)
	}
	last, err := parseEntry(feed.entries[len(feed.entries)-1])
	if err != nil || last.Top == nil || len(last.Top.Allowed) != 0 {
		t.Errorf("the last entry is %+v, %v; want one without keys", last, err)
	}
}

// The recorder publishes the failure mode of a policy by the followed limiter, and
// publishes it again after a change.
func TestFailureModeIsTheLimiters(t *testing.T) {
	feed := &testFeed{}
	r := newRecorder(feed)
	limiter := core.New(core.NewMemory(), core.WithFailureMode(core.FailClosed))
	defer limiter.Close()
	end := time.Unix(1_700_000_000, 0)
	for _, step := range []struct {
		do   func()
		want string
	}{
		{func() { r.Observe(observed(api, "k", core.ResultAllowed)) }, "default"},
		{func() { r.Follow(limiter) }, "closed"},
		{func() { limiter.Register(api) }, ""}, // nothing new
		{func() {
			if err := limiter.Replace(core.NewPolicy("api", api.Limits()[0], core.OnStoreFailure(core.FailOpen))); err != nil {
				t.Fatal(err)
			}
		}, "open"},
	} {
		step.do()
		before := len(feed.entries)
		end = end.Add(time.Second)
		tickAt(r, end)
		got := ""
		for _, data := range feed.entries[before:] {
			e, err := parseEntry(data)
			if err != nil {
				t.Fatal(err)
			}
			got = e.Policies["api"].Failure
		}
		if got != step.want {
			t.Errorf("published failure mode %q, want %q", got, step.want)
		}
	}
}

// A decision counts in its own second, whenever the recorder is made and closed.
func TestSecondsAreTheirOwn(t *testing.T) {
	for _, c := range []struct{ begin, last time.Duration }{
		{5 * time.Millisecond, 500 * time.Millisecond},
		{945 * time.Millisecond, 970 * time.Millisecond}, // late in a second, and closed in the same second
		{945 * time.Millisecond, 1970 * time.Millisecond},
		{505 * time.Millisecond, 3001 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now() // the start of a second, as a bubble's clock begins
			feed := &testFeed{}
			r := newRecorder(feed)
			time.Sleep(c.begin)
			go r.run()
			want := make(map[int64]int64)
			for time.Since(start) < c.last {
				time.Sleep(10 * time.Millisecond)
				r.Observe(observed(api, "k", core.ResultAllowed))
				want[time.Now().Truncate(time.Second).UnixMilli()]++
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			got := make(map[int64]int64)
			for _, data := range feed.entries {
				e, err := parseEntry(data)
				if err != nil {
					t.Fatal(err)
				}
				if _, ok := got[e.Time]; ok {
					t.Errorf("from %v to %v: second %d comes twice", c.begin, c.last, e.Time)
				}
				got[e.Time] = e.Counts["api"].total()
			}
			if !maps.Equal(got, want) {
				t.Errorf("from %v to %v: counted %v, want %v", c.begin, c.last, got, want)
			}
		})
	}
}

// After a timer that fired early or a clock that was set back a little, the next second
// follows. After a clock that was set back far, the second by that clock follows.
func TestEndAfter(t *testing.T) {
	ten := time.Unix(1_700_000_010, 0)
	for _, c := range []struct{ now, want time.Duration }{
		{300 * time.Millisecond, time.Second},
		{0, time.Second},
		{-time.Millisecond, time.Second},
		{2500 * time.Millisecond, 3 * time.Second},
		{-1700 * time.Millisecond, time.Second},
		{-4500 * time.Millisecond, time.Second},
		{-5500 * time.Millisecond, -5 * time.Second},
	} {
		if got := endAfter(ten, ten.Add(c.now)).Sub(ten); got != c.want {
			t.Errorf("%v after the last: ends at %v, want %v", c.now, got, c.want)
		}
	}
}

// A clock that is set back repeats no second. The recorder waits for seconds up to a
// maximum. Beyond it, it forgets their earlier counts.
func TestClockIsSetBack(t *testing.T) {
	for _, back := range []time.Duration{2 * time.Second, time.Minute, 3 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			store := newSkewedStore(4 * time.Hour)
			defer store.Close()
			r := NewRecorder(store)
			time.Sleep(100 * time.Millisecond) // no decision at the moment when a second ends
			for i := range 300 {
				if i == 200 {
					store.ahead.Add(-int64(back))
				}
				time.Sleep(500 * time.Millisecond)
				r.Observe(observed(api, "k", core.ResultAllowed))
			}
			_ = r.Close()
			seen := make(map[int64]bool)
			var told, most int64
			for _, data := range store.entries {
				e, err := parseEntry(data)
				if err != nil {
					t.Fatal(err)
				}
				if back < maxBack && seen[e.Time] {
					t.Errorf("%v: second %d comes twice", back, e.Time)
				}
				seen[e.Time] = true
				if n := e.Counts["api"]; n != nil {
					told += n.total()
				}
			}
			p := r.picture
			for at := store.now().Add(-time.Minute); at.Before(store.now()); at = at.Add(time.Second) {
				if one := p.fine.at(at.UnixMilli())["api"]; one != nil {
					most = max(most, one.total())
				}
			}
			// Seconds of a wait are one entry.
			if want := 2 * int64(1+min(back, 3*time.Second)/time.Second); told != 300 || most < 2 || most > want {
				t.Errorf("%v: published %d decisions, and %d in one second; want 300, and 2 to %d", back, told, most, want)
			}
		})
	}
}

// A feed that fails loses publications, but no counts of this process.
func TestFeedFails(t *testing.T) {
	feed := &testFeed{err: errors.New("down")}
	r := newRecorder(feed)
	end := time.Now().Truncate(time.Second)
	for range 5 {
		r.Observe(observed(api, "k", core.ResultAllowed))
		end = end.Add(time.Second)
		tickAt(r, end)
	}
	if n := r.picture.fine.sum(end.UnixMilli(), 60)["api"]; n == nil || n[atAllowed] != 5 {
		t.Errorf("counted %v", n)
	}
}

// BenchmarkObserve: on two processors 95 to 110 ns for a known key, 110 ns with 100 keys,
// and 150 ns if each key replaces another. A single goroutine then takes 140 to 210 ns.
func BenchmarkObserve(b *testing.B) {
	keys := make([]string, 100_000)
	for i := range keys {
		keys[i] = fmt.Sprint("203.0.113.", i)
	}
	for _, distinct := range []int{1, 100, len(keys)} {
		b.Run(fmt.Sprintf("%d keys", distinct), func(b *testing.B) {
			r := newRecorder(nil)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				o := observed(api, "", core.ResultAllowed)
				for i := rand.IntN(len(keys)); pb.Next(); i++ {
					o.Key = keys[i%distinct]
					r.Observe(o)
				}
			})
		})
	}
}
