package telemetry

import (
	"maps"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/streamlimit/streamlimit/core"
)

// other is the policy of decisions beyond the bound.
const other = "other"

// attributes are what one policy's measurements carry, by [core.Result], made once
// so that a measurement allocates nothing.
type attributes [core.ResultError + 1]struct {
	add    []metric.AddOption
	record []metric.RecordOption
}

func newAttributes(policy string) *attributes {
	var all attributes
	for i := range all {
		set := metric.WithAttributeSet(attribute.NewSet(
			attribute.String("policy", policy), attribute.String("result", core.Result(i).String())))
		all[i].add = []metric.AddOption{set}
		all[i].record = []metric.RecordOption{set}
	}
	return &all
}

// policies are those met so far. The map is replaced, never changed, so reading
// takes no lock.
type policies struct {
	known  atomic.Pointer[map[string]*attributes]
	others *attributes
	max    int

	mu sync.Mutex // of whoever replaces the map
}

func newPolicies(n int) *policies {
	p := &policies{others: newAttributes(other), max: n}
	p.known.Store(&map[string]*attributes{})
	return p
}

// of is the attributes of a policy; isNew is true once for each with its own.
func (p *policies) of(name string) (a *attributes, isNew bool) {
	if a = p.find(name); a != nil {
		return a, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if a = p.find(name); a != nil {
		return a, false
	}
	a = newAttributes(name)
	known := maps.Clone(*p.known.Load())
	known[name] = a
	p.known.Store(&known)
	return a, true
}

// find is nil for a policy that is still to be met.
func (p *policies) find(name string) *attributes {
	known := *p.known.Load()
	if a := known[name]; a != nil || len(known) < p.max {
		return a
	}
	return p.others
}
