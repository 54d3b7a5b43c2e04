package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

// use is the units that a request used, and the time of use.
type use struct {
	at    time.Time
	units int64
}

// usedIn returns the units used in the window that ends now.
func usedIn(uses []use, window time.Duration, now time.Time) (units int64) {
	for _, u := range uses {
		if u.at.After(now.Add(-window)) {
			units += u.units
		}
	}
	return units
}

// leases checks random histories of a leased log. No window of the policy's length has
// more uses than its limit, whenever the units were taken. A store without leases must
// decide like for a policy without leases.
func (h Harness) leases(t *testing.T) {
	for name, costs := range map[string]bool{"Requests": false, "Costs": true} {
		t.Run(name, func(t *testing.T) {
			s := h.subject(t)
			_, leases := s.Store.(store.Leaser)
			histories := 0
			rapid.Check(t, func(t *rapid.T) {
				histories++
				key := fmt.Sprint("leases-", histories)
				window := rapid.Int64Range(64, 400).Draw(t, "window")
				limits := []core.Limit{core.Per(rapid.Int64Range(16, 80).Draw(t, "max"), time.Duration(window)*ms)}
				if rapid.Bool().Draw(t, "two limits") {
					limits = append(limits, core.Per(rapid.Int64Range(16, 200).Draw(t, "max"), time.Duration(3*window)*ms))
				}
				d := time.Duration(rapid.Int64Range(1, window/16).Draw(t, "lease")) * ms
				var options []core.PolicyOption
				for _, l := range limits {
					options = append(options, l)
				}
				if costs {
					options = append(options, core.VariableCost())
				}
				// Leases of length d, leases of the shortest length, and no leases.
				lengths := []time.Duration{d, ms, 0}
				logs := make([]*store.Log, len(lengths))
				for i, length := range lengths {
					logs[i] = newLog("leased", append(slices.Clone(options), core.Lease(length))...)
				}
				log := logs[0]
				var uses []use
				for range rapid.IntRange(1, 150).Draw(t, "requests") {
					if wait := rapid.SampledFrom([]int64{0, 0, 0, 0, 1, 1, 2, int64(d / ms), window / 4, window}).Draw(t, "wait"); wait > 0 {
						s.clock.Advance(time.Duration(wait) * ms)
					}
					if rapid.IntRange(0, 30).Draw(t, "change") == 30 {
						i := rapid.IntRange(0, len(logs)-1).Draw(t, "length")
						log, d = logs[i].After(logs...), lengths[i]
					}
					cost := int64(1)
					if costs {
						cost = rapid.Int64Range(1, 16).Draw(t, "cost")
					}
					now := s.clock.Now()
					fits := !slices.ContainsFunc(limits, func(l core.Limit) bool { return usedIn(uses, l.Window, now)+cost > l.Max })
					u, err := s.Take(s.Context(), log, key, cost)
					switch {
					case err != nil:
						t.Fatal(err)
					case u.Allowed && !fits:
						t.Fatalf("%v, lease %v: cost %d is above a limit: %+v", limits, d, cost, u)
					case !leases && u.Allowed != fits:
						t.Fatalf("%v: a store without leases: allowed %v, want %v", limits, u.Allowed, fits)
					case u.Allowed == (u.RetryAfter > 0):
						t.Fatalf("%+v", u)
					case u.Allowed:
						uses = append(uses, use{now, cost})
					}
				}
			})
		})
	}
}

// upTo checks that a request gets as many units as there is room for, and at most as many
// as it can use.
func (h Harness) upTo(t *testing.T) {
	take := func(s *subject, p *store.Log, most int64) (store.Usage, int64) {
		s.Helper()
		f := func() (store.Usage, int64, error) { return store.TakePart(s.Context(), s.Store, p, "k", most) }
		if partial, ok := s.Store.(store.Partial); ok {
			f = func() (store.Usage, int64, error) { return partial.TakeUpTo(s.Context(), p, "k", most) }
		}
		u, cost, err := f()
		if err != nil {
			s.Fatal(err)
		}
		return u, cost
	}
	for name, option := range map[string]core.PolicyOption{"summed": core.VariableCost(), "refunded": core.Refundable(0), "leased": core.Lease(ms)} {
		t.Run(name, func(t *testing.T) {
			s := h.subject(t)
			p := newLog("p", core.Per(100, time.Second), core.VariableCost(), option)
			for i, want := range []int64{60, 40} {
				u, cost := take(s, p, 60)
				if !u.Allowed || cost != want || u.RetryAfter != 0 {
					t.Errorf("request %d: %d units, want %d: %+v", i, cost, want, u)
				}
				s.clock.Advance(10 * ms)
			}
			u, cost := take(s, p, 60)
			if u.Allowed || cost != 1 || u.RetryAfter < time.Second-20*ms {
				t.Errorf("a full log: %d units, %+v", cost, u)
			}
			s.clock.Advance(u.RetryAfter)
			if u, cost := take(s, p, 7); !u.Allowed || cost != 7 {
				t.Errorf("after RetryAfter: %d units, %+v", cost, u)
			}
		})
	}
}
