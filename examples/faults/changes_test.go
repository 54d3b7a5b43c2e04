package faults

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/policyfile"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// The limits of row 37: the shortest window in force, and the largest Max.
const (
	changedWindow = 200 * time.Millisecond
	changedMax    = 20
)

// variant is a layout that a policy changes to, with limits that differ in their windows.
type variant struct {
	limits  []core.Limit
	options []core.PolicyOption
	file    string // the settings of a policy file
}

var (
	countedVariant  = variant{limits: []core.Limit{core.Per(changedMax, changedWindow)}}
	summedVariant   = variant{limits: []core.Limit{core.Per(15, changedWindow), core.Per(changedMax, 3*changedWindow)}}
	refundedVariant = variant{limits: []core.Limit{core.Per(18, 2*changedWindow)}, options: []core.PolicyOption{core.Refundable(0)}, file: ", refund: true"}
	coarseVariant   = variant{limits: []core.Limit{core.Per(changedMax, 300*time.Millisecond)}, options: []core.PolicyOption{core.Coarse(4)}, file: ", slices: 4"}
	longerVariant   = variant{limits: []core.Limit{core.Per(changedMax, 250*time.Millisecond)}}
)

func (v variant) policy(name string) *core.Policy {
	options := slices.Clone(v.options)
	for _, l := range v.limits {
		options = append(options, l)
	}
	return core.NewPolicy(name, options...)
}

// line returns the policy in a file.
func (v variant) line(name string) string {
	limits := make([]string, len(v.limits))
	for i, l := range v.limits {
		limits[i] = fmt.Sprintf("%d/%v", l.Max, l.Window)
	}
	return fmt.Sprintf("  %s: {limits: [%s]%s}\n", name, strings.Join(limits, ", "), v.file)
}

// changedPolicy is a policy that changes between two variants under load.
type changedPolicy struct {
	name     string
	variants [2]variant
	mu       sync.Mutex
	admitted []admission
}

// admission has the times between which a request was certainly admitted.
type admission struct{ after, before time.Duration }

// pairs returns a policy for each pair of variants.
func pairs(way string, variants ...variant) (all []*changedPolicy) {
	for i, a := range variants {
		for j, b := range variants {
			if i != j {
				all = append(all, &changedPolicy{name: fmt.Sprintf("%s%dto%d", way, i, j), variants: [2]variant{a, b}})
			}
		}
	}
	return all
}

// most returns the most units that were certainly admitted within a window.
func (p *changedPolicy) most() (most int) {
	slices.SortFunc(p.admitted, func(a, b admission) int { return int(a.after - b.after) })
	for i, first := range p.admitted {
		within := 0
		for _, a := range p.admitted[i:] {
			if a.before < first.after+changedWindow-time.Millisecond {
				within++
			}
		}
		most = max(most, within)
	}
	return most
}

// Limits change under load between all pairs of layouts, and no window of the shortest
// length has more than the largest Max.
func TestRow37_LimitsChangedLive(t *testing.T) {
	t.Parallel()
	r := row(t, 37)
	server := redistest.Start(t)
	layouts := []variant{countedVariant, summedVariant, refundedVariant, coarseVariant}
	newLimiter := func(policies []*changedPolicy, round int) *core.Limiter {
		l := core.New(connect(t, server), core.WithFailureMode(core.FailClosed))
		t.Cleanup(func() { l.Close() })
		for _, p := range policies {
			l.Register(p.variants[round%2].policy(p.name))
		}
		return l
	}
	start := time.Now()
	for _, way := range []struct {
		name     string
		policies []*changedPolicy
		change   func(t *testing.T, policies []*changedPolicy) (l func() *core.Limiter, to func(round int))
	}{
		{"override", pairs("override", countedVariant, summedVariant, longerVariant), func(t *testing.T, policies []*changedPolicy) (func() *core.Limiter, func(int)) {
			l := newLimiter(policies, 0)
			return func() *core.Limiter { return l }, func(round int) {
				for _, p := range policies {
					if err := l.SetRule(t.Context(), core.Rule{Kind: core.RuleOverride, Policy: p.name, Limits: p.variants[round%2].limits}); err != nil {
						t.Error(err)
					}
				}
			}
		}},
		{"Replace", pairs("replace", layouts...), func(_ *testing.T, policies []*changedPolicy) (func() *core.Limiter, func(int)) {
			l := newLimiter(policies, 0)
			return func() *core.Limiter { return l }, func(round int) {
				replaced := make([]*core.Policy, len(policies))
				for i, p := range policies {
					replaced[i] = p.variants[round%2].policy(p.name)
				}
				if err := l.Replace(replaced...); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"file", pairs("file", layouts...), func(t *testing.T, policies []*changedPolicy) (func() *core.Limiter, func(int)) {
			l := newLimiter(policies, 0)
			path := filepath.Join(t.TempDir(), "policies.yaml")
			var watcher *policyfile.Watcher
			return func() *core.Limiter { return l }, func(round int) {
				text := "policies:\n"
				for _, p := range policies {
					text += p.variants[round%2].line(p.name)
				}
				err := os.WriteFile(path, []byte(text), 0o600)
				switch {
				case err != nil:
				case watcher == nil:
					if watcher, err = policyfile.Watch(path, l, nil, policyfile.WithLogger(slog.New(slog.DiscardHandler))); err == nil {
						t.Cleanup(func() { watcher.Close() })
					}
				default:
					err = watcher.Reload()
				}
				if err != nil {
					t.Error(err)
				}
			}
		}},
		{"restart", pairs("restart", layouts...), func(_ *testing.T, policies []*changedPolicy) (func() *core.Limiter, func(int)) {
			var now atomic.Pointer[core.Limiter]
			return now.Load, func(round int) { now.Store(newLimiter(policies, round)) }
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			limiter, change := way.change(t, way.policies)
			change(0)
			var turns sync.RWMutex // a process ends its decisions before the next one starts
			stop := time.Now().Add(scale(1500*time.Millisecond, 20*time.Second))
			var callers sync.WaitGroup
			for _, p := range way.policies {
				for range 2 {
					callers.Go(func() {
						for time.Now().Before(stop) {
							turns.RLock()
							l := limiter()
							now, _ := l.Policy(p.name)
							after := time.Since(start)
							d, err := l.Allow(t.Context(), now, "k")
							before := time.Since(start)
							turns.RUnlock()
							if err != nil {
								t.Errorf("%s: %v", p.name, err)
								return
							}
							if d.Allowed {
								p.mu.Lock()
								p.admitted = append(p.admitted, admission{after, before})
								p.mu.Unlock()
							} else {
								time.Sleep(time.Millisecond)
							}
						}
					})
				}
			}
			changes := 0
			for round := 1; time.Now().Before(stop); round++ {
				time.Sleep(70 * time.Millisecond)
				if way.name == "restart" {
					turns.Lock()
				}
				change(round)
				if way.name == "restart" {
					turns.Unlock()
				}
				changes++
			}
			callers.Wait()
			admitted, excess, most := 0, 0, 0
			for _, p := range way.policies {
				n := p.most()
				most = max(most, n)
				admitted += len(p.admitted)
				if n > changedMax {
					excess += n - changedMax
					t.Errorf("%s: %d admitted within %v, want at most %d", p.name, n, changedWindow, changedMax)
				}
			}
			if admitted < len(way.policies)*changedMax || most < changedMax/2 || changes < 5 {
				t.Errorf("%d admitted with %d changes, at most %d in a window: too little for a test", admitted, changes, most)
			}
			r.Figure("%s: excess %d in %d changes of %d pairs, %d admitted", way.name, excess, changes, len(way.policies), admitted)
		})
	}
}
