package telemetry

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/streamlimit/streamlimit/core"
)

// other is the policy of decisions beyond the bound.
const other = "other"

// results and sources are the values of the two attributes. An unknown source counts as
// the last one.
var (
	results = [...]core.Result{core.ResultAllowed, core.ResultDenied, core.ResultShadowDenied, core.ResultOverloaded, core.ResultError}
	sources = [...]core.Source{core.SourceRedis, core.SourceLease, core.SourceMemory, core.SourceFallback, core.SourceNone}
)

// fromNone are the results that are possible without a log: by a rule, by an open failure
// mode, and by a failed decision. The results that are possible with a log are the first
// fromLogs.
var fromNone = []core.Result{core.ResultAllowed, core.ResultDenied, core.ResultOverloaded, core.ResultError}

const fromLogs = 3

// attributes are the attributes of one policy's measurements, by source and result in the
// order above. They are made once, so that a measurement does not allocate.
type attributes [len(sources)]struct {
	begun  atomic.Bool // its counters exist, even if they are 0
	result [len(results)]labels
}

type labels struct {
	add    []metric.AddOption
	record []metric.RecordOption
}

func newAttributes(policy string) *attributes {
	all := new(attributes)
	for i := range all {
		for j := range results {
			set := metric.WithAttributeSet(attribute.NewSet(
				attribute.String("policy", policy),
				attribute.String("result", results[j].String()),
				attribute.String("source", sources[i].String())))
			all[i].result[j] = labels{[]metric.AddOption{set}, []metric.RecordOption{set}}
		}
	}
	return all
}

// of returns the labels of a decision. The first decision from a source starts the
// counters of that source at 0, so that a rate includes the first denial. It also starts
// the counters for a failing store.
func (a *attributes) of(ctx context.Context, one *core.Observation, counters ...metric.Int64Counter) *labels {
	source := sourceIndex(one.Source)
	if !a[source].begun.Load() {
		for _, s := range []int{source, sourceIndex(core.SourceFallback), len(sources) - 1} {
			a.begin(ctx, s, counters)
		}
	}
	return &a[source].result[max(slices.Index(results[:], one.Result), 0)]
}

func (a *attributes) begin(ctx context.Context, source int, counters []metric.Int64Counter) {
	if a[source].begun.Swap(true) {
		return
	}
	possible := results[:fromLogs]
	if sources[source] == core.SourceNone {
		possible = fromNone
	}
	for j, result := range results {
		if slices.Contains(possible, result) {
			for _, c := range counters {
				c.Add(ctx, 0, a[source].result[j].add...)
			}
		}
	}
}

func sourceIndex(source core.Source) int {
	if i := slices.Index(sources[:], source); i >= 0 {
		return i
	}
	return len(sources) - 1
}

// policies are the policies so far. The map is replaced and never changed, so that
// readers need no lock.
type policies struct {
	known  atomic.Pointer[map[string]*attributes]
	others *attributes
	max    int

	mu sync.Mutex // held to replace the map
}

func newPolicies(n int) *policies {
	p := &policies{others: newAttributes(other), max: n}
	p.known.Store(&map[string]*attributes{})
	return p
}

// of returns the attributes of a policy.
func (p *policies) of(name string) *attributes {
	if a := p.find(name); a != nil {
		return a
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.find(name); a != nil {
		return a
	}
	a := newAttributes(name)
	known := maps.Clone(*p.known.Load())
	known[name] = a
	p.known.Store(&known)
	return a
}

// find returns the attributes of a policy, or nil for a new policy.
func (p *policies) find(name string) *attributes {
	known := *p.known.Load()
	if a := known[name]; a != nil || len(known) < p.max {
		return a
	}
	return p.others
}
