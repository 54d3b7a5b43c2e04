package monitor

import (
	"github.com/streamlimit/streamlimit/core"
)

// Counts are decisions. Each counts once: one without the store as Fallback,
// whatever it was.
type Counts struct {
	Allowed      int64 `json:"allowed"`
	Denied       int64 `json:"denied"`
	ShadowDenied int64 `json:"shadowDenied"` // allowed, by a policy in shadow mode
	Fallback     int64 `json:"fallback"`
	Error        int64 `json:"error"`
}

// tally are counts by [core.Result], in the form in which they are added up and
// sent.
type tally [core.ResultError + 1]int64

func (t *tally) add(o *tally) {
	for i := range t {
		t[i] += o[i]
	}
}

// total is how many decisions there were.
func (t *tally) total() (n int64) {
	for _, one := range t {
		n += one
	}
	return n
}

func (t *tally) counts() Counts {
	return Counts{
		Allowed: t[core.ResultAllowed], Denied: t[core.ResultDenied], ShadowDenied: t[core.ResultShadowDenied],
		Fallback: t[core.ResultFallback], Error: t[core.ResultError],
	}
}

// other is what policies and routes count as beyond the bounds. No policy can
// have the name.
const other = "(other)"

// The bounds of what is told apart.
const (
	maxPolicies = 128
	maxRoutes   = 256
)

// tallies are by policy, or by route.
type tallies map[string]*tally

// of is the tally of name, or of the others if there are too many.
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
