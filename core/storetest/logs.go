package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

// peek checks that Peek returns the decision of Take, takes nothing, and makes no log.
func (h Harness) peek(t *testing.T) {
	everyLayout(t, core.Per(2, time.Second), func(t *testing.T, p *store.Log) {
		s := h.subject(t)
		for range 10 {
			if u := s.look(p, "k", 1); !u.Allowed || u.Limits[0] != (store.LimitUsage{}) || u.ResetAfter != 0 {
				t.Fatalf("an empty log: %+v", u)
			}
		}
		if h.TimeToLive != nil && h.TimeToLive(t, s.Store, p, "k") != 0 {
			t.Error("a peek has made a log")
		}
		s.admits(p, "k", 1)
		s.clock.Advance(300 * ms)
		s.admits(p, "k", 1)
		for range 10 {
			u := s.look(p, "k", 1)
			want := store.LimitUsage{Used: 2, FreeIn: 700 * ms}
			if u.Allowed || u.RetryAfter != 700*ms || u.ResetAfter != time.Second || u.Limits[0] != want {
				t.Fatalf("a full log: %+v", u)
			}
		}
		s.clock.Advance(700 * ms)
		if u := s.look(p, "k", 1); !u.Allowed || u.Limits[0].Used != 1 || u.Limits[0].FreeIn != 300*ms {
			t.Fatalf("a log with room: %+v", u)
		}
		s.admits(p, "k", 1)
		s.denies(p, "k", 1)
	})
}

// reset checks that all units are given back, of this key and policy only.
func (h Harness) reset(t *testing.T) {
	everyLayout(t, core.Per(1, time.Minute), func(t *testing.T, p *store.Log) {
		s := h.subject(t)
		if err := s.Reset(t.Context(), p, "never seen"); err != nil {
			t.Errorf("Reset of a log that isn't there: %v", err)
		}
		s.admits(p, "k", 1)
		s.admits(p, "other", 1)
		if err := s.Reset(t.Context(), p, "k"); err != nil {
			t.Fatal(err)
		}
		s.admits(p, "k", 1)
		s.denies(p, "k", 1)
		s.denies(p, "other", 1)
	})
}

// apart checks that logs of different keys, policies, windows and layouts never mix.
func (h Harness) apart(t *testing.T) {
	s := h.subject(t)
	policies := []*store.Log{
		newLog("a", core.Per(1, time.Minute)),
		newLog("b", core.Per(1, time.Minute)),
		newLog("a", core.Per(1, time.Hour)),
		newLog("a", core.Per(1, time.Minute), core.VariableCost()),
		newLog("a", core.Per(1, time.Minute), core.VariableCost(), core.Refundable(0)),
		newLog("a", core.Per(1, time.Second), core.Per(1, 2*time.Minute)),
	}
	for _, p := range policies {
		for _, key := range []string{"k", "K", "k ", "kk"} {
			s.admits(p, key, 1)
		}
	}
	for _, p := range policies {
		for _, key := range []string{"k", "K", "k ", "kk"} {
			s.denies(p, key, 1)
		}
	}
}

// hostileKeys checks that each key has a log of its own, whatever bytes it has.
func (h Harness) hostileKeys(t *testing.T) {
	keys := []string{
		" ", "\x00", "\x00\x00", "{", "}", "{}", "{a}", "{a}b", "a", "a:b", "a:b:c", "*", "?", "[a]",
		"\r\n", "*1\r\n$8\r\nFLUSHALL\r\n", "\xff\xfe", "é", "e\u0301", "\u202e", "<script>alert(1)</script>",
		"p:c1m", ":new", "k:new", "..", "/", `"`, `'`, `\`, "nil", "0", "-1",
		strings.Repeat("x", 127), strings.Repeat("x", 128), strings.Repeat("{", 128),
	}
	for i := range 256 {
		keys = append(keys, "byte-"+string([]byte{byte(i)}))
	}
	everyLayout(t, core.Per(1, time.Minute), func(t *testing.T, p *store.Log) {
		s := h.subject(t)
		for _, key := range keys {
			if u := s.take(p, key, 1); !u.Allowed {
				t.Errorf("key %q shares the log of another", key)
			}
		}
		for _, key := range keys {
			if u := s.take(p, key, 1); u.Allowed {
				t.Errorf("key %q was forgotten", key)
			}
		}
	})
}

// timeToLive checks how long a log is kept: after every admission for at least its
// window. It is deleted at most two windows after the last admission.
func (h Harness) timeToLive(t *testing.T) {
	if h.TimeToLive == nil {
		return
	}
	policies := []*store.Log{
		newLog("counted", core.Per(3, 100*ms)),
		newLog("summed", core.Per(3, 100*ms), core.VariableCost()),
		newLog("several", core.Per(2, 30*ms), core.Per(3, 100*ms)),
		newLog("refunded", core.Per(3, 100*ms), core.Refundable(0)),
		newLog("coarse", core.Per(3, 100*ms), core.Coarse(3)),
	}
	for _, p := range policies {
		t.Run(p.Policy, func(t *testing.T) {
			s := h.subject(t)
			for i := range 500 {
				u := s.take(p, "k", 1)
				if ok := p.Refundable(); ok && u.Allowed && i%3 == 0 {
					if err := s.Settle(t.Context(), p, "k", u.Entry, -1); err != nil {
						t.Fatal(err)
					}
				}
				ttl := h.TimeToLive(t, s.Store, p, "k")
				if u.Allowed && ttl < p.Longest {
					t.Fatalf("step %d: the log lives for %v after an admission, want at least %v", i, ttl, p.Longest)
				}
				if ttl <= 0 || ttl > 2*p.Longest {
					t.Fatalf("step %d: the log lives for %v, want above 0 and at most %v", i, ttl, 2*p.Longest)
				}
				s.clock.Advance(time.Duration(i*i%67) * ms)
			}
			// Reading also trims. It must leave enough for later decisions.
			s.clock.Advance(10 * p.Longest)
			for _, wait := range []time.Duration{0, 90, 15} {
				s.clock.Advance(wait * ms)
				s.look(p, "k", 1)
				s.admits(p, "k", 1)
			}
			s.clock.Advance(45 * ms)
			s.look(p, "k", 1)
			s.clock.Advance(20 * ms)
			s.admits(p, "k", 1)
			if ttl := h.TimeToLive(t, s.Store, p, "k"); ttl < p.Longest {
				t.Fatalf("the log lives for %v after a peek and an admission, want at least %v", ttl, p.Longest)
			}
			// A log whose newest entry is ahead of the clock is kept as long after that
			// entry.
			s.clock.Advance(10 * p.Longest)
			s.admits(p, "k", 1)
			s.clock.Advance(-time.Second)
			s.admits(p, "k", 1)
			if ttl := h.TimeToLive(t, s.Store, p, "k"); ttl < time.Second+p.Longest {
				t.Fatalf("the log lives for %v with an entry 1s ahead, want at least %v", ttl, time.Second+p.Longest)
			}
			s.clock.Advance(time.Second + 2*p.Longest + ms)
			s.look(p, "k", 1)
			if ttl := h.TimeToLive(t, s.Store, p, "k"); ttl != 0 {
				t.Errorf("an idle log lives for %v more", ttl)
			}
		})
	}
}

// context checks that a canceled caller is not charged.
func (h Harness) context(t *testing.T) {
	s := h.subject(t)
	p := newLog("p", core.Per(1, time.Minute))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Take(ctx, p, "k", 1); !errors.Is(err, context.Canceled) {
		t.Errorf("Take with a cancelled context: %v, want context.Canceled", err)
	}
	if _, err := s.Peek(ctx, p, "k", 1); !errors.Is(err, context.Canceled) {
		t.Errorf("Peek with a cancelled context: %v, want context.Canceled", err)
	}
	if err := s.Reset(ctx, p, "k"); !errors.Is(err, context.Canceled) {
		t.Errorf("Reset with a cancelled context: %v, want context.Canceled", err)
	}
	s.admits(p, "k", 1)
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("Ping: %v", err)
	}
}

// close checks that a second Close is allowed, and that later calls return an error.
func (h Harness) close(t *testing.T) {
	s := h.NewReal(t)
	p := newLog("p", core.PerMinute(1))
	if _, err := s.Take(t.Context(), p, fmt.Sprint("close-", time.Now().UnixNano()), 1); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	_, err := s.Take(t.Context(), p, "k", 1)
	for _, err := range []error{err, s.Reset(t.Context(), p, "k"), s.Ping(t.Context())} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("after Close: %v, want ErrClosed", err)
		}
	}
}
