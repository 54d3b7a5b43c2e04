package redisstream

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
	"github.com/streamlimit/streamlimit/core/storetest"
)

// Before Redis 7.2 a server's clock advances while a script runs. Here it advances by
// a millisecond with every reading, more than any server's, and windows are of a few
// readings. No window has more than the limit, whether
// requests come alone, in groups, with others in one script, or by several policies.
func TestClockGoesOnWithinScripts(t *testing.T) {
	server := redistest.Start(t)
	rdb := server.Client()
	clock := &storetest.Clock{}
	clock.Advance(time.Since(time.Unix(0, 0)))
	const still = "local creep = 0"
	if !strings.Contains(clockSource, still) {
		t.Fatal("the test's clock can't creep")
	}
	hook := clockHook{clock: clock, scripts: make(map[string]*script)}
	for _, sc := range []*script{counted, summed, refunded, calendar, together, many} {
		hook.scripts[sc.sha.(string)] = newScript(strings.Replace(clockSource, still, "local creep = 1", 1) + strings.TrimPrefix(sc.source, shebang))
	}
	rdb.AddHook(hook)
	s := New(rdb, patient)

	var policies []*store.Log
	add := func(name string, options ...core.PolicyOption) {
		policies = append(policies, newLog(name, options...))
	}
	for _, max := range []int64{1, 2, 5} {
		for _, window := range []time.Duration{2, 7, 30} {
			n := strconv.Itoa(int(max)) + "-" + strconv.Itoa(int(window))
			add("counted"+n, core.Per(max, window*time.Millisecond))
			add("summed"+n, core.Per(max, window*time.Millisecond), core.VariableCost())
		}
	}
	admitted := make(map[*store.Log]map[string]int64) // cost by ID
	for _, p := range policies {
		admitted[p] = make(map[string]int64)
	}
	note := func(p *store.Log) {
		for _, entry := range rdb.XRange(t.Context(), s.logKey(p, "k"), "-", "+").Val() {
			cost := int64(1)
			if text, ok := entry.Values["c"].(string); ok {
				cost, _ = strconv.ParseInt(text, 10, 64)
			}
			admitted[p][entry.ID] = cost
		}
	}
	granted := make(map[*store.Log]int64)
	grant := func(p *store.Log, u store.Usage) {
		if u.Allowed {
			granted[p]++
		}
	}
	pick := func() *store.Log { return policies[rand.IntN(len(policies))] }
	for range 4000 {
		asked := []*store.Log{pick()}
		switch rand.IntN(4) {
		case 0:
			u, err := s.decide(t.Context(), asked[0], s.logKey(asked[0], "k"), 1, modeTake)
			if err != nil {
				t.Fatal(err)
			}
			grant(asked[0], u)
		case 1: // several requests on one log, and others on others
			asked = append(asked, asked[0], asked[0], pick(), pick())
			var waiters []*waiter
			for _, p := range asked {
				waiters = append(waiters, waiterFor(p, s.logKey(p, "k"), 1))
			}
			s.runTogether(waiters)
			for _, one := range waiters {
				if <-one.done; one.err != nil {
					t.Fatal(one.err)
				}
				grant(one.charges[0].policy, one.usage[0])
			}
		case 2:
			if other := pick(); other != asked[0] {
				asked = append(asked, other)
			}
			var asks []store.Charge
			for _, p := range asked {
				asks = append(asks, store.Charge{Log: p, Key: "k", Cost: 1})
			}
			usages, err := s.TakeAll(t.Context(), asks)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(usages, func(u store.Usage) bool { return !u.Allowed }) {
				for i, p := range asked {
					grant(p, usages[i])
				}
			}
		default:
			clock.Advance(time.Duration(rand.IntN(12)) * time.Millisecond)
		}
		for _, p := range asked {
			note(p)
		}
	}
	total := int64(0)
	for p, log := range admitted {
		logged := int64(0)
		for _, cost := range log {
			logged += cost
		}
		if logged != granted[p] {
			t.Errorf("%s: %d units logged, %d granted", p, logged, granted[p])
		}
		total += logged
		checkWindows(t, p, log)
	}
	if total < 1000 {
		t.Errorf("%d requests admitted, want many", total)
	}
}

// checkWindows checks that no window has more than the limit, whichever entry it
// begins with.
func checkWindows(t *testing.T, p *store.Log, log map[string]int64) {
	t.Helper()
	type entry struct{ at, cost int64 }
	var entries []entry
	for id, cost := range log {
		entries = append(entries, entry{idTime(id), cost})
	}
	slices.SortFunc(entries, func(a, b entry) int { return int(a.at - b.at) })
	limit := p.Limits[0]
	for i := range entries {
		var sum int64
		for _, e := range entries[i:] {
			if e.at >= entries[i].at+limit.Window.Milliseconds() {
				break
			}
			sum += e.cost
		}
		if sum > limit.Max {
			t.Errorf("%s: %d units from %d on, want at most %v", p, sum, entries[i].at, limit)
			return
		}
	}
}

func idTime(id string) int64 {
	text, _, _ := strings.Cut(id, "-")
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}
