package monitor

import (
	"sync"

	"github.com/streamlimit/streamlimit/core"
)

// shard counts most of the requests of one processor.
type shard struct {
	mu    sync.Mutex
	now   *second
	spare *second // the next second's memory; only the recorder uses it

	_ [64]byte // the next shard is not in the same cache line
}

// second has the decisions of one second.
type second struct {
	policies map[string]*seen
	requests tally
	routes   tallies
	top      [tops]summary // indexed by topAllowed and the others
	took     latency
}

// seen has the decisions of one policy.
type seen struct {
	tally
	policy *core.Policy // as in the last decision
}

// The indexes of the summaries of a second, and of a minute.
const (
	topAllowed = iota
	topDenied
	topNear // a tenth of the limit or less remains

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

// clear empties the second. It keeps the memory of names that will probably occur again.
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
