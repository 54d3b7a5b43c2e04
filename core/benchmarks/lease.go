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
		How: fmt.Sprintf("%d s each, after %d s. Each caller draws its keys independently. No limit is reached.", span, warm)}
	contestants := []peer{ours(leased, 1, core.Lease(time.Second))}
	for _, p := range b.peers {
		if slices.Contains(leasePeers, p.name) {
			contestants = append(contestants, p)
		}
	}
	for _, m := range []struct {
		name string
		keys draws
	}{{"one hot key", zipf(1)}, {"Zipf 1.1, 10,000 keys", zipf(10_000)}} {
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

// draws has keys, and a random sequence of their indexes. The length of the sequence is a
// power of two.
type draws struct {
	keys   []string
	places []int32
}

// zipf returns n keys and random draws from them. The share of the i-th key is proportional
// to i^-1.1.
func zipf(n int) draws {
	d := draws{make([]string, n), make([]int32, 1<<18)}
	if n == 1 {
		d.places = d.places[:1]
	}
	sums, sum := make([]float64, n), 0.0
	for i := range sums {
		d.keys[i] = fmt.Sprintf("zipf-%d", i)
		sum += math.Pow(float64(i+1), -1.1)
		sums[i] = sum
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range d.places {
		at, _ := slices.BinarySearch(sums, r.Float64()*sum)
		d.places[i] = int32(at)
	}
	return d
}

// draw returns a random key. Callers that follow one sequence bunch up: the first waits for
// a lease, the others catch up, and from then on all wait for the same keys together.
func (d draws) draw(random *rand.PCG) string {
	return d.keys[d.places[random.Uint64()&uint64(len(d.places)-1)]]
}

// admitted returns how many requests a peer admits in a second, and how many scripts the
// server runs for each.
func admitted(p peer, keys draws, warm, span time.Duration) (rate, scriptsEach float64, err error) {
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
			random := rand.NewPCG(uint64(caller), 0)
			for !over.Load() {
				ok, err := e.allow(context.Background(), keys.draw(random))
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
