package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

const leaseCallers = 64

// leasePeers are the limiters that are measured beside leases.
var leasePeers = []string{us, "redis_rate", "ulule/limiter", "sorted set"}

// measureLease measures how many requests a second are admitted with leases, for one hot
// key and for 10,000 keys by Zipf's law. No limit is reached.
func measureLease(b *bench) error {
	leased := us + ", lease 1s"
	warm, span := b.pick(1, 3), b.pick(1, 10)
	t := table{Name: "lease", Title: fmt.Sprintf("Admitted a second with leases, %d callers", leaseCallers),
		How: fmt.Sprintf("%d s each, after %d s. No limit is reached.", span, warm)}
	contestants := []peer{ours(leased, 1, core.Lease(time.Second))}
	for _, p := range b.peers {
		if slices.Contains(leasePeers, p.name) {
			contestants = append(contestants, p)
		}
	}
	for _, m := range []struct {
		name string
		keys []string
	}{{"one hot key", []string{"hot"}}, {"Zipf 1.1, 10,000 keys", zipfKeys(10_000, 1<<18)}} {
		rates := map[string]float64{}
		for _, p := range contestants {
			b.step("Leases: %s, %s", p.name, m.name)
			rate, scripts, err := admitted(p, m.keys, time.Duration(warm)*time.Second, time.Duration(span)*time.Second)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			rates[p.name] = rate
			t.set(p.name, m.name, rate)
			if p.name == leased {
				t.set(p.name, m.name+": scripts in a million decisions", 1e6*scripts)
			}
		}
		t.set(leased, m.name+": ratio to no lease", rates[leased]/rates[us])
	}
	b.add(t)
	return nil
}

// zipfKeys draws from n keys. The share of the i-th key is proportional to i^-1.1.
func zipfKeys(n, draws int) []string {
	sums, sum := make([]float64, n), 0.0
	for i := range sums {
		sum += math.Pow(float64(i+1), -1.1)
		sums[i] = sum
	}
	r := rand.New(rand.NewPCG(1, 2))
	keys := make([]string, draws)
	for i := range keys {
		at, _ := slices.BinarySearch(sums, r.Float64()*sum)
		keys[i] = fmt.Sprintf("zipf-%d", at)
	}
	return keys
}

// admitted returns how many requests a peer admits in a second, and how many scripts the
// server runs for each.
func admitted(p peer, keys []string, warm, span time.Duration) (rate, scriptsEach float64, err error) {
	s := newStage()
	defer s.close()
	entrants, err := enter(s, []peer{p}, quota{max: 1_000_000_000, window: time.Minute})
	if err != nil {
		return 0, 0, err
	}
	var counting, over atomic.Bool
	var sum atomic.Int64
	var first atomic.Pointer[error]
	var callers sync.WaitGroup
	e := entrants[0]
	for caller := range leaseCallers {
		callers.Go(func() {
			n := int64(0)
			for i := caller * 4099; !over.Load(); i++ {
				ok, err := e.allow(context.Background(), keys[i%len(keys)])
				if err == nil && !ok {
					err = errors.New("denied, and no limit is reached")
				}
				if err != nil {
					first.CompareAndSwap(nil, &err)
					return
				}
				if counting.Load() {
					n++
				}
			}
			sum.Add(n)
		})
	}
	time.Sleep(warm)
	before := s.meter()
	counting.Store(true)
	begun := time.Now()
	time.Sleep(span)
	counting.Store(false)
	took := time.Since(begun)
	commands, _ := s.meter().since(before, scripts)
	over.Store(true)
	callers.Wait()
	if err := first.Load(); err != nil {
		return 0, 0, *err
	}
	done := float64(sum.Load())
	return done / took.Seconds(), float64(commands.calls) / done, nil
}
