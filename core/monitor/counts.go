package monitor

import (
	"encoding/json"
	"fmt"

	"github.com/streamlimit/streamlimit/core"
)

// Counts are the numbers of decisions, or of requests, by result. Total returns their
// sum.
type Counts struct {
	Allowed      int64 `json:"allowed"`
	Denied       int64 `json:"denied"`
	ShadowDenied int64 `json:"shadowDenied"` // allowed, by a policy in shadow mode
	Overloaded   int64 `json:"overloaded"`
	Error        int64 `json:"error"`

	// By has the same counts by source. Counts of requests don't have it.
	By Sources `json:"by,omitzero"`
}

// Total returns the sum of all results.
func (c Counts) Total() int64 {
	return c.Allowed + c.Denied + c.ShadowDenied + c.Overloaded + c.Error
}

// Sources are the numbers of decisions by source: see [core.Source].
type Sources struct {
	Redis    int64 `json:"redis"`
	Lease    int64 `json:"lease"` // from units that the process took ahead
	Memory   int64 `json:"memory"`
	Fallback int64 `json:"fallback"` // by this process's memory, since the store did not answer
	None     int64 `json:"none"`     // no log was used
	Open     int64 `json:"open"`     // of None, those allowed because the store did not answer
}

// tally has counts in the form in which they are summed. Its indexes are internal to this
// package. In the feed each count has a name.
type tally [places]int64

// The indexes of a tally: the results, the sources, and the decisions of an open failure
// mode, which also count as source none.
const (
	atAllowed = iota
	atDenied
	atShadowDenied
	atOverloaded
	atError

	atRedis
	atLease
	atMemory
	atFallback
	atNone
	atOpen

	places
	results = atRedis
)

// placeNames are the names of the indexes in the feed.
var placeNames = [places]string{
	"allowed", "denied", "shadow_denied", "overloaded", "error",
	"redis", "lease", "memory", "fallback", "none", "open",
}

// resultAt returns the index of the result of a decision.
func resultAt(r core.Result) int {
	switch r {
	case core.ResultAllowed:
		return atAllowed
	case core.ResultDenied:
		return atDenied
	case core.ResultShadowDenied:
		return atShadowDenied
	case core.ResultOverloaded:
		return atOverloaded
	}
	return atError
}

func sourceAt(s core.Source) int {
	switch s {
	case core.SourceRedis:
		return atRedis
	case core.SourceLease:
		return atLease
	case core.SourceMemory:
		return atMemory
	case core.SourceFallback:
		return atFallback
	}
	return atNone
}

// decision counts one decision.
func (t *tally) decision(o *core.Observation) {
	t[resultAt(o.Result)]++
	t[sourceAt(o.Source)]++
	if o.Reason == core.ReasonFailOpen {
		t[atOpen]++
	}
}

// request counts a request once for all its decisions. It subtracts what an earlier
// decision on the request added.
func (t *tally) request(o *core.Observation) {
	if o.Before == o.Request {
		return
	}
	if o.Before != 0 {
		t[resultAt(o.Before)]--
	}
	t[resultAt(o.Request)]++
}

func (t *tally) add(o *tally) {
	for i := range t {
		t[i] += o[i]
	}
}

// total returns the number of decisions.
func (t *tally) total() (n int64) {
	for _, one := range t[:results] {
		n += one
	}
	return n
}

// counts returns the counts to show. A request that another limit denies a second after
// one limit allowed it makes the count of the later second too low by one. counts shows 0
// in place of a negative count.
func (t *tally) counts() Counts {
	if t == nil {
		return Counts{}
	}
	at := func(place int) int64 { return max(t[place], 0) }
	return Counts{
		Allowed: at(atAllowed), Denied: at(atDenied), ShadowDenied: at(atShadowDenied), Overloaded: at(atOverloaded), Error: at(atError),
		By: Sources{
			Redis: at(atRedis), Lease: at(atLease), Memory: at(atMemory), Fallback: at(atFallback), None: at(atNone), Open: at(atOpen),
		},
	}
}

// MarshalJSON writes the counts that are not 0, by their names.
func (t *tally) MarshalJSON() ([]byte, error) {
	text := []byte{'{'}
	for i, n := range t {
		if n != 0 {
			if len(text) > 1 {
				text = append(text, ',')
			}
			text = fmt.Appendf(text, `"%s":%d`, placeNames[i], n)
		}
	}
	return append(text, '}'), nil
}

// UnmarshalJSON reads what MarshalJSON writes. It ignores unknown names.
func (t *tally) UnmarshalJSON(data []byte) error {
	var named map[string]int64
	if err := json.Unmarshal(data, &named); err != nil {
		return err
	}
	for i, name := range placeNames {
		t[i] = named[name]
	}
	return nil
}

// other is the name for policies and routes beyond the bounds. No policy can have this
// name.
const other = "(other)"

// The bounds of the numbers of names.
const (
	maxPolicies = 128
	maxRoutes   = 256
)

// tallies are tallies by policy or by route.
type tallies map[string]*tally

// of returns the tally of name, or of other if there are too many names.
func (m tallies) of(name string, most int) *tally {
	t, ok := m[name]
	if ok {
		return t
	}
	if len(m) >= most {
		name = other
		if t, ok = m[name]; ok {
			return t
		}
	}
	t = new(tally)
	m[name] = t
	return t
}

func (m tallies) addAll(o tallies, most int) {
	for name, t := range o {
		m.of(name, most).add(t)
	}
}

func (m tallies) counts() map[string]Counts {
	counts := make(map[string]Counts, len(m))
	for name, t := range m {
		counts[name] = t.counts()
	}
	return counts
}

// onlyName is the name of the one tally in a ring of requests.
const onlyName = ""

// requestsOf returns the tallies of a ring of requests.
func requestsOf(t *tally) tallies {
	if t == nil {
		return nil
	}
	return tallies{onlyName: t}
}
