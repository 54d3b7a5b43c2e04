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

// together checks that all logs are charged or none, in all layouts.
func (h Harness) together(t *testing.T) {
	t.Run("all or nothing", func(t *testing.T) {
		s := h.subject(t)
		wide := newLog("wide", core.Per(5, time.Second))
		narrow := newLog("narrow", core.Per(2, time.Second), core.PerMinute(3))
		asks := []store.Charge{{Log: wide, Key: "k"}, {Log: narrow, Key: "k"}}
		for i := range int64(2) {
			for _, u := range s.takeAll(asks...) {
				if !u.Allowed || u.Limits[0].Used != i+1 {
					t.Fatalf("request %d: %+v", i, u)
				}
			}
		}
		for range 10 {
			usages := s.takeAll(asks...)
			if u := usages[0]; !u.Allowed || u.Limits[0].Used != 2 {
				t.Fatalf("the policy with room: %+v", u)
			}
			if u := usages[1]; u.Allowed || u.Limits[0].Used != 2 || u.RetryAfter != time.Second {
				t.Fatalf("the policy without room: %+v", u)
			}
		}
		s.clock.Advance(time.Second)
		s.takeAll(asks...)
		if u := s.look(wide, "k", 1); u.Limits[0].Used != 1 {
			t.Errorf("denials have taken from the other policy: %+v", u)
		}
	})
	t.Run("shadow", func(t *testing.T) {
		s := h.subject(t)
		real := newLog("real", core.Per(5, time.Second))
		shadow := newLog("shadow", core.Per(1, time.Second), core.Shadow())
		for i := range int64(3) {
			usages := s.takeAll(store.Charge{Log: shadow, Key: "k"}, store.Charge{Log: real, Key: "k"})
			if usages[0].Allowed != (i == 0) || usages[0].Limits[0].Used != 1 {
				t.Errorf("request %d: the policy in shadow mode: %+v", i, usages[0])
			}
			if !usages[1].Allowed || usages[1].Limits[0].Used != i+1 {
				t.Errorf("request %d: the other policy: %+v", i, usages[1])
			}
		}
	})
	t.Run("different keys", func(t *testing.T) {
		s := h.subject(t)
		api := newLog("api", core.Per(2, time.Second), core.Refundable(0))
		for i := range 9 {
			key := fmt.Sprint("client-", i)
			usages := s.takeAll(store.Charge{Log: api, Key: key}, store.Charge{Log: api, Key: "service"})
			if !usages[0].Allowed || usages[1].Allowed != (i < 2) {
				t.Errorf("request %d: %+v", i, usages)
			}
			want := int64(0)
			if i < 2 {
				want = 1
			}
			if u := s.look(api, key, 1); u.Limits[0].Used != want {
				t.Errorf("request %d: units of a denied request are not given back: %+v", i, u)
			}
		}
		// The first policy denies, so the second one is not charged.
		s.clock.Advance(time.Second)
		for i := range 4 {
			s.takeAll(store.Charge{Log: api, Key: "service"}, store.Charge{Log: api, Key: fmt.Sprint("client-", i)})
		}
		if u := s.look(api, "client-3", 1); u.Limits[0].Used != 0 {
			t.Errorf("charged for a denied request: %+v", u)
		}
	})
	t.Run("apart", func(t *testing.T) {
		s := h.subject(t)
		api := newLog("api", core.Per(2, time.Second))
		asks := []store.Charge{{Log: api, Key: "one", Cost: 1}, {Log: api, Key: "other", Cost: 1}}
		_, err := s.TakeAll(t.Context(), asks)
		if h.Apart != errors.Is(err, store.ErrCrossSlot) || !h.Apart && err != nil {
			t.Errorf("policies that are not refundable, for two keys: %v, want ErrCrossSlot: %v", err, h.Apart)
		}
	})
	t.Run("property", h.togetherProperty)
}

// togetherProperty compares random histories on several logs with their models.
func (h Harness) togetherProperty(t *testing.T) {
	s := h.subject(t)
	histories := 0
	rapid.Check(t, func(t *rapid.T) {
		histories++
		key := fmt.Sprint("history-", histories)
		policies := []*store.Log{}
		costs, refunds := core.VariableCost(), core.Refundable(0)
		for i, options := range [][]core.PolicyOption{{}, {costs}, {refunds}, {costs, refunds}, {core.Shadow()}, {core.Coarse(3)}} {
			p := randomPolicy(t, 1, options)
			named := append([]core.PolicyOption{core.Per(p.Limits[0].Max, p.Limits[0].Window)}, options...)
			policies = append(policies, newLog(fmt.Sprint("p", i), named...))
		}
		models := make([]*model, len(policies))
		for i, p := range policies {
			models[i] = &model{log: p}
		}
		real := s.clock.Now().UnixMilli()
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				var asks []store.Charge
				var asked []*model
				for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, len(policies)-1), 1, len(policies), rapid.ID[int]).Draw(t, "policies") {
					asks = append(asks, store.Charge{Log: policies[i], Key: key, Cost: randomCost(t, policies[i])})
					asked = append(asked, models[i])
				}
				usages, err := s.TakeAll(s.Context(), asks)
				if err != nil {
					t.Fatal(err)
				}
				now := s.clock.Now().UnixMilli()
				taken := true
				for i, a := range asks {
					taken = taken && (a.Log.Shadow || asked[i].room(a.Cost, now))
				}
				for i, a := range asks {
					if err := asked[i].check(usages[i], a.Cost, taken, now, real); err != nil {
						t.Fatalf("%d logs, taken %v: %v, cost %d: %v\n%+v", len(asks), taken, a.Log.Limits, a.Cost, err, usages[i])
					}
				}
			},
			"settle": func(t *rapid.T) {
				i := rapid.IntRange(2, 3).Draw(t, "policy")
				s.settle(t, policies[i], key, models[i], real, false)
			},
			"wait": func(t *rapid.T) {
				ms := s.randomWait(t, policies[rapid.IntRange(0, len(policies)-1).Draw(t, "policy")])
				s.clock.Advance(time.Duration(ms) * time.Millisecond)
				real += ms
			},
		})
	})
}
