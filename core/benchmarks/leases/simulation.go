package main

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/streamlimit/streamlimit/core/internal/lease"
)

// figures are the results of a simulation.
type figures struct {
	Requests float64 // a second
	Calls    float64 // a second, of the takes
	Returns  float64 // a second: keys to which units were returned
	Share    float64 // admitted part of the limit, for keys whose demand is above it; NaN without such keys
	Starved  time.Duration
}

// log is a key's log at the server. A return reduces the units of its entry.
type log struct {
	entries []*entry
	used    int64
}

type entry struct {
	at    time.Duration
	units int64
}

// process is one of the processes that share the limits.
type process struct {
	table  *lease.Table[int32, *entry]
	denied map[int32]time.Duration // until when a denial is cached
	last   time.Duration           // when it was admitted to the busiest key
}

// simulation is the processes, the server and the network.
type simulation struct {
	setup
	*rand.Rand
	now       time.Duration
	events    events
	order     int
	processes []*process
	logs      []log
	shares    []float64 // of the keys, summed up
	max       int64     // of each key

	counting bool
	calls    int64
	returns  int64
	admitted []int64       // by key
	anyone   time.Duration // when anyone was admitted to the busiest key
	starved  time.Duration
}

func newSimulation(s setup) *simulation {
	w := &simulation{setup: s, Rand: rand.New(rand.NewPCG(1, 16)), logs: make([]log, s.keys), admitted: make([]int64, s.keys), shares: make([]float64, s.keys)}
	sum := 0.0
	for i := range w.shares {
		if s.zipf {
			sum += math.Pow(float64(i+1), -1.1)
		} else {
			sum++
		}
		w.shares[i] = sum
	}
	// The limit of the full key is half of its demand. Otherwise the mean demand is a
	// tenth of the limit, so by Zipf's law the busiest keys reach the limit.
	share := 10.0
	if s.keys == 1 && !s.plenty {
		share = 0.5
	}
	w.max = max(16, int64(share*perPod*float64(s.processes)*window.Seconds()/float64(s.keys)))
	for range s.processes {
		p := &process{denied: make(map[int32]time.Duration)}
		p.table = lease.NewTable(lease.Config[int32, *entry]{
			Now: func() lease.Moment { return lease.Moment{Mono: w.now, Wall: w.now} },
			Ask: func(c *lease.Call[int32, *entry]) {
				w.count(&w.calls, 1)
				w.after(trip/2, func() {
					r := w.decide(c)
					w.after(trip/2, func() { c.Done(r, nil) })
				})
			},
			Return: func(all []lease.Return[int32, *entry]) {
				w.count(&w.returns, int64(len(all)))
				w.after(trip/2, func() {
					for _, r := range all {
						r.State.units -= r.Units
						w.logs[r.Key].used -= r.Units
					}
				})
			},
			After: w.after,
		})
		w.processes = append(w.processes, p)
	}
	return w
}

func (w *simulation) count(n *int64, more int64) {
	if w.counting {
		*n += more
	}
}

// expire removes the entries that have left the window.
func (w *simulation) expire(l *log) {
	n := 0
	for n < len(l.entries) && l.entries[n].at <= w.now-window-w.length {
		l.used -= l.entries[n].units
		l.entries[n].units = 0
		n++
	}
	l.entries = l.entries[n:]
}

// decide does what the script does.
func (w *simulation) decide(c *lease.Call[int32, *entry]) (r lease.Reply[*entry]) {
	l := &w.logs[c.Key]
	w.expire(l)
	r.Room = max(0, w.max-l.used)
	room := r.Room
	for _, want := range c.Wants {
		for range want.Count {
			room -= want.Serve(room)
		}
	}
	r.Ahead = min(c.Ahead, room/4, w.max/8)
	r.State = &entry{w.now, r.Room - room + r.Ahead}
	if r.State.units > 0 {
		l.entries = append(l.entries, r.State)
		l.used += r.State.units
	}
	wait := time.Millisecond
	if len(l.entries) > 0 {
		wait = l.entries[0].at + window + w.length - w.now
	}
	r.Waits = []lease.Wait{{Least: 1, For: wait}}
	return r
}

func (w *simulation) terms() lease.Terms {
	if w.length == 0 {
		return lease.Terms{Length: window}
	}
	return lease.Terms{Length: w.length, Ahead: w.max / 8}
}

// request is one request to a process.
func (w *simulation) request(p *process, key int32) {
	if got, ok := p.table.Take(key, 1, 1); ok {
		w.admit(p, key, got.Units)
		return
	}
	if w.now < p.denied[key] {
		w.refuse(p, key)
		return
	}
	p.table.Join(key, w.terms(), &lease.Waiter[int32, *entry]{Least: 1, Most: 1, Answer: func(a lease.Answer[*entry]) {
		if a.Units > 0 {
			w.admit(p, key, a.Units)
			return
		}
		valid := min(a.RetryAfter, time.Second)
		if w.length > 0 {
			valid = min(valid, w.length, 100*time.Millisecond)
		}
		p.denied[key] = w.now + valid
		w.refuse(p, key)
	}})
}

func (w *simulation) admit(p *process, key int32, units int64) {
	w.count(&w.admitted[key], units)
	if key == 0 {
		p.last, w.anyone = w.now, w.now
	}
}

// refuse records how long a process got no units of the busiest key while others got
// some.
func (w *simulation) refuse(p *process, key int32) {
	if key == 0 && w.counting && w.anyone > p.last {
		w.starved = max(w.starved, w.anyone-p.last)
	}
}

func (w *simulation) key() int32 {
	at, _ := slices.BinarySearch(w.shares, w.Float64()*w.shares[len(w.shares)-1])
	return int32(min(at, len(w.shares)-1)) //nolint:gosec // there are fewer keys
}

// run starts to measure after one window and one lease.
func (w *simulation) run() (f figures) {
	gap := time.Duration(float64(time.Second) / (perPod * float64(w.setup.processes)))
	from := window + w.length
	span := 2 * (window + w.length)
	requests := 0
	asked := make([]int64, w.keys)
	for at := time.Duration(0); at < from+span; at += gap {
		w.runUntil(at)
		w.counting = at >= from
		key := w.key()
		if w.counting {
			requests++
			asked[key]++
		}
		w.request(w.processes[w.IntN(len(w.processes))], key)
	}
	seconds := span.Seconds()
	f = figures{Requests: float64(requests) / seconds, Calls: float64(w.calls) / seconds, Returns: float64(w.returns) / seconds, Starved: w.starved}
	var admitted, most float64
	for key, n := range asked {
		if n > 5*w.max/2 { // surely above the limit, which is 2*max in this time
			admitted += float64(w.admitted[key])
			most += float64(2 * w.max)
		}
	}
	f.Share = admitted / most
	return f
}

// runUntil runs the network and the timers up to a time.
func (w *simulation) runUntil(at time.Duration) {
	for len(w.events) > 0 && w.events[0].at <= at {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
	w.now = at
}

func (w *simulation) after(d time.Duration, do func()) {
	w.order++
	heap.Push(&w.events, event{w.now + d, w.order, do})
}

type event struct {
	at    time.Duration
	order int
	do    func()
}

type events []event

func (h events) Len() int { return len(h) }
func (h events) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].order < h[j].order
}
func (h events) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements [heap.Interface].
func (h *events) Push(x any) { *h = append(*h, x.(event)) }

// Pop implements [heap.Interface].
func (h *events) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
