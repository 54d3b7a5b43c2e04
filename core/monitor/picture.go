package monitor

import (
	"cmp"
	"maps"
	"slices"
	"sync"
)

const (
	second1  = 1000   // milliseconds, like the next three
	maxSkew  = 1000   // between a process's clock and the feed's; processes use the feed's clock once they have read it
	topLife  = 60_000 // of the keys that a process has published
	rateLife = 3000   // of the rate of a process
	history  = 3_600_000

	maxProcesses = 256
)

// picture has the merged publications of all processes in the last hour: five minutes by
// the second, and the hour by ten seconds.
type picture struct {
	clock *clock

	mu        sync.Mutex
	fine      ring
	coarse    ring
	requests  ring // has one name
	routes    ring
	processes map[string]*process
	policies  map[string]Traits
}

// process has the state of one process.
type process struct {
	last  entry // the newest entry
	seen  int64 // time of that entry by the feed's clock
	top   Top
	near  map[string]int64
	topAt int64 // time of its last publication of those two
}

func newPicture() *picture {
	return &picture{
		clock:     newClock(),
		fine:      newRing(second1, 300, maxPolicies),
		coarse:    newRing(10*second1, 360, maxPolicies),
		requests:  newRing(second1, 300, 1),
		routes:    newRing(second1, 60, maxRoutes),
		processes: make(map[string]*process),
		policies:  make(map[string]Traits),
	}
}

// add adds an entry that was added to the feed at a time. An entry that was added twice,
// such as after a lost response, counts once.
func (p *picture) add(e entry, at int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	one, ok := p.processes[e.Process]
	if !ok {
		p.forget(at)
		one = &process{}
		p.processes[e.Process] = one
	} else if e.Time == one.last.Time {
		return
	}
	t := e.Time
	if skew := at - second1 - t; skew > maxSkew || skew < -maxSkew {
		t = at - second1 // the clock of the process is wrong
	}
	if e.Top != nil {
		one.top, one.near, one.topAt = *e.Top, e.Near, t
	}
	for name, traits := range e.Policies {
		if _, ok := p.policies[name]; ok || len(p.policies) < maxPolicies {
			p.policies[name] = traits
		}
	}
	now := p.clock.now().UnixMilli()
	p.fine.add(t, now, e.Counts)
	p.coarse.add(t, now, e.Counts)
	p.requests.add(t, now, requestsOf(e.Requests))
	p.routes.add(t, now, e.Routes)
	e.Top, e.Near, e.Policies, e.Counts, e.Routes = nil, nil, nil, nil, nil
	one.last, one.seen = e, at
}

// forget makes room for another process. It removes processes not seen for an hour. If
// there are still too many, it removes the one seen longest ago.
func (p *picture) forget(now int64) {
	maps.DeleteFunc(p.processes, func(_ string, one *process) bool { return now-one.seen > history })
	for len(p.processes) >= maxProcesses {
		ids := slices.Collect(maps.Keys(p.processes))
		delete(p.processes, slices.MinFunc(ids, func(a, b string) int {
			return cmp.Compare(p.processes[a].seen, p.processes[b].seen)
		}))
	}
}

// list has keys by their counts, highest first. A key that is not listed has at most
// floor.
type list struct {
	keys  []TopKey
	floor int64
}

func allowedOf(t Top) []TopKey { return t.Allowed }
func deniedOf(t Top) []TopKey  { return t.Denied }

// lists returns the lists of all processes except one. If a list has its maximum number
// of keys, another key can have as many as the last of them.
func (p *picture) lists(now int64, but string, of func(Top) []TopKey) (lists []list) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, one := range p.processes {
		if id == but || now-one.topAt >= topLife {
			continue
		}
		l := list{keys: of(one.top)}
		if n := len(l.keys); n >= topKeys {
			l.floor = l.keys[n-1].Count + l.keys[n-1].Error
		}
		lists = append(lists, l)
	}
	return lists
}

// mergeTops merges the keys of all processes.
func (p *picture) mergeTops(now int64) Top {
	return Top{
		Allowed: mergeKeys(p.lists(now, "", allowedOf), topKeys),
		Denied:  mergeKeys(p.lists(now, "", deniedOf), topKeys),
	}
}

// mergeKeys adds up the counts of each key, and returns up to most of them. The error of
// a key includes its possible counts in lists without the key.
func mergeKeys(lists []list, most int) []TopKey {
	sums := make(map[keyName]TopKey)
	listed := make(map[keyName]int64) // floors of the lists that have the key
	var unlisted int64
	for _, l := range lists {
		unlisted += l.floor
		for _, k := range l.keys {
			name := keyName{k.Policy, k.Key}
			sum := sums[name]
			sum.Count += k.Count
			sum.Error += k.Error
			sums[name] = sum
			listed[name] += l.floor
		}
	}
	for name, sum := range sums {
		sum.Error += unlisted - listed[name]
		sums[name] = sum
	}
	return ranked(sums, 0, most)
}
