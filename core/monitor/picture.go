package monitor

import (
	"cmp"
	"maps"
	"slices"
	"sync"
)

const (
	second1  = 1000   // milliseconds, as are these
	maxSkew  = 1000   // between a process's clock and the feed's; all go by the feed's once they know it
	topLife  = 60_000 // of the keys that a process has told
	rateLife = 3000   // of its rate
	history  = 3_600_000

	maxProcesses = 256
)

// picture is what processes have told within the last hour, merged: five minutes
// of it by the second, the hour by ten seconds.
type picture struct {
	clock *clock

	mu        sync.Mutex
	fine      ring
	coarse    ring
	requests  ring // of one name
	routes    ring
	processes map[string]*process
	policies  map[string]Traits
}

// process is what is known of one.
type process struct {
	last  entry // its newest
	seen  int64 // when, by the feed's clock
	top   Top
	near  map[string]int64
	topAt int64 // when it told those two
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

// add takes over an entry that was added to the feed at a time. One that was
// added twice, as when an answer was lost, counts once.
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
		t = at - second1 // its clock is wrong
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

// forget makes room for another process: those not seen for an hour go, and of too
// many the one that was seen longest ago.
func (p *picture) forget(now int64) {
	maps.DeleteFunc(p.processes, func(_ string, one *process) bool { return now-one.seen > history })
	for len(p.processes) >= maxProcesses {
		ids := slices.Collect(maps.Keys(p.processes))
		delete(p.processes, slices.MinFunc(ids, func(a, b string) int {
			return cmp.Compare(p.processes[a].seen, p.processes[b].seen)
		}))
	}
}

// list are keys by their counts, highest first. A key that is not listed has floor at
// most.
type list struct {
	keys  []TopKey
	floor int64
}

func allowedOf(t Top) []TopKey { return t.Allowed }
func deniedOf(t Top) []TopKey  { return t.Denied }

// lists are what the processes but one have listed. In one that lists as many keys as
// it may, another key can have as many as the last of them.
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

// mergeKeys adds up the counts of each key, and returns up to most of them. What a key
// can have in addition, where it is not listed, is in its error.
func mergeKeys(lists []list, most int) []TopKey {
	sums := make(map[keyName]TopKey)
	listed := make(map[keyName]int64) // by those that list it
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
