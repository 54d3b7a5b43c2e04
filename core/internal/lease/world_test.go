package lease

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// world is a server, a network and some processes under simulated time. Its unit is a
// millisecond of the true time, which never steps.
type world struct {
	*rand.Rand
	now    int64
	events eventHeap
	order  int64

	limits  []limit // the windows are the same in all versions
	length  int64   // of a lease: d
	costs   bool
	timeout int64
	loss    float64
	slowest int64 // network delay
	trip    int64 // of a steady network; 0 for one that has slow messages
	single  bool  // nothing is taken ahead
	offset  int64 // of the server's clock

	logs      map[string]*serverLog
	script    *script // a real server that must decide the same; nil for none
	differs   error   // how the server has decided instead
	processes []*process
	uses      map[string][]*use
	broken    broken

	calls, asked, admitted, denied int64
	longest                        int64 // wait of a request
}

// broken switches off conditions of the design, one at a time.
type broken struct {
	shortWindow   bool // the log counts W instead of W+d
	returnTwice   bool // a return is sent twice
	stayOpen      bool // a lease is used after its return was sent
	endByReply    bool // a lease ends d after the reply, not after the call was sent
	oneClock      bool // leases end by the monotonic clock alone, or by the wall clock alone
	trustUnknown  bool // the units of a lost call are handed out
	putBackClosed bool // a unit that comes back to a closed lease is handed out
	staleClock    bool // a use does not read the clock
	lateJoins     bool // a request after the call was sent is decided at the call's moment
	noGrace       bool // late returns are accepted
}

// epochOfWorlds is the time 0 of worlds, in milliseconds since 1970, for the real server.
const epochOfWorlds = 1_800_000_000_000

type limit struct{ max, window int64 }

// use has the units that a request has used.
type use struct{ at, units int64 }

// keyOf is a key under a version of its policy: another version has another lease.
type keyOf struct {
	name    string
	version int
}

// found is the reply to a call of the model.
type found struct {
	at    int64 // the true time of the decision
	entry *logEntry
}

// serverLog is a refunded log by brute force.
type serverLog struct {
	entries        []*logEntry
	lag, lagBefore int64
}

type logEntry struct {
	time, cost, back int64
	id               string // on the real server
}

func (s *serverLog) newest() int64 {
	if len(s.entries) == 0 {
		return -1 << 40
	}
	return s.entries[len(s.entries)-1].time
}

func (s *serverLog) used(window, now int64) (units int64) {
	for i := len(s.entries) - 1; i >= 0; i-- {
		e := s.entries[i]
		if e.time <= now-window {
			break
		}
		units += e.cost
		if e.time > now-window+max(s.lag, s.lagBefore) {
			units -= e.back
		}
	}
	return units
}

func (s *serverLog) enter(e *logEntry, longest int64) {
	stretches := (epochOfWorlds+e.time)/longest - (epochOfWorlds+s.newest())/longest
	switch {
	case stretches > 1:
		s.lag, s.lagBefore = 0, 0
	case stretches == 1:
		s.lag, s.lagBefore = 0, s.lag
	}
	s.entries = append(s.entries, e)
}

// extra is how much longer than W the log counts.
func (w *world) extra() int64 {
	if w.broken.shortWindow {
		return 0
	}
	return w.length
}

func (w *world) longestWindow() (longest int64) {
	for _, l := range w.limits {
		longest = max(longest, l.window)
	}
	return longest + w.extra()
}

func (w *world) log(name string) *serverLog {
	s := w.logs[name]
	if s == nil {
		s = &serverLog{}
		w.logs[name] = s
	}
	return s
}

// decide does what the script does.
func (w *world) decide(limits []limit, c *Call[keyOf, found]) (r Reply[found]) {
	s := w.log(c.Key.name)
	now := max(w.now+w.offset, s.newest())
	r.Room = 1 << 40
	for _, l := range limits {
		r.Room = min(r.Room, l.max-s.used(l.window+w.extra(), now))
	}
	room, denied := max(0, r.Room), []int64(nil)
	for _, want := range c.Wants {
		for range want.Count {
			n := want.Serve(room)
			room -= n
			if n == 0 {
				denied = append(denied, want.Least)
			}
		}
	}
	r.Ahead = min(c.Ahead, room/4)
	for _, l := range limits {
		r.Ahead = min(r.Ahead, l.max/8)
	}
	r.State.at = w.now
	if taken := max(0, r.Room) - room + r.Ahead; taken > 0 {
		r.State.entry = &logEntry{time: now, cost: taken}
		s.enter(r.State.entry, w.longestWindow())
	}
	if w.script != nil {
		if err := w.script.decide(w, limits, c, r); err != nil && w.differs == nil {
			w.differs = err
		}
	}
	for _, least := range denied {
		if _, known := r.wait(least); !known {
			r.Waits = append(r.Waits, Wait{Least: least, For: time.Millisecond})
		}
	}
	return r
}

// correct does what the script does to take units back.
func (w *world) correct(r Return[keyOf, found]) {
	s := w.log(r.Key.name)
	now := max(w.now+w.offset, s.newest())
	late := now - r.State.entry.time
	accepted := late <= 2*w.length
	if w.script != nil {
		if err := w.script.correct(w, r, accepted); err != nil && w.differs == nil {
			w.differs = err
		}
	}
	if !accepted && !w.broken.noGrace {
		return
	}
	s.enter(&logEntry{time: now, back: r.Units}, w.longestWindow())
	s.lag = max(s.lag, late)
}

type process struct {
	*world
	table   *Table[keyOf, found]
	version int
	limits  []limit // of its version

	lag, step int64 // of the monotonic clock, and of the wall clock
	suspends  bool  // the monotonic clock stands still while it stops; else the wall clock steps
	stopped   int64 // until then
	dead      bool
	born      map[*logEntry]*Generation[found]
}

func (w *world) newProcess() *process {
	p := &process{world: w, limits: w.limits, suspends: w.IntN(2) == 0, lag: w.Int64N(1000), step: w.Int64N(1000), born: map[*logEntry]*Generation[found]{}}
	p.table = NewTable(Config[keyOf, found]{Now: p.clock, Ask: p.ask, Return: p.giveBack, After: func(d time.Duration, f func()) {
		late := int64(0) // a starved process sweeps late
		if p.trip == 0 && p.IntN(4) == 0 {
			late = p.Int64N(2 * p.length)
		}
		p.after(max(1, int64((d+time.Millisecond-1)/time.Millisecond))+late, f)
	}})
	w.processes = append(w.processes, p)
	return p
}

func (p *process) clock() Moment {
	mono, wall := p.now-p.lag, p.now+p.step
	if p.broken.oneClock {
		if p.suspends {
			wall = mono
		} else {
			mono = wall
		}
	}
	return Moment{Mono: time.Duration(mono) * time.Millisecond, Wall: time.Duration(wall) * time.Millisecond}
}

var errLost = errors.New("lost")

// delay returns the time of a message in the network.
func (w *world) delay() int64 {
	if w.trip > 0 {
		return w.trip / 2
	}
	if w.Float64() < 0.03 {
		return w.Int64N(w.slowest + 1)
	}
	return w.Int64N(3)
}

// ask sends a call.
func (p *process) ask(c *Call[keyOf, found]) {
	p.calls++
	limits := p.limits
	lostOut, lostBack := p.Float64() < p.loss, p.Float64() < p.loss
	out, back := p.delay(), p.delay()
	done := false
	end := func(r Reply[found], err error) {
		if done {
			return
		}
		done = true
		if p.broken.trustUnknown && err != nil {
			r, err = Reply[found]{Room: 1 << 20, Ahead: c.Ahead, State: found{at: p.now, entry: &logEntry{time: p.now}}}, nil
		}
		if p.broken.endByReply {
			c.sent = p.clock()
		}
		if p.broken.lateJoins && err == nil && r.Ahead >= int64(len(c.lease.waiting)) && !p.costs {
			r.Ahead -= int64(len(c.lease.waiting))
			c.waiters, c.lease.waiting = append(c.waiters, c.lease.waiting...), nil
		}
		c.Done(r, err)
		if g := c.lease.current.Load(); g != nil {
			p.born[g.State.entry] = g
		}
		if g := c.lease.next.Load(); g != nil {
			p.born[g.State.entry] = g
		}
	}
	if !lostOut {
		p.world.after(out, func() {
			r := p.decide(limits, c)
			if !lostBack {
				p.after(back, func() { end(r, nil) })
			}
		})
	}
	p.after(p.timeout, func() { end(Reply[found]{}, errLost) })
}

func (p *process) giveBack(all []Return[keyOf, found]) {
	for _, r := range all {
		if p.Float64() < p.loss {
			continue
		}
		times := 1
		if p.broken.returnTwice {
			times = 2
		}
		for range times {
			p.world.after(p.delay(), func() { p.correct(r) })
		}
		if g := p.born[r.State.entry]; p.broken.stayOpen && g != nil {
			g.left.Store(r.Units)
			g.end = g.end.add(time.Duration(p.length) * time.Millisecond)
			p.table.of(r.Key, p.terms()).current.CompareAndSwap(nil, g)
		}
	}
}

func (p *process) terms() Terms {
	least := int64(1 << 40)
	for _, l := range p.limits {
		least = min(least, l.max)
	}
	if p.single {
		least = 0
	}
	return Terms{Length: time.Duration(p.length) * time.Millisecond, Ahead: least / 8}
}

// request is one request of a client. done is called with the units that the request got.
func (p *process) request(name string, least, most int64, done func(Answer[found])) (leave func()) {
	began := p.now
	p.asked++
	finish := func(a Answer[found]) {
		p.longest = max(p.longest, p.now-began)
		if a.Units == 0 {
			if a.Err == nil {
				p.world.denied++
			}
		} else {
			p.admitted++
			u := &use{at: p.now, units: a.Units}
			if !a.Local {
				u.at = a.Generation.State.at
			}
			if !a.Local && (u.at < began || u.at > p.now) {
				p.uses[name] = append(p.uses[name], &use{at: p.now, units: 1 << 30}) // the decision is outside the wait
			}

			p.uses[name] = append(p.uses[name], u)
			if done == nil && p.IntN(20) == 0 {
				p.putBack(name, a, u)
			}
		}
		if done != nil {
			done(a)
		}
	}
	k := keyOf{name, p.version}
	if p.broken.staleClock {
		p.table.Now = func() Moment { return p.table.of(k, p.terms()).current.Load().Received }
	}
	got, ok := p.table.Take(k, least, most)
	p.table.Now = p.clock
	if ok {
		finish(Answer[found]{Taken: got, Local: true})
		return func() {}
	}
	w := &Waiter[keyOf, found]{Least: least, Most: most, Answer: finish}
	p.table.Join(k, p.terms(), w)
	return func() { p.table.Leave(w) }
}

// putBack runs a request that another policy denies, so it does not use its units.
func (p *process) putBack(name string, a Answer[found], u *use) {
	p.after(p.delay(), func() {
		u.units = 0
		if g := a.Generation; p.broken.putBackClosed && g.left.Load() < 0 {
			g.left.Store(a.Units)
			g.end = p.clock().add(time.Duration(p.length) * time.Millisecond)
			p.table.of(keyOf{name, p.version}, p.terms()).current.CompareAndSwap(nil, g)
			return
		}
		p.table.PutBack(keyOf{name, p.version}, a.Taken)
	})
}

// excess returns a window with more uses than its limit.
func (w *world) excess(most func(i int, from, to int64) int64) error {
	for name, uses := range w.uses {
		for i, l := range w.limits {
			for _, last := range uses {
				sum := int64(0)
				for _, u := range uses {
					if u.at > last.at-l.window && u.at <= last.at {
						sum += u.units
					}
				}
				if limit := most(i, last.at-l.window, last.at); sum > limit {
					return fmt.Errorf("key %s: %d units in the %d ms before %d, the limit is %d", name, sum, l.window, last.at, limit)
				}
			}
		}
	}
	return nil
}

type event struct {
	at, order int64
	do        func()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].order < h[j].order
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// after calls f after a time.
func (w *world) after(ms int64, do func()) {
	w.order++
	heap.Push(&w.events, event{w.now + ms, w.order, do})
}

// after calls f in a process, when the process runs.
func (p *process) after(ms int64, do func()) {
	var run func()
	run = func() {
		switch {
		case p.dead:
		case p.now < p.stopped:
			p.world.after(p.stopped-p.now, run)
		default:
			do()
		}
	}
	p.world.after(ms, run)
}

// run runs the world up to a time.
func (w *world) run(until int64) {
	for len(w.events) > 0 && w.events[0].at <= until {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
	w.now = until
}

// stop stops a process for a while.
func (p *process) stop(ms int64) {
	p.stopped = p.now + ms
	if p.suspends {
		// The monotonic clock stands still, and nothing reads it meanwhile.
		p.lag += ms
	}
}
