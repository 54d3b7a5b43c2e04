package storetest

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/streamlimit/streamlimit/core"
)

// property compares random histories with the model. More of them:
//
//	go test -run Property -rapid.checks=10000
func (h Harness) property(t *testing.T) {
	kinds := map[string]func(*rapid.T) *core.Policy{
		"Counted":       func(t *rapid.T) *core.Policy { return randomPolicy(t, 1, false) },
		"Summed":        func(t *rapid.T) *core.Policy { return randomPolicy(t, 1, true) },
		"SeveralLimits": func(t *rapid.T) *core.Policy { return randomPolicy(t, 3, false) },
		"Everything":    func(t *rapid.T) *core.Policy { return randomPolicy(t, 3, true) },
	}
	for name, policy := range kinds {
		for _, steps := range []bool{false, true} {
			if steps {
				name += "ClockStepsBack"
			}
			t.Run(name, func(t *testing.T) {
				s := h.subject(t)
				histories := 0
				rapid.Check(t, func(t *rapid.T) {
					histories++
					s.history(t, policy(t), fmt.Sprintf("history-%d-", histories), steps)
				})
			})
		}
	}
}

// randomPolicy has from 1 to limits limits, small enough that histories reach
// them.
func randomPolicy(t *rapid.T, limits int, costs bool) *core.Policy {
	var options []core.PolicyOption
	if costs {
		options = append(options, core.VariableCost())
	}
	windows := rapid.SliceOfNDistinct(rapid.OneOf(rapid.Int64Range(1, 20), rapid.Int64Range(1, 5000)), 1, limits, rapid.ID[int64]).Draw(t, "windows")
	for _, w := range windows {
		most := rapid.OneOf(rapid.Int64Range(1, 5), rapid.Int64Range(1, 300)).Draw(t, "max")
		options = append(options, core.Per(most, time.Duration(w)*time.Millisecond))
	}
	return core.NewPolicy("p", options...)
}

// history is a random sequence of operations on two keys of one policy.
func (s *subject) history(t *rapid.T, p *core.Policy, prefix string, steps bool) {
	models := map[string]*model{"a": {policy: p}, "b": {policy: p}}
	key := rapid.SampledFrom([]string{"a", "a", "a", "b"})
	real := s.clock.Now().UnixMilli()
	smallest := p.Limit(0).Max
	for _, l := range p.Limits() {
		smallest = min(smallest, l.Max)
	}
	cost := func(t *rapid.T) int64 {
		if !p.VariableCost() {
			return 1
		}
		return rapid.OneOf(rapid.Just(int64(1)), rapid.Int64Range(1, smallest)).Draw(t, "cost")
	}
	ask := func(t *rapid.T, took bool) {
		k, c := key.Draw(t, "key"), cost(t)
		method := s.Peek
		if took {
			method = s.Take
		}
		u, err := method(s.Context(), p, prefix+k, c)
		if err != nil {
			t.Fatalf("cost %d: %v", c, err)
		}
		if err := models[k].check(u, c, took, s.clock.Now().UnixMilli(), real); err != nil {
			t.Fatalf("%v, key %s, cost %d, take %v: %v\n%+v", p.Limits(), k, c, took, err, u)
		}
	}
	actions := map[string]func(*rapid.T){
		"take":      func(t *rapid.T) { ask(t, true) },
		"takeAgain": func(t *rapid.T) { ask(t, true) },
		"burst": func(t *rapid.T) {
			for range rapid.IntRange(2, 8).Draw(t, "burst") {
				ask(t, true)
			}
		},
		"peek": func(t *rapid.T) { ask(t, false) },
		"wait": func(t *rapid.T) {
			ms := s.randomWait(t, p)
			s.clock.Advance(time.Duration(ms) * time.Millisecond)
			real += ms
		},
		"reset": func(t *rapid.T) {
			if !rapid.Bool().Draw(t, "really") {
				return
			}
			k := key.Draw(t, "key")
			if err := s.Reset(s.Context(), p, prefix+k); err != nil {
				t.Fatalf("Reset: %v", err)
			}
			models[k] = &model{policy: p}
		},
	}
	if steps {
		actions["stepBack"] = func(t *rapid.T) {
			s.clock.Advance(-time.Duration(rapid.Int64Range(1, 3000).Draw(t, "step")) * time.Millisecond)
		}
	}
	t.Repeat(actions)
}

// randomWait is mostly short, and often ends right at the edge of a window.
func (s *subject) randomWait(t *rapid.T, p *core.Policy) int64 {
	window := p.Limit(rapid.IntRange(0, p.Len()-1).Draw(t, "limit")).Window.Milliseconds()
	edge := rapid.SampledFrom([]int64{window - 1, window, window + 1, 2*window - 1, 2 * window, 2*window + 1})
	return rapid.OneOf(rapid.Int64Range(0, 3), rapid.Int64Range(0, max(1, window/3)), edge).Draw(t, "wait")
}
