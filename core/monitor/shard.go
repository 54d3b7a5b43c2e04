package monitor

import (
	"sync"

	"github.com/streamlimit/streamlimit/core"
)

// shard is where the requests of one processor are counted, mostly.
type shard struct {
	mu    sync.Mutex
	now   *second
	spare *second // for the next one; the recorder's alone

	_ [64]byte // the next shard is not in the same cache line
}

// second is what was decided within a second.
type second struct {
	policies map[string]*seen
	requests tally
	routes   tallies
	top      [tops]summary // as topAllowed and the others say
	took     latency
}

// seen are the decisions by a policy.
type seen struct {
	tally
	policy *core.Policy // as it was in the last of them
}

// The summaries of a second, and of a minute.
const (
	topAllowed = iota
	topDenied
	topNear // a tenth of the limit was left, or less

	tops
)

func newSecond() *second {
	return &second{policies: make(map[string]*seen), routes: make(tallies)}
}

func (s *second) observe(o *core.Observation) {
	s.of(o.Policy).decision(o)
	s.requests.request(o)
	if o.Route != "" {
		if o.BeforeRoute != o.Route {
			o.Before = 0 // the route was not known when the request was counted
		}
		s.routes.of(o.Route, maxRoutes).request(o)
	}
	if o.Err != nil {
		return
	}
	s.took.add(o.Took)
	key := keyName{o.Policy.Name(), o.Key}
	if o.Result == core.ResultDenied {
		s.top[topDenied].add(key, 1, 0)
		return
	}
	s.top[topAllowed].add(key, 1, 0)
	if o.Remaining <= o.Limit.Max/10 && o.Source != core.SourceNone {
		s.top[topNear].add(key, 1, 0)
	}
}

func (s *second) of(p *core.Policy) *seen {
	name := p.Name()
	known, ok := s.policies[name]
	if !ok {
		if len(s.policies) >= maxPolicies {
			name, p = other, nil
		}
		if known = s.policies[name]; known == nil {
			known = new(seen)
			s.policies[name] = known
		}
	}
	known.policy = p
	return known
}

// clear empties the second, and keeps the memory of what will be there again.
func (s *second) clear() {
	if len(s.policies) >= maxPolicies {
		clear(s.policies)
	}
	for _, p := range s.policies {
		p.tally = tally{}
	}
	s.requests = tally{}
	if len(s.routes) >= maxRoutes {
		clear(s.routes)
	}
	for _, t := range s.routes {
		*t = tally{}
	}
	for i := range s.top {
		s.top[i].clear()
	}
	s.took = latency{}
}
