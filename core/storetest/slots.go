package storetest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

// slots: at most Max slots are live, whatever is lost, late or repeated. A store without
// slots passes.
func (h Harness) slots(t *testing.T) {
	t.Run("taken, renewed and released", func(t *testing.T) {
		s := h.slotSubject(t)
		p := newSlots(2, time.Minute)
		s.slot(p, "k", "a", true, 1)
		s.slot(p, "k", "b", true, 2)
		s.slot(p, "k", "c", false, 2)
		s.slot(p, "k", "b", true, 2) // again
		s.slot(p, "other", "a", true, 1)
		if u := s.look(p, "k", 1); u.Allowed || u.Limits[0].Used != 2 || u.RetryAfter != 0 {
			t.Errorf("a look: %+v", u)
		}
		s.release(p, "k", "c")
		s.slot(p, "k", "c", false, 2)
		s.release(p, "k", "a")
		s.slot(p, "k", "c", true, 2)
		s.release(p, "k", "a") // again: frees nobody else
		s.slot(p, "k", "d", false, 2)
		s.clock.Advance(59 * time.Second)
		s.renews(p, "k", "c", true)
		s.renews(p, "k", "a", false)
		s.clock.Advance(time.Second)
		s.slot(p, "k", "d", true, 2) // b was not renewed
		s.renews(p, "k", "b", false)
		entries, err := s.Entries(t.Context(), p, "k", 10)
		if err != nil || len(entries) != 2 || !entries[0].Time.Equal(s.clock.Now()) || !entries[1].Time.Equal(s.clock.Now().Add(-time.Second)) {
			t.Errorf("entries %v, %v", entries, err)
		}
		if err := s.Reset(t.Context(), p, "k"); err != nil {
			t.Fatal(err)
		}
		s.renews(p, "k", "c", false)
		s.slot(p, "k", "e", true, 1)
		s.clock.Advance(time.Hour)
		s.slot(p, "k", "f", true, 1)
	})
	t.Run("with other policies", func(t *testing.T) {
		s := h.slotSubject(t)
		p, rate := newSlots(1, time.Minute), newLog("rate", core.PerMinute(2))
		shadow := core.NewConcurrency("shadow", 1, time.Minute, core.Shadow()).Log()
		ask := func(token string) []store.Usage {
			return s.takeAll(store.Charge{Log: p, Key: "k", Token: token}, store.Charge{Log: rate, Key: "k"}, store.Charge{Log: shadow, Key: "k", Token: token})
		}
		if u := ask("a"); !u[0].Allowed || !u[1].Allowed || !u[2].Allowed || u[1].Limits[0].Used != 1 {
			t.Fatalf("%+v", u)
		}
		if u := ask("b"); u[0].Allowed || !u[1].Allowed || u[2].Allowed || u[1].Limits[0].Used != 1 {
			t.Fatalf("no slot is left: %+v", u)
		}
		s.release(p, "k", "a")
		if u := ask("b"); !u[0].Allowed || !u[1].Allowed || u[2].Allowed || u[2].Limits[0].Used != 1 {
			t.Fatalf("a policy in shadow mode denies: %+v", u)
		}
		s.release(p, "k", "b")
		if u := ask("c"); !u[0].Allowed || u[1].Allowed || u[0].Limits[0].Used != 0 {
			t.Fatalf("the rate is exhausted: %+v", u)
		}
		s.renews(p, "k", "c", false)
	})
	t.Run("two keys", func(t *testing.T) {
		s := h.slotSubject(t)
		p, q := newSlots(1, time.Minute), core.NewConcurrency("all", 2, time.Minute).Log()
		for i, key := range []string{"one", "two", "three"} {
			u := s.takeAll(store.Charge{Log: p, Key: key, Token: key}, store.Charge{Log: q, Key: "service", Token: key})
			if !u[0].Allowed || u[1].Allowed != (i < 2) {
				t.Errorf("request %d: %+v", i, u)
			}
			if u := s.look(p, key, 1); (u.Limits[0].Used == 1) != (i < 2) {
				t.Errorf("request %d: taken in vain: %+v", i, u)
			}
		}
	})
	t.Run("concurrency", func(t *testing.T) {
		s := h.slotSubject(t)
		p := newSlots(7, time.Minute)
		var inside, admitted atomic.Int64
		together(t, func(i int) {
			c := store.Charge{Log: p, Key: "k", Cost: 1, Token: fmt.Sprint("token-", i)}
			usages, err := s.TakeAll(s.Context(), []store.Charge{c})
			if err != nil {
				t.Error(err)
				return
			}
			if !usages[0].Allowed {
				return
			}
			admitted.Add(1)
			if n := inside.Add(1); n > 7 {
				t.Errorf("%d are inside, the limit is 7", n)
			}
			inside.Add(-1)
			if err := s.Store.(store.Slotter).ReleaseSlots(s.Context(), []store.Charge{c})[0]; err != nil {
				t.Error(err)
			}
		})
		if admitted.Load() < 7 || s.look(p, "k", 1).Limits[0].Used != 0 {
			t.Errorf("%d admitted, %d still used", admitted.Load(), s.look(p, "k", 1).Limits[0].Used)
		}
	})
	t.Run("property", func(t *testing.T) { h.slotHistories(t, nil) })
}

// slotHistories compares random histories of slots with a model. A process that crashes
// does not renew, a lost reply is not read, renewals are late, and the clock steps. For
// refused, see [Degraded].
func (h Harness) slotHistories(t *testing.T, refused func(error) bool) {
	s := h.slotSubject(t)
	histories := 0
	rapid.Check(t, func(t *rapid.T) {
		histories++
		key := fmt.Sprint("slots-", histories)
		most := rapid.Int64Range(1, 4).Draw(t, "max")
		hold := time.Second + time.Duration(rapid.Int64Range(0, 2000).Draw(t, "hold"))*ms
		log := newSlots(most, hold)
		largest := most                  // Max so far
		expiry := make(map[string]int64) // of the slots that the store may have
		tokens := []string{"never taken"}
		live := func() (n int64) {
			for _, at := range expiry {
				if at > s.clock.Now().UnixMilli() {
					n++
				}
			}
			return n
		}
		take := func(t *rapid.T, token string) {
			now := s.clock.Now().UnixMilli()
			used, held := live(), expiry[token] > now
			want := used < most || held
			usages, err := s.TakeAll(s.Context(), []store.Charge{{Log: log, Key: key, Cost: 1, Token: token}})
			if expected(err, refused) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			// Also a denied acquire ends them, so a step back of the clock revives none.
			for token, at := range expiry {
				if at <= now {
					delete(expiry, token)
				}
			}
			if want {
				expiry[token] = now + hold.Milliseconds()
				used = live()
			}
			if u := usages[0]; u.Allowed != want || u.Limits[0].Used != used {
				t.Fatalf("got %+v, want allowed %v with %d of %d used", u, want, used, most)
			}
		}
		takeNew := func(t *rapid.T) {
			token := fmt.Sprint("token-", len(tokens))
			tokens = append(tokens, token)
			take(t, token)
		}
		t.Repeat(map[string]func(*rapid.T){
			"take":       takeNew,
			"take again": func(t *rapid.T) { take(t, rapid.SampledFrom(tokens).Draw(t, "token")) },
			"look": func(t *rapid.T) {
				u, err := s.Peek(s.Context(), log, key, 1)
				if expected(err, refused) {
					return
				}
				if err != nil || u.Limits[0].Used != live() || u.Allowed != (live() < most) {
					t.Fatalf("got %+v, %v, want %d of %d used", u, err, live(), most)
				}
			},
			"renew": func(t *rapid.T) {
				chosen := rapid.SliceOfNDistinct(rapid.SampledFrom(tokens), 1, min(len(tokens), 4), rapid.ID[string]).Draw(t, "tokens")
				charges := make([]store.Charge, len(chosen))
				for i, token := range chosen {
					charges[i] = store.Charge{Log: log, Key: key, Token: token}
				}
				now := s.clock.Now().UnixMilli()
				for i, err := range s.Store.(store.Slotter).RenewSlots(s.Context(), charges) {
					at, known := expiry[chosen[i]]
					switch {
					case expected(err, refused):
					case err == nil && !known, err != nil && at > now, err != nil && !errors.Is(err, store.ErrSlotLost):
						t.Fatalf("renewal of %s: %v; known %v, live %v", chosen[i], err, known, at > now)
					case err == nil:
						expiry[chosen[i]] = now + hold.Milliseconds()
					default:
						delete(expiry, chosen[i]) // late: the store may have removed it
					}
				}
			},
			"release": func(t *rapid.T) {
				token := rapid.SampledFrom(tokens).Draw(t, "token")
				err := s.Store.(store.Slotter).ReleaseSlots(s.Context(), []store.Charge{{Log: log, Key: key, Token: token}})[0]
				if expected(err, refused) {
					return
				}
				if err != nil {
					t.Fatalf("release of %s: %v", token, err)
				}
				delete(expiry, token)
			},
			"wait": func(*rapid.T) {
				s.clock.Advance(time.Duration(rapid.Int64Range(0, 2*hold.Milliseconds()).Draw(t, "wait")) * ms)
			},
			"step back": func(t *rapid.T) {
				for _, at := range expiry {
					if s.clock.Now().UnixMilli() >= at+hold.Milliseconds() {
						// A store may have deleted it, so an acquire ends it first.
						takeNew(t)
						return
					}
				}
				s.clock.Advance(-time.Duration(rapid.Int64Range(0, hold.Milliseconds()).Draw(t, "step")) * ms)
			},
			"change": func(t *rapid.T) {
				most = rapid.Int64Range(1, 4).Draw(t, "max")
				largest = max(largest, most)
				log = newSlots(most, hold)
			},
			"": func(t *rapid.T) {
				if n := live(); n > largest {
					t.Fatalf("%d slots are live, the limit was at most %d", n, largest)
				}
			},
		})
	})
}

func newSlots(most int64, hold time.Duration) *store.Log {
	return core.NewConcurrency("slots", most, hold).Log()
}

// slotSubject is a store with slots.
func (h Harness) slotSubject(t *testing.T) *subject {
	s := h.subject(t)
	if _, ok := s.Store.(store.Slotter); !ok {
		t.Skip("the store keeps no slots")
	}
	return s
}

func (s *subject) slot(p *store.Log, key, token string, allowed bool, used int64) {
	s.Helper()
	if u := s.takeAll(store.Charge{Log: p, Key: key, Token: token})[0]; u.Allowed != allowed || u.Limits[0].Used != used || u.RetryAfter != 0 {
		s.Fatalf("slot %s: %+v, want allowed %v, %d used", token, u, allowed, used)
	}
}

func (s *subject) renews(p *store.Log, key, token string, want bool) {
	s.Helper()
	err := s.Store.(store.Slotter).RenewSlots(s.Context(), []store.Charge{{Log: p, Key: key, Token: token}})[0]
	if want && err != nil || !want && !errors.Is(err, store.ErrSlotLost) {
		s.Fatalf("renewal of %s: %v, want success: %v", token, err, want)
	}
}

func (s *subject) release(p *store.Log, key, token string) {
	s.Helper()
	if err := s.Store.(store.Slotter).ReleaseSlots(s.Context(), []store.Charge{{Log: p, Key: key, Token: token}})[0]; err != nil {
		s.Fatalf("release of %s: %v", token, err)
	}
}
