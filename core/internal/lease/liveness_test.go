package lease

import (
	"math/rand/v2"
	"testing"
)

// steady returns a world with a network that loses nothing.
func steady(processes int, length, trip int64, limits ...limit) *world {
	w := &world{
		Rand: rand.New(rand.NewPCG(1, 16)), logs: map[string]*serverLog{}, uses: map[string][]*use{},
		now: 100_000, length: length, trip: trip, timeout: 1 << 30, limits: limits,
	}
	for range processes {
		w.newProcess()
	}
	return w
}

// ignore keeps requests from being put back.
func ignore(Answer[found]) {}

// ask makes a process send a request every gap ms, until a time.
func (p *process) asks(gap float64, until int64) {
	at := gap * p.Float64()
	begun := p.now
	var next func()
	next = func() {
		p.request("a", 1, 1, ignore)
		at += gap
		if begun+int64(at) < until {
			p.after(begun+int64(at)-p.now, next)
		}
	}
	p.after(int64(at), next)
}

// used returns the units used between two times.
func (w *world) used(from, to int64) (units int64) {
	for _, u := range w.uses["a"] {
		if from < u.at && u.at <= to {
			units += u.units
		}
	}
	return units
}

func (w *world) held() (units int64) {
	for _, p := range w.processes {
		for i := range p.table.shards {
			for _, l := range p.table.shards[i].keys {
				if g := l.current.Load(); g != nil {
					units += max(0, g.left.Load())
				}
				if next := l.next.Load(); next != nil {
					units += max(0, next.left.Load())
				}
			}
		}
	}
	return units
}

const (
	windowLength = 6000
	leaseLength  = windowLength / 60
	units        = 1000
)

var oneLimit = limit{max: units, window: windowLength}

// TestSaturated runs eight processes whose demand is twice the limit.
func TestSaturated(t *testing.T) {
	w := steady(8, leaseLength, 2, oneLimit)
	begun, end := w.now, w.now+4*(windowLength+leaseLength)
	for _, p := range w.processes {
		p.asks(float64(windowLength)*8/(2*units), end)
	}
	w.run(end)
	share := float64(w.used(begun+windowLength+leaseLength, end)) / (3 * units)
	t.Logf("%.3f of Max per W+d, %.3f calls a request", share, float64(w.calls)/float64(w.asked))
	if share < 0.97 {
		t.Errorf("%.3f of Max per W+d, want at least 0.97", share)
	}
}

// TestIdleHolders: seven processes take leases and send no more requests. One process
// continues.
func TestIdleHolders(t *testing.T) {
	w := steady(8, leaseLength, 2, oneLimit)
	begun := w.now
	end := begun + leaseLength + 3*(windowLength+leaseLength)
	for i, p := range w.processes {
		if i > 0 {
			p.asks(1, begun+leaseLength/4)
		} else {
			p.asks(float64(windowLength)/(2*units), end)
		}
	}
	w.run(end)
	for i := range int64(3) {
		from := begun + i*(windowLength+leaseLength)
		share := float64(w.used(from, from+windowLength+leaseLength)) / units
		t.Logf("%.3f of Max in W+d number %d", share, i)
		if share < 0.95 {
			t.Errorf("%.3f of Max, want at least 0.95", share)
		}
	}
}

// TestHalf: a client at half of the limit is never denied, whichever process it asks.
func TestHalf(t *testing.T) {
	w := steady(4, leaseLength, 2, oneLimit)
	w.spread(0.5, w.now+4*windowLength)
	if w.denied != 0 {
		t.Errorf("%d of %d requests were denied", w.denied, w.asked)
	}
}

// spread sends requests at a share of the limit to the processes in turn.
func (w *world) spread(share float64, end int64) (held int64) {
	gap := windowLength / (share * units)
	at, n := 0.0, 0
	var next func()
	begun := w.now
	next = func() {
		held = max(held, w.held())
		w.processes[n%len(w.processes)].request("a", 1, 1, ignore)
		n++
		at += gap
		if begun+int64(at) < end {
			w.after(begun+int64(at)-w.now, next)
		}
	}
	w.after(0, next)
	w.run(end)
	return held
}

// TestAtTheLimit: a client at the limit gets at most as many denials as without leases,
// plus the units that leases hold in each window.
func TestAtTheLimit(t *testing.T) {
	const windows = 4
	single := steady(4, leaseLength, 2, oneLimit)
	single.single = true
	single.spread(1, single.now+windows*windowLength)
	w := steady(4, leaseLength, 2, oneLimit)
	held := w.spread(1, w.now+windows*windowLength)
	t.Logf("%d denied, %d by single requests, at most %d units held", w.denied, single.denied, held)
	if most := single.denied + windows*held; w.denied > most {
		t.Errorf("%d denied, want at most %d", w.denied, most)
	}
}

// TestColdBurst: a burst of the whole limit takes two round trips.
func TestColdBurst(t *testing.T) {
	w := steady(1, leaseLength, 10, oneLimit)
	for range units {
		w.processes[0].request("a", 1, 1, ignore)
	}
	w.run(w.now + windowLength)
	if w.admitted != units || w.longest > 2*w.trip {
		t.Errorf("%d admitted, the last after %d ms of a round trip of %d", w.admitted, w.longest, w.trip)
	}
}

// TestFarServer: with a round trip longer than a lease, as many are admitted as without
// leases.
func TestFarServer(t *testing.T) {
	run := func(single bool) int64 {
		w := steady(4, leaseLength, 2*leaseLength+10, oneLimit)
		w.single = single
		end := w.now + 4*windowLength
		for _, p := range w.processes {
			p.asks(float64(windowLength)*4/(1.5*units), end)
		}
		w.run(end)
		return w.admitted
	}
	if alone, leased := run(true), run(false); leased < alone {
		t.Errorf("%d admitted, %d without leases", leased, alone)
	}
}

// TestLateReturn: a late return does not hide other returns from a short window for as
// long as the longest window.
func TestLateReturn(t *testing.T) {
	run := func(b broken) int64 {
		w := steady(4, leaseLength, 2, oneLimit, limit{max: 20 * units, window: 20 * windowLength})
		w.broken = b
		end := w.now + 6*windowLength
		s := w.log("a")
		// Half of the window after it was taken, some units come back.
		taken := &logEntry{time: w.now, cost: 1}
		s.enter(taken, w.longestWindow())
		w.after(windowLength/2, func() {
			w.correct(Return[keyOf, found]{Key: keyOf{name: "a"}, State: found{entry: taken}, Units: 1})
		})
		for i, p := range w.processes {
			// Bursts, whose leases are left unused and go back.
			for at := int64(0); at < end-w.now; at += 2 * leaseLength {
				p.after(at+int64(i)*7, func() {
					for range 12 {
						p.request("a", 1, 1, ignore)
					}
				})
			}
		}
		w.run(end)
		return w.admitted
	}
	timely, hidden := run(broken{}), run(broken{noGrace: true})
	t.Logf("%d admitted, %d when late returns are accepted", timely, hidden)
	if hidden >= timely {
		t.Errorf("%d admitted, and %d when late returns are accepted", timely, hidden)
	}
}
