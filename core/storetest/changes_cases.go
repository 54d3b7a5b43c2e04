package storetest

import (
	"testing"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

// retryAfterRefunds checks an earlier log whose units were all given back. The log can
// hold some again after the window has moved on: a refund stops counting before its
// request leaves. RetryAfter includes that.
func (h Harness) retryAfterRefunds(t *testing.T) {
	s := h.subject(t)
	refunds := newLog("p", core.Per(2, 4*ms), core.Refundable(0))
	p := newLog("p", core.Per(2, 4*ms)).After(refunds)
	give := func(u store.Usage) {
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

// recalled checks that a recalled denial stays true. It may leave out units that others
// have added since the store denied. They use the same log with a larger limit.
func (h Harness) recalled(t *testing.T) {
	s := h.subject(t)
	p, others := newLog("p", core.Per(1, 4*ms)), newLog("p", core.Per(2, 4*ms))
	s.admits(others, "k", 1) // at 0
	s.denies(p, "k", 1)
	s.clock.Advance(2 * ms)
	s.admits(others, "k", 1) // at 2
	used, wait := int64(2), 4*ms
	u := s.denies(p, "k", 1)
	if u.Cached {
		used, wait = 1, 2*ms
	}
	if u.Limits[0] != (store.LimitUsage{Used: used, FreeIn: 2 * ms}) || u.RetryAfter != wait {
		t.Errorf("%+v, want %d used and RetryAfter %v", u, used, wait)
	}
	// The others used the units that the recalled denial promised.
	s.clock.Advance(2 * ms)
	if u := s.denies(p, "k", 1); u.Cached || u.Limits[0].Used != 1 || u.RetryAfter != 2*ms {
		t.Errorf("%+v, want a new denial with 1 used and RetryAfter 2ms", u)
	}
	s.clock.Advance(2 * ms)
	s.admits(p, "k", 1)
}
