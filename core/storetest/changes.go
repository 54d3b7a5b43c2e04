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
	"github.com/streamlimit/streamlimit/core/store"
)

// changes compares random histories with a model. In them the limits of a policy change,
// from every layout to every other: see [store.Log.After]. In some histories another
// process still has the earlier limits. A check has five histories. For 100,000 in
// memory:
//
//	go test ./core/internal/memory -run Conformance/Changes -rapid.checks=20000
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
						logs: make(logs), denied: make(map[*store.Log]logs), real: s.clock.Now().UnixMilli(),
					}
					c.change(t)
					c.history(t)
					s.clock.Advance(2 * time.Minute) // a store in memory would otherwise be full after many histories
				}
			})
		})
	}
}

// historiesAtOnce is the number of histories in one check: 2,000 in a run of the tests of
// package redisstream, on a server and on a cluster.
const historiesAtOnce = 5

// changing is one history of a key under a policy whose limits change.
type changing struct {
	*subject
	key     string
	steps   bool // the clock steps back sometimes
	now     *store.Log
	earlier []*store.Log
	logs    logs
	denied  map[*store.Log]logs // the logs at the last denial of Take, for each policy
	real    int64               // the time of a clock that never steps
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
func (c *changing) log(p *store.Log) *model {
	m := c.logs[p.Name]
	if m == nil {
		m = &model{}
		c.logs[p.Name] = m
	}
	m.log = p
	return m
}

// mostEarlier bounds the earlier logs of a history.
const mostEarlier = 4

// change changes the policy to one with other limits, costs or refunds, or back to an
// earlier one.
func (c *changing) change(t *rapid.T) {
	next := c.randomPolicy(t)
	if len(c.earlier) > 0 && rapid.Bool().Draw(t, "back") {
		next = rapid.SampledFrom(c.earlier).Draw(t, "before")
	}
	if c.now != nil {
		c.earlier = slices.DeleteFunc(c.earlier, func(p *store.Log) bool { return p.Name == c.now.Name })
		c.earlier = append(c.earlier, c.now)
	}
	if len(c.earlier) > mostEarlier {
		oldest := c.earlier[0]
		if left := c.log(oldest).last() + oldest.Longest.Milliseconds() - c.clock.Now().UnixMilli(); left > 0 {
			c.advance(left)
		}
		c.earlier = c.earlier[1:]
		delete(c.logs, oldest.Name)
	}
	c.now = next.After(c.earlier...)
	c.log(c.now)
	c.look()
}

func (c *changing) randomPolicy(t *rapid.T) *store.Log {
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

// look records that the store may have read any log now. It may have dropped entries that
// have left their window.
func (c *changing) look() {
	for _, m := range c.logs {
		m.highest = max(m.highest, c.clock.Now().UnixMilli())
	}
}

// counted returns the policies whose logs count now, the current policy's first.
func (c *changing) counted() []*store.Log { return append([]*store.Log{c.now}, c.now.Earlier...) }

// used is like model.used, for all logs that count. Entries that have left a log's own
// longest window do not count.
func (c *changing) used(window, now int64) (units, leaves int64) {
	for _, p := range c.counted() {
		window := min(window, p.Longest.Milliseconds())
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
	for _, l := range c.now.Limits {
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
		err = errors.New("a denial was recalled, which is allowed in Take only")
	}
	if caches && !u.Allowed && !u.Cached {
		c.denied[c.now] = c.logs.clone()
	}
	if err == nil {
		err = c.check(u, cost, took, clock)
	}
	if err != nil {
		t.Fatalf("%v after %v, cost %d, take %v: %v\n%+v", c.now.Limits, c.now.Earlier, cost, took, err, u)
	}
}

// beside is a policy that never denies in these histories.
var beside = newLog("beside", core.PerMinute(1_000_000))

// takeBeside is Take together with another policy.
func (c *changing) takeBeside(ctx context.Context, p *store.Log, key string, cost int64) (store.Usage, error) {
	usages, err := c.TakeAll(ctx, []store.Charge{{Log: beside, Key: key, Cost: 1}, {Log: p, Key: key, Cost: cost}})
	if err != nil {
		return store.Usage{}, err
	}
	return usages[1], nil
}

// beside makes another process decide. It has earlier limits, and knows all logs.
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
	if p.Layout != store.Refunded {
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
	if err != nil && !errors.Is(err, store.ErrTooLate) {
		t.Fatal(err)
	}
	if err := m.settled(err == nil, r.id, -back, c.clock.Now().UnixMilli(), c.real); err != nil {
		t.Fatalf("%v: %d units of %+v: %v", p.Limits, back, r, err)
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
