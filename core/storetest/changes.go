package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/streamlimit/streamlimit/core"
)

// changes compares random histories with a model in which the limits of a policy
// change, from every layout to every other: see [core.Policy.After]. In some of them
// another process still has the earlier limits. A check has five histories. For 100,000
// in memory:
//
//	go test ./core -run MemoryConformance/Changes -rapid.checks=20000
func (h Harness) changes(t *testing.T) {
	t.Run("RetryAfterRefunds", h.retryAfterRefunds)
	t.Run("Cached", h.recalled)
	for name, steps := range map[string]bool{"": false, "ClockStepsBack": true} {
		t.Run("Any"+name, func(t *testing.T) {
			s := h.subject(t)
			histories := 0
			rapid.Check(t, func(t *rapid.T) {
				for range historiesAtOnce {
					histories++
					c := &changing{
						subject: s, key: fmt.Sprintf("change-%d", histories), steps: steps,
						logs: make(logs), denied: make(map[*core.Policy]logs), real: s.clock.Now().UnixMilli(),
					}
					c.change(t)
					c.history(t)
					s.clock.Advance(2 * time.Minute) // or a store in memory is full after many
				}
			})
		})
	}
}

// historiesAtOnce is how many histories one check has: 2,000 a run of the tests of
// package redisstream, on a server and on a cluster.
const historiesAtOnce = 5

// retryAfterRefunds: an earlier log whose units were all given back holds some again when
// the window has moved on: what was given back counts no more before its request leaves.
// RetryAfter waits for that.
func (h Harness) retryAfterRefunds(t *testing.T) {
	s := h.subject(t)
	refunds := core.NewPolicy("p", core.Per(2, 4*ms), core.Refundable(0))
	p := core.NewPolicy("p", core.Per(2, 4*ms)).After(refunds)
	give := func(u core.Usage) {
		if err := s.Settle(s.Context(), refunds, "k", u.Entry, -1); err != nil {
			t.Fatal(err)
		}
	}
	first := s.admits(refunds, "k", 1) // at 0
	s.admits(p, "k", 1)
	s.clock.Advance(ms)
	give(first)
	give(s.admits(refunds, "k", 1)) // at 1: a second unit, which counts until 5
	s.admits(p, "k", 1)
	if u := s.denies(p, "k", 1); u.Limits[0].Used != 2 || u.RetryAfter != 4*ms {
		t.Errorf("%+v, want 2 used and RetryAfter 4ms", u)
	}
	s.clock.Advance(3 * ms)
	s.denies(p, "k", 1)
	s.clock.Advance(ms)
	s.admits(p, "k", 1)
}

// recalled: a recalled denial stays true, and may leave out what others have added to the
// log since the store denied. They have the same log with a larger limit.
func (h Harness) recalled(t *testing.T) {
	s := h.subject(t)
	p, others := core.NewPolicy("p", core.Per(1, 4*ms)), core.NewPolicy("p", core.Per(2, 4*ms))
	s.admits(others, "k", 1) // at 0
	s.denies(p, "k", 1)
	s.clock.Advance(2 * ms)
	s.admits(others, "k", 1) // at 2
	used, wait := int64(2), 4*ms
	u := s.denies(p, "k", 1)
	if u.Cached {
		used, wait = 1, 2*ms
	}
	if u.Limits[0] != (core.LimitUsage{Used: used, FreeIn: 2 * ms}) || u.RetryAfter != wait {
		t.Errorf("%+v, want %d used and RetryAfter %v", u, used, wait)
	}
	// The others took the place that the recalled denial promised.
	s.clock.Advance(2 * ms)
	if u := s.denies(p, "k", 1); u.Cached || u.Limits[0].Used != 1 || u.RetryAfter != 2*ms {
		t.Errorf("%+v, want a new denial with 1 used and RetryAfter 2ms", u)
	}
	s.clock.Advance(2 * ms)
	s.admits(p, "k", 1)
}

// changing is one history of a key under a policy that changes.
type changing struct {
	*subject
	key     string
	steps   bool // the clock steps back now and then
	now     *core.Policy
	earlier []*core.Policy
	logs    logs
	denied  map[*core.Policy]logs // as they were when Take last denied, by the policy
	real    int64                 // by a clock that never steps
}

// logs are the models of logs by their names.
type logs map[string]*model

// clone returns a copy that later entries do not change.
func (l logs) clone() logs {
	copies := make(logs, len(l))
	for name, m := range l {
		as := *m
		as.entries = slices.Clone(m.entries)
		copies[name] = &as
	}
	return copies
}

// log returns the model of a policy's log.
func (c *changing) log(p *core.Policy) *model {
	m := c.logs[p.LogName()]
	if m == nil {
		m = &model{}
		c.logs[p.LogName()] = m
	}
	m.policy = p
	return m
}

// mostEarlier is how many earlier logs a history has at once.
const mostEarlier = 4

// change changes the policy to one with other limits, costs or refunds, or to one that
// it was before.
func (c *changing) change(t *rapid.T) {
	next := c.randomPolicy(t)
	if len(c.earlier) > 0 && rapid.Bool().Draw(t, "back") {
		next = rapid.SampledFrom(c.earlier).Draw(t, "before")
	}
	if c.now != nil {
		c.earlier = slices.DeleteFunc(c.earlier, func(p *core.Policy) bool { return p.LogName() == c.now.LogName() })
		c.earlier = append(c.earlier, c.now)
	}
	if len(c.earlier) > mostEarlier {
		oldest := c.earlier[0]
		if left := c.log(oldest).last() + oldest.Longest().Milliseconds() - c.clock.Now().UnixMilli(); left > 0 {
			c.advance(left)
		}
		c.earlier = c.earlier[1:]
		delete(c.logs, oldest.LogName())
	}
	c.now = next.After(c.earlier...)
	c.log(c.now)
	c.look()
}

func (c *changing) randomPolicy(t *rapid.T) *core.Policy {
	costs, refunds := core.VariableCost(), core.Refundable(0)
	kind := rapid.SampledFrom([]struct {
		limits  int
		options []core.PolicyOption
	}{
		{1, nil}, {1, nil}, {1, []core.PolicyOption{costs}}, {3, []core.PolicyOption{costs}}, {2, nil},
		{1, []core.PolicyOption{costs, core.Coarse(4)}}, {1, []core.PolicyOption{refunds}}, {2, []core.PolicyOption{costs, refunds}},
	}).Draw(t, "kind")
	return randomPolicy(t, kind.limits, kind.options)
}

func (c *changing) advance(ms int64) {
	c.clock.Advance(time.Duration(ms) * time.Millisecond)
	c.real += ms
	c.look()
}

// look records that the store may have looked at any log now: what has left its window
// may be forgotten.
func (c *changing) look() {
	for _, m := range c.logs {
		m.highest = max(m.highest, c.clock.Now().UnixMilli())
	}
}

// counted returns the policies whose logs count now: the current one's first.
func (c *changing) counted() []*core.Policy { return append([]*core.Policy{c.now}, c.now.Earlier()...) }

// used is as model.used, for all logs that count. What has left a log's own longest
// window counts no more.
func (c *changing) used(window, now int64) (units, leaves int64) {
	for _, p := range c.counted() {
		window := min(window, p.Longest().Milliseconds())
		m := c.log(p)
		used, first := m.used(window, max(now, m.last()))
		if used > 0 && (units == 0 || first+window < leaves) {
			leaves = first + window
		}
		units += used
	}
	return units, leaves
}

func (c *changing) room(cost, now int64) bool {
	for _, l := range c.now.Limits() {
		if used, _ := c.used(l.Window.Milliseconds(), now); used+cost > l.Max {
			return false
		}
	}
	return true
}

func (c *changing) ask(t *rapid.T, took bool) {
	cost, clock := randomCost(t, c.now), c.clock.Now().UnixMilli()
	method, caches := c.Peek, false
	switch {
	case took && rapid.IntRange(0, 3).Draw(t, "together") == 0:
		method = c.takeBeside
	case took:
		method, caches = c.Take, true
	}
	u, err := method(c.Context(), c.now, c.key, cost)
	if err == nil && u.Cached && !caches {
		err = errors.New("recalled a denial that only Take may")
	}
	if caches && !u.Allowed && !u.Cached {
		c.denied[c.now] = c.logs.clone()
	}
	if err == nil {
		err = c.check(u, cost, took, clock)
	}
	if err != nil {
		t.Fatalf("%v after %v, cost %d, take %v: %v\n%+v", c.now.Limits(), c.now.Earlier(), cost, took, err, u)
	}
}

// beside is a policy that denies nothing here.
var beside = core.NewPolicy("beside", core.PerMinute(1_000_000))

// takeBeside is Take together with another policy.
func (c *changing) takeBeside(ctx context.Context, p *core.Policy, key string, cost int64) (core.Usage, error) {
	usages, err := c.TakeAll(ctx, []core.Charge{{Policy: beside, Key: key, Cost: 1}, {Policy: p, Key: key, Cost: cost}})
	if err != nil {
		return core.Usage{}, err
	}
	return usages[1], nil
}

// check compares what a store says with the definition, and records what it admitted.
//
// A recalled denial must still be one. It does not count what others have added since the
// store denied, and so tells of the logs of that time, exactly. Others that share a log
// are other processes, and in this one policies of the same log with other limits.
func (c *changing) check(u core.Usage, cost int64, took bool, clock int64) error {
	if allowed := c.room(cost, clock); !c.steps {
		now := c.logs
		if u.Cached {
			c.logs = c.denied[c.now].clone()
		}
		err := c.checkExactly(u, cost, allowed, allowed && took, clock)
		c.logs = now
		if err != nil {
			return err
		}
	}
	if !u.Allowed || !took {
		return nil
	}
	m := c.log(c.now)
	at := max(clock, m.last())
	if c.now.Layout() == core.Refunded {
		at = u.Entry.Time
	}
	m.record(entry{time: at, asked: at, real: c.real, cost: cost, id: u.Entry})
	m.requests = append(m.requests, &request{id: u.Entry, cost: cost})
	return c.checkDefinition()
}

func (c *changing) checkExactly(u core.Usage, cost int64, allowed, entered bool, now int64) error {
	if u.Allowed != allowed {
		return fmt.Errorf("allowed %v, want %v", u.Allowed, allowed)
	}
	wait := u.RetryAfter.Milliseconds()
	switch {
	case allowed && wait != 0:
		return fmt.Errorf("RetryAfter %dms, and it fits now", wait)
	case !allowed && (wait < 1 || !c.room(cost, now+wait)):
		return fmt.Errorf("RetryAfter %dms, and then it does not fit", wait)
	case !allowed && c.room(cost, now+wait-1):
		return fmt.Errorf("RetryAfter %dms, and a millisecond before it fits", wait)
	}
	reset := int64(0)
	for _, p := range c.counted() {
		if m := c.log(p); len(m.entries) > 0 {
			reset = max(reset, m.last()+min(p.Longest(), c.now.Longest()).Milliseconds()-now)
		}
	}
	if entered {
		reset = c.now.Longest().Milliseconds()
	}
	if got := u.ResetAfter.Milliseconds(); got != reset {
		return fmt.Errorf("ResetAfter %dms, want %dms", got, reset)
	}
	for i, l := range c.now.Limits() {
		used, leaves := c.used(l.Window.Milliseconds(), now)
		free := time.Duration(0)
		if used > 0 {
			free = time.Duration(leaves-now) * time.Millisecond
		}
		if entered {
			used += cost
			if free == 0 {
				free = l.Window
			}
		}
		got := u.Limits[i]
		if got.Used != used {
			return fmt.Errorf("limit %v: used %d, want %d", l, got.Used, used)
		}
		if spare := entered && used < l.Max; spare && got.FreeIn >= free && got.FreeIn <= l.Window {
			continue // see core.LimitUsage
		}
		if got.FreeIn != free {
			return fmt.Errorf("limit %v: FreeIn %v, want %v", l, got.FreeIn, free)
		}
	}
	return nil
}

// checkDefinition adds up what all logs have admitted, by the clock that never steps,
// in each window that ends now. No log counts for longer than its own longest window.
func (c *changing) checkDefinition() error {
	for _, l := range c.now.Limits() {
		sum := int64(0)
		for _, p := range c.counted() {
			for _, e := range c.log(p).entries {
				if e.real > c.real-min(l.Window, p.Longest()).Milliseconds() {
					sum += e.cost - e.given
				}
			}
		}
		if sum > l.Max {
			return fmt.Errorf("over-admission: %d units within %v, the limit is %d", sum, l.Window, l.Max)
		}
	}
	return c.checkShortest()
}

// checkShortest checks what all logs together promise, whatever they count: no window of
// the shortest length in force has more units than the largest limit in force.
func (c *changing) checkShortest() error {
	shortest, largest, sum := core.MaxWindow, int64(0), int64(0)
	for _, p := range c.counted() {
		for _, l := range p.Limits() {
			shortest, largest = min(shortest, l.Window), max(largest, l.Max)
		}
	}
	for _, m := range c.logs {
		for _, e := range m.entries {
			if e.real > c.real-shortest.Milliseconds() {
				sum += e.cost - e.given
			}
		}
	}
	if sum > largest {
		return fmt.Errorf("over-admission: %d units within %v, the shortest window in force; the largest limit is %d", sum, shortest, largest)
	}
	return nil
}

// beside has another process ask, which has the limits of before and knows all logs.
func (c *changing) beside(t *rapid.T) {
	if len(c.earlier) == 0 {
		return
	}
	now := c.now
	others := append(slices.Clone(c.earlier), now)
	c.now = rapid.SampledFrom(c.earlier).Draw(t, "other").After(others...)
	c.ask(t, true)
	c.now = now
}

// settle gives back units of a random request, under the policy that admitted it.
func (c *changing) settle(t *rapid.T) {
	p := rapid.SampledFrom(c.counted()).Draw(t, "settled")
	if p.Layout() != core.Refunded {
		return
	}
	m := c.log(p)
	open := slices.DeleteFunc(slices.Clone(m.requests), func(r *request) bool { return r.settled })
	if len(open) == 0 {
		return
	}
	r := open[max(0, len(open)-1-rapid.IntRange(0, 3).Draw(t, "request"))]
	back := rapid.Int64Range(1, r.cost).Draw(t, "units")
	r.settled = true
	err := c.Settle(c.Context(), p, c.key, r.id, -back)
	if err != nil && !errors.Is(err, core.ErrTooLate) {
		t.Fatal(err)
	}
	if err := m.settled(err == nil, r.id, -back, c.clock.Now().UnixMilli(), c.real); err != nil {
		t.Fatalf("%v: %d units of %+v: %v", p.Limits(), back, r, err)
	}
}

func (c *changing) history(t *rapid.T) {
	actions := map[string]func(*rapid.T){
		"take": func(t *rapid.T) { c.ask(t, true) },
		"burst": func(t *rapid.T) {
			for range rapid.IntRange(2, 8).Draw(t, "burst") {
				c.ask(t, true)
			}
		},
		"peek":   func(t *rapid.T) { c.ask(t, false) },
		"wait":   func(t *rapid.T) { c.advance(c.randomWait(t, c.now)) },
		"change": c.change,
		"beside": c.beside,
		"settle": c.settle,
	}
	if c.steps {
		actions["stepBack"] = func(t *rapid.T) {
			c.clock.Advance(-time.Duration(rapid.Int64Range(1, 3000).Draw(t, "step")) * time.Millisecond)
		}
	}
	t.Repeat(actions)
}
