package monitor

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// Counts are never too low, and too high by at most their error. A key that is not listed
// has at most the floor. All are within the documented bound.
func TestSummaryKeepsItsBounds(t *testing.T) {
	for _, keys := range []uint64{10, capacity, 5_000, 100_000} {
		for _, skew := range []float64{1.01, 1.5} {
			var s summary
			exact := make(map[keyName]int64)
			random := rand.New(rand.NewPCG(1, keys))
			zipf := rand.NewZipf(random, skew, 1, keys-1)
			var total int64
			for range 20_000 {
				key := keyName{"p", fmt.Sprint(zipf.Uint64())}
				s.add(key, 1, 0)
				exact[key]++
				total++
			}
			check(t, fmt.Sprintf("%d keys, skew %v", keys, skew), &s, exact, total)
		}
	}
}

func check(t *testing.T, name string, s *summary, exact map[keyName]int64, total int64) {
	t.Helper()
	bound := total / capacity
	if s.floor() > bound {
		t.Errorf("%s: floor %d, want at most %d", name, s.floor(), bound)
	}
	listed := make(map[keyName]bool)
	var sum int64
	s.each(func(key keyName, count, known int64) {
		listed[key] = true
		sum += count
		if n := exact[key]; count < n || count-known > n || known > bound {
			t.Errorf("%s: %v: count %d, error %d (at most %d), true count %d", name, key, count, known, bound, n)
		}
	})
	if sum != total {
		t.Errorf("%s: the counts are %d, want %d", name, sum, total)
	}
	for key, n := range exact {
		if !listed[key] && n > s.floor() {
			t.Errorf("%s: %v is not listed with %d, the floor is %d", name, key, n, s.floor())
		}
	}
	if len(exact) < capacity && s.floor() != 0 {
		t.Errorf("%s: %d keys are not exact", name, len(exact))
	}
}

// The keys of a minute, merged from many seconds and shards, are within the bound of
// TopKey. The keys with the highest counts are found.
func TestTopKeysKeepTheirBounds(t *testing.T) {
	var m minute
	exact := make(map[string]int64)
	random := rand.New(rand.NewPCG(2, 3))
	zipf := rand.NewZipf(random, 1.3, 1, 50_000)
	start := time.Unix(1_700_000_000, 0).UnixMilli()
	now := start - start%(slices10s*sliceMilli) // start of a minute
	var total int64
	for i := range int64(60) {
		for range 2 { // shards
			s := newSecond()
			for range 1000 {
				key := fmt.Sprint(zipf.Uint64())
				s.top[topAllowed].add(keyName{"p", key}, 1, 0)
				exact[key]++
				total++
			}
			m.add(now+i*second1, s)
		}
	}
	top := m.top(now + 59*second1)
	if len(top.Allowed) != topKeys || len(top.Denied) != 0 {
		t.Fatalf("%d keys allowed, %d denied", len(top.Allowed), len(top.Denied))
	}
	for i, k := range top.Allowed {
		n := exact[k.Key]
		if off := k.Count - n; off > k.Error || -off > k.Error || k.Error > total/128 {
			t.Errorf("%+v, true count %d; the bound is %d", k, n, total/128)
		}
		if i < 5 && k.Key != fmt.Sprint(i) {
			t.Errorf("number %d is key %s with %d", i, k.Key, n)
		}
	}
	// A minute later no key is left.
	if top := m.top(now + 120*second1); len(top.Allowed) != 0 {
		t.Errorf("still there: %v", top.Allowed)
	}
}

// The counts of a key in several processes are added. The error covers processes that
// don't list the key.
func TestMergedLists(t *testing.T) {
	full := list{floor: 82} // down to 81, give or take 1
	for i := range topKeys {
		full.keys = append(full.keys, TopKey{Policy: "p", Key: fmt.Sprint("k", i), Count: int64(100 - i), Error: 1})
	}
	merged := mergeKeys([]list{full, {keys: []TopKey{{Policy: "p", Key: "k0", Count: 7}, {Policy: "p", Key: "new", Count: 1000}}}}, topKeys)
	want := []TopKey{
		{"p", "new", 1000, 82},
		{"p", "k0", 107, 1},
		{"p", "k1", 99, 1},
	}
	if len(merged) != topKeys || fmt.Sprint(merged[:3]) != fmt.Sprint(want) {
		t.Errorf("merged %v, want %v", merged, want)
	}
}

// With 75 keys in three processes the counts of others are estimates, within the error
// that is shown. The error is at most a twentieth of the decisions of each process. A key
// that all processes publish is exact, and all keys are exact if each process has fewer
// than 20.
func TestErrorsOfMergedProcesses(t *testing.T) {
	for _, keys := range []int{19, 75} {
		p := newPicture()
		now := p.clock.now().UnixMilli()
		exact := make(map[string]int64)
		random := rand.New(rand.NewPCG(4, 5))
		var total int64
		for process := range 3 {
			var m minute
			s := newSecond()
			add := func(key string) {
				s.top[topDenied].add(keyName{"p", key}, 1, 0)
				exact[key]++
				total++
			}
			for range 1000 {
				add(fmt.Sprint("k", random.IntN(keys-1)))
			}
			for range 500 {
				add("everywhere")
			}
			m.add(now, s)
			top := m.top(now)
			p.add(entry{Version: entryVersion, Process: fmt.Sprint(process), Time: now, Top: &top}, now)
		}
		merged := p.mergeTops(now).Denied
		if len(merged) < min(keys, topKeys) || merged[0] != (TopKey{"p", "everywhere", 1500, 0}) {
			t.Errorf("%d keys: merged %v", keys, merged)
		}
		for _, k := range merged {
			if off := k.Count - exact[k.Key]; max(off, -off) > k.Error || k.Error > total/20 || keys < topKeys && k.Error != 0 {
				t.Errorf("%d keys: %+v, true count %d of %d", keys, k, exact[k.Key], total)
			}
		}
	}
}

func TestLatency(t *testing.T) {
	for took := time.Duration(1); took < time.Minute; took = took*21/20 + 1 {
		i := bucketOf(took)
		if end := bucketEnd(i); took >= time.Microsecond && i < buckets-1 && (took >= end || took < bucketEnd(max(0, i-1)) && i > 0) {
			t.Errorf("%v is in bucket %d, which ends at %v", took, i, end)
		}
	}
	var l latency
	if l.quantile(0.5) != 0 {
		t.Error("a quantile of nothing")
	}
	for i := range 1000 {
		l.add(time.Duration(i+1) * time.Microsecond)
	}
	for share, want := range map[float64]time.Duration{0.5: 500 * time.Microsecond, 0.99: 990 * time.Microsecond} {
		if got := l.quantile(share); got < want || got > want*5/4 {
			t.Errorf("%v within %v, want %v to a quarter more", share, got, want)
		}
	}
}
