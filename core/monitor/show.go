package monitor

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// Picture is the merged state of all processes. Rates are current. Counts are of the last
// minute.
type Picture struct {
	Now       time.Time
	Processes []Process // seen within the last hour, by host
	Policies  []Policy  // by name
	Requests  Counts    // each request once, for any number of policies
	Routes    map[string]Counts
	Top       Top
}

// Process is a process that decides on requests.
type Process struct {
	ID    string  `json:"id"` // random
	Host  string  `json:"host"`
	PID   int     `json:"pid"`
	Seen  int64   `json:"seen"`  // last publication, Unix milliseconds; an idle process publishes nothing
	Store string  `json:"store"` // "redis" or "memory"
	Down  []Down  `json:"down"`
	P50   float64 `json:"p50"` // how long decisions take, in milliseconds
	P99   float64 `json:"p99"`
	Rate  int64   `json:"rate"`           // requests a second
	Self  bool    `json:"self,omitempty"` // serves the page; not known to a [Reader]
}

// Policy is a policy that processes have published, with the counts of the last minute.
type Policy struct {
	Name string `json:"name"`
	Traits
	Overridden bool  `json:"overridden"` // a rule overrides its limits; not known to a [Reader]
	NearLimit  int64 `json:"nearLimit"`  // keys with a tenth of a limit left or less, in the process that has the most such keys
	Counts
}

// show returns the picture at a time.
func (p *picture) show(now int64) Picture {
	pic := Picture{Now: time.UnixMilli(now), Top: p.mergeTops(now)}
	p.mu.Lock()
	defer p.mu.Unlock()
	pic.Processes, pic.Policies = p.showProcesses(now), p.showPolicies(now)
	pic.Requests = p.requests.sum(now, 60)[onlyName].counts()
	pic.Routes = p.routes.sum(now, 60).counts()
	return pic
}

func (p *picture) showProcesses(now int64) []Process {
	shown := make([]Process, 0, len(p.processes))
	for _, one := range p.processes {
		if now-one.seen > history {
			continue
		}
		e := &one.last
		s := Process{
			ID: e.Process, Host: e.Host, PID: e.PID, Seen: one.seen, Store: e.Store,
			Down: append([]Down{}, e.Down...), P50: e.P50, P99: e.P99,
		}
		if now-one.seen < rateLife && e.Requests != nil {
			s.Rate = max(e.Requests.total(), 0)
		}
		shown = append(shown, s)
	}
	slices.SortFunc(shown, func(a, b Process) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), cmp.Compare(a.PID, b.PID), strings.Compare(a.ID, b.ID))
	})
	return shown
}

func (p *picture) showPolicies(now int64) []Policy {
	counts := p.fine.sum(now, 60)
	all := maps.Clone(p.policies)
	for name := range counts {
		if _, ok := all[name]; !ok {
			all[name] = Traits{}
		}
	}
	shown := make([]Policy, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s := Policy{Name: name, Traits: all[name]}
		if t := counts[name]; t != nil {
			s.Counts = t.counts()
		}
		for _, one := range p.processes {
			if now-one.topAt < topLife {
				s.NearLimit = max(s.NearLimit, one.near[name])
			}
		}
		shown = append(shown, s)
	}
	return shown
}

// takeTraits uses this process's own policies, which are newer than its publications.
func (pic *Picture) takeTraits(limiter *core.Limiter) {
	for _, p := range limiter.Policies() {
		i, ok := slices.BinarySearchFunc(pic.Policies, p.Name(), func(a Policy, name string) int { return strings.Compare(a.Name, name) })
		if !ok {
			pic.Policies = slices.Insert(pic.Policies, i, Policy{Name: p.Name()})
		}
		pic.Policies[i].Traits = traitsOf(p, limiter)
	}
}

// traits returns the published traits of a policy.
func (p *picture) traits(name string) (Traits, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t, ok := p.policies[name]
	return t, ok
}
