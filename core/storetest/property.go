package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

// property compares random histories with the model. For more histories:
//
//	go test -run Property -rapid.checks=10000
func (h Harness) property(t *testing.T) {
	h.histories(t, nil, map[string]course{"": {}, "ClockStepsBack": {back: true}, "OddClock": {odd: true}})
}

// Degraded compares random histories with the model, as [Run] does, on stores that reject
// some calls, such as a store whose server lacks a command. refused reports whether an
// error is such a rejection. A rejected call must have counted nothing.
func Degraded(t *testing.T, h Harness, refused func(error) bool) {
	h.histories(t, refused, map[string]course{"": {}})
	t.Run("Periods", func(t *testing.T) { h.periodHistories(t, periodKind{}, refused) })
	t.Run("PeriodsMixedRefunds", func(t *testing.T) { h.periodHistories(t, periodKind{sliding: true, refunds: true}, refused) })
}

// DegradedSlots does what [Degraded] does for slots.
func DegradedSlots(t *testing.T, h Harness, refused func(error) bool) { h.slotHistories(t, refused) }

// histories runs histories of each kind on clocks of each course.
func (h Harness) histories(t *testing.T, refused func(error) bool, courses map[string]course) {
	type kind struct {
		limits  int
		options []core.PolicyOption
	}
	costs, refunds := core.VariableCost(), core.Refundable(0)
	kinds := map[string]kind{
		"Counted":       {1, nil},
		"Summed":        {1, []core.PolicyOption{costs}},
		"SeveralLimits": {3, nil},
		"Everything":    {3, []core.PolicyOption{costs}},
		"Coarse":        {1, []core.PolicyOption{costs, core.Coarse(4)}},
		"Refunds":       {1, []core.PolicyOption{refunds}},
		"Settlements":   {3, []core.PolicyOption{costs, refunds}},
	}
	for name, k := range kinds {
		for clock, how := range courses {
			t.Run(name+clock, func(t *testing.T) {
				s := h.subject(t)
				today := s.clock.Now()
				histories := 0
				rapid.Check(t, func(t *rapid.T) {
					histories++
					start := today
					if how.odd {
						start = time.UnixMilli(rapid.SampledFrom(oddTimes).Draw(t, "start"))
					}
					s.clock.Advance(start.Sub(s.clock.Now()))
					run := run{subject: s, course: how, today: today, refused: refused}
					run.history(t, randomPolicy(t, k.limits, k.options), fmt.Sprintf("history-%d-", histories))
				})
			})
		}
	}
}

// oddTimes are in milliseconds: 1970, where a machine without a battery starts, and times
// around those in 2001 and 2286 at which the count of digits becomes 13 and 14.
var oddTimes = []int64{1, 50, 5000, 1e12 - 3000, 1e12 + 1, 1e13 - 3000, 1e13 + 1}

// course is the course of a history's clock. The zero course only goes forward.
type course struct {
	back bool // steps back sometimes
	odd  bool // starts at one of oddTimes, and jumps to today
}

// run is one history on a store.
type run struct {
	*subject
	course
	today   time.Time
	refused func(error) bool // reports an expected error; nil for none
}

// refuses reports whether an error is an expected rejection.
func (s *run) refuses(err error) bool { return expected(err, s.refused) }

// expected reports whether an error is a rejection that refused reports. refused may be
// nil.
func expected(err error, refused func(error) bool) bool {
	return err != nil && refused != nil && refused(err)
}

// randomPolicy returns a policy with 1 to limits limits, small enough that histories
// reach them.
func randomPolicy(t *rapid.T, limits int, options []core.PolicyOption) *store.Log {
	options = append([]core.PolicyOption(nil), options...)
	windows := rapid.SliceOfNDistinct(rapid.OneOf(rapid.Int64Range(4, 20), rapid.Int64Range(4, 5000)), 1, limits, rapid.ID[int64]).Draw(t, "windows")
	for _, w := range windows {
		options = append(options, core.Per(randomMax(t), time.Duration(w)*time.Millisecond))
	}
	return newLog("p", options...)
}

func randomMax(t *rapid.T) int64 {
	return rapid.OneOf(rapid.Int64Range(1, 5), rapid.Int64Range(1, 300)).Draw(t, "max")
}

// otherMax returns the policy with other units in the same windows.
func otherMax(t *rapid.T, p *store.Log) *store.Log {
	var limits []core.Limit
	for _, l := range p.Limits {
		limits = append(limits, core.Per(randomMax(t), l.Window))
	}
	return withLimits(p, limits...)
}

// history is a random sequence of operations on two keys of one policy.
func (s *run) history(t *rapid.T, p *store.Log, prefix string) {
	models := map[string]*model{"a": {log: p}, "b": {log: p}}
	key := rapid.SampledFrom([]string{"a", "a", "a", "b"})
	real := s.clock.Now().UnixMilli()
	ask := func(t *rapid.T, took bool) {
		k, c := key.Draw(t, "key"), randomCost(t, p)
		method := s.Peek
		if took {
			method = s.Take
		}
		u, err := method(s.Context(), p, prefix+k, c)
		if s.refuses(err) {
			return
		}
		if err != nil {
			t.Fatalf("cost %d: %v", c, err)
		}
		if err := models[k].check(u, c, took, s.clock.Now().UnixMilli(), real); err != nil {
			t.Fatalf("%v, key %s, cost %d, take %v: %v\n%+v", p.Limits, k, c, took, err, u)
		}
	}
	wait := func(ms int64) {
		s.clock.Advance(time.Duration(ms) * time.Millisecond)
		real += ms
		for _, m := range models { // a store may delete expired logs at any time
			m.highest = max(m.highest, s.clock.Now().UnixMilli())
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
			wait(s.randomWait(t, p))
		},
		"reset": func(t *rapid.T) {
			if !rapid.Bool().Draw(t, "really") {
				return
			}
			k := key.Draw(t, "key")
			err := s.Reset(s.Context(), p, prefix+k)
			if s.refuses(err) {
				return
			}
			if err != nil {
				t.Fatalf("Reset: %v", err)
			}
			models[k].forget()
		},
		"changeLimits": func(t *rapid.T) {
			p = otherMax(t, p)
			models["a"].log, models["b"].log = p, p
		},
	}
	if p.Refundable() {
		settle := func(t *rapid.T) {
			k := key.Draw(t, "key")
			s.correct(t, p, prefix+k, models[k], real)
		}
		actions["settle"], actions["settleAgain"] = settle, settle
	}
	if s.odd {
		actions["jump"] = func(t *rapid.T) {
			if ms := s.today.Sub(s.clock.Now()).Milliseconds(); ms > 0 && rapid.IntRange(0, 3).Draw(t, "really") == 0 {
				wait(ms)
			}
		}
		actions["stepBack"] = func(t *rapid.T) {
			back := rapid.Int64Range(0, 3000).Draw(t, "step")
			s.clock.Advance(-time.Duration(min(back, s.clock.Now().UnixMilli()-1)) * time.Millisecond)
		}
	}
	if s.back {
		actions["stepBack"] = func(t *rapid.T) {
			s.clock.Advance(-time.Duration(rapid.Int64Range(1, 3000).Draw(t, "step")) * time.Millisecond)
		}
	}
	t.Repeat(actions)
}

// settle corrects a random request, each request at most once.
func (s *subject) settle(t *rapid.T, p *store.Log, key string, m *model, real int64, steps bool) {
	(&run{subject: s, course: course{back: steps}}).correct(t, p, key, m, real)
}

func (s *run) correct(t *rapid.T, p *store.Log, key string, m *model, real int64) {
	var open []*request
	for _, r := range m.requests {
		if !r.settled {
			open = append(open, r)
		}
	}
	if len(open) == 0 {
		return
	}
	// Usually one of the newest requests.
	r := open[max(0, len(open)-1-rapid.IntRange(0, 5).Draw(t, "request"))]
	correction := -rapid.OneOf(rapid.Just(r.cost), rapid.Int64Range(1, r.cost)).Draw(t, "back")
	if p.VariableCost && !s.back && !s.odd && rapid.IntRange(0, 3).Draw(t, "charge") == 0 {
		correction = rapid.Int64Range(1, 20).Draw(t, "more")
	}
	r.settled = true
	err := s.Settle(s.Context(), p, key, r.id, correction)
	if s.refuses(err) {
		return
	}
	if err != nil && !errors.Is(err, store.ErrTooLate) {
		t.Fatal(err)
	}
	if err := m.settled(err == nil, r.id, correction, s.clock.Now().UnixMilli(), real); err != nil {
		t.Fatalf("%v: a correction by %d of %+v: %v", p.Limits, correction, r, err)
	}
}

func randomCost(t *rapid.T, p *store.Log) int64 {
	if !p.VariableCost {
		return 1
	}
	smallest := p.Limits[0].Max
	for _, l := range p.Limits {
		smallest = min(smallest, l.Max)
	}
	return rapid.OneOf(rapid.Just(int64(1)), rapid.Int64Range(1, smallest)).Draw(t, "cost")
}

// randomWait returns a wait. Most are short, and many end at the edge of a window.
func (s *subject) randomWait(t *rapid.T, p *store.Log) int64 {
	window := p.Limits[rapid.IntRange(0, len(p.Limits)-1).Draw(t, "limit")].Window.Milliseconds()
	edge := rapid.SampledFrom([]int64{window - 1, window, window + 1, 2*window - 1, 2 * window, 2*window + 1})
	return rapid.OneOf(rapid.Int64Range(0, 3), rapid.Int64Range(0, max(1, window/3)), edge).Draw(t, "wait")
}
