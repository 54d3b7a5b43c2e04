package core

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

func TestLeaseOption(t *testing.T) {
	for _, c := range []struct {
		options []PolicyOption
		want    string // in the error
	}{
		{[]PolicyOption{PerMinute(100), Lease(time.Second)}, ""},
		{[]PolicyOption{PerMinute(100), Lease(time.Minute / 16)}, ""},
		{[]PolicyOption{PerMinute(100), Lease(time.Millisecond)}, ""},
		{[]PolicyOption{PerMinute(100), Lease(0)}, ""},
		{[]PolicyOption{PerMinute(100), PerHour(1000), VariableCost(), Shadow(), Lease(time.Second)}, ""},
		{[]PolicyOption{PerMinute(100), Lease(4 * time.Second)}, "Lease: 4s: use whole milliseconds from 1ms to 3.75s, a sixteenth of the shortest window"},
		{[]PolicyOption{PerMinute(100), PerSecond(50), Lease(time.Second)}, "from 1ms to 62ms"},
		{[]PolicyOption{PerMinute(100), Lease(time.Microsecond)}, "use whole milliseconds from 1ms"},
		{[]PolicyOption{PerMinute(100), Lease(1500 * time.Microsecond)}, "use whole milliseconds"},
		{[]PolicyOption{PerMinute(100), Lease(-time.Second)}, "use whole milliseconds from 1ms"},
		{[]PolicyOption{Per(100, 15*time.Millisecond), Lease(time.Millisecond)}, "a window is shorter than 16ms: leave the lease out"},
		{[]PolicyOption{PerMinute(100), Refundable(0), Lease(time.Second)}, "use a lease or refunds, not both"},
		{[]PolicyOption{PerMinute(100), Coarse(64), Lease(time.Second)}, "use slices or a lease, not both"},
	} {
		_, err := newPolicy("p", c.options)
		var wrong *PolicyError
		switch {
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%v: got %v, want %q", c.options, err, c.want)
		case c.want != "" && (!errors.As(err, &wrong) || wrong.Option != "Lease"):
			t.Errorf("%v: the error is about %+v", c.options, err)
		}
	}
}

// TestLeasedLog: the windows of a leased log are longer by the lease, and a store without
// leases has the policy's own.
func TestLeasedLog(t *testing.T) {
	p := NewPolicy("p", PerMinute(100), PerHour(1000), Lease(time.Second))
	log := p.Log()
	if log.Name != "p:r1h+1s" || log.Layout != store.Refunded || log.Lease != time.Second || log.Refundable() ||
		log.Limits[0].Window != 61*time.Second || log.Limits[1].Window != 3601*time.Second || log.Longest != 3601*time.Second {
		t.Errorf("%+v", log)
	}
	plain := NewPolicy("p", PerMinute(100), PerHour(1000)).Log()
	if own := log.WithoutLease(); own.Name != plain.Name || own.Longest != time.Hour || own.Limits[0].Window != time.Minute || own.Lease != 0 {
		t.Errorf("without leases: %+v", own)
	}
	// A policy with leases has another log. A store without leases uses the same log as
	// before.
	changed := log.After(plain)
	if len(changed.Earlier) != 1 || len(changed.WithoutLease().Earlier) != 0 {
		t.Errorf("%+v and %+v", changed, changed.WithoutLease())
	}
	for _, p := range []*Policy{p, NewPolicy("q", Per(100, 300*time.Millisecond), Lease(18*time.Millisecond), VariableCost())} {
		got := logNamed(p.Log().Name)
		if got == nil || got.Name != p.Log().Name || got.Lease != p.Log().Lease || got.Longest != p.Log().Longest {
			t.Errorf("%s is read as %+v", p.Log().Name, got)
		}
	}
	for _, name := range []string{"p:r1m+", "p:r1m+x", "p:c1m+1s", "p:r1m+1m", "p:r1m+1s+1s"} {
		if log := logNamed(name); log != nil {
			t.Errorf("%s is read as %+v", name, log)
		}
	}
}

// TestLeaseBelow16: the policy's logs are those of a policy without leases.
func TestLeaseBelow16(t *testing.T) {
	for _, options := range [][]PolicyOption{{PerMinute(15)}, {PerMinute(100), PerHour(15)}} {
		leased, plain := NewPolicy("p", append(options, Lease(time.Second))...).Log(), NewPolicy("p", options...).Log()
		if leased.Name != plain.Name || leased.Layout != plain.Layout || leased.Longest != plain.Longest || leased.Lease != 0 || leased.Unleased != nil {
			t.Errorf("%+v, want %+v", leased, plain)
		}
	}
	if NewPolicy("p", PerMinute(16), Lease(time.Second)).Log().Lease == 0 {
		t.Error("16 units are not leased")
	}
}

// TestLeaseWithOtherLimits: limits for which a lease is too long shorten the lease. With
// the first limits it has its own length again.
func TestLeaseWithOtherLimits(t *testing.T) {
	p := NewPolicy("p", PerMinute(100), Lease(time.Second))
	for _, c := range []struct {
		limits []PolicyOption
		want   time.Duration
	}{
		{[]PolicyOption{PerHour(100)}, time.Second},
		{[]PolicyOption{PerSecond(100)}, 62 * time.Millisecond},
		{[]PolicyOption{PerMinute(100), Per(100, 10*time.Millisecond)}, 0},
		{[]PolicyOption{PerMinute(10)}, 0},
		{[]PolicyOption{Shadow()}, time.Second},
	} {
		changed, err := p.With(c.limits...)
		if err != nil || changed.Log().Lease != c.want {
			t.Errorf("%v: a lease of %v, %v, want %v", c.limits, changed.Log().Lease, err, c.want)
		}
	}
	if _, err := p.With(PerSecond(100), Lease(time.Second)); err == nil {
		t.Error("a lease that does not fit the limits beside it")
	}
}

// TestLeaseInMemory: the option does nothing.
func TestLeaseInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(NewMemory())
		defer l.Close()
		p := NewPolicy("p", PerMinute(20), Lease(time.Second))
		for range 20 {
			if d, err := l.Allow(t.Context(), p, "k"); err != nil || !d.Allowed || d.Source != SourceMemory {
				t.Fatalf("%+v, %v", d, err)
			}
		}
		d, err := l.Allow(t.Context(), p, "k")
		if err != nil || d.Allowed || d.RetryAfter != time.Minute {
			t.Errorf("a full log: %+v, %v", d, err)
		}
		time.Sleep(time.Minute)
		if d, _ := l.Allow(t.Context(), p, "k"); !d.Allowed {
			t.Errorf("after the window: %+v", d)
		}
	})
}

func TestAllowUpTo(t *testing.T) {
	l := New(NewMemory())
	defer l.Close()
	p := NewPolicy("p", PerMinute(100), VariableCost())
	for i, want := range []int64{60, 40} {
		d, err := l.AllowUpTo(t.Context(), p, "k", 60)
		if err != nil || !d.Allowed || !d.Counted || d.Cost != want {
			t.Errorf("request %d: %+v, %v", i, d, err)
		}
	}
	if d, err := l.AllowUpTo(t.Context(), p, "k", 60); err != nil || d.Allowed || d.Cost != 1 || d.RetryAfter <= 0 {
		t.Errorf("a full log: %+v, %v", d, err)
	}
	if d, err := l.AllowUpTo(t.Context(), p, "other", 1000); err != nil || d.Cost != 100 {
		t.Errorf("more than the limit: %+v, %v", d, err)
	}
	for _, most := range []int64{0, -1} {
		if _, err := l.AllowUpTo(t.Context(), p, "k", most); !errors.Is(err, ErrCost) {
			t.Errorf("up to %d: %v", most, err)
		}
	}
	requests := NewPolicy("requests", PerMinute(100))
	if _, err := l.AllowUpTo(t.Context(), requests, "k", 2); !errors.Is(err, ErrCost) {
		t.Errorf("a policy without costs: %v", err)
	}
	if d, err := l.AllowUpTo(t.Context(), requests, "k", 1); err != nil || !d.Allowed {
		t.Errorf("up to 1: %+v, %v", d, err)
	}
}

// TestAllowUpToWithoutLimit: a request that no limit holds for gets all that it can use.
func TestAllowUpToWithoutLimit(t *testing.T) {
	shadow := NewPolicy("shadow", PerMinute(10), VariableCost(), Shadow())
	off := NewPolicy("off", PerMinute(10), VariableCost())
	exempt := NewPolicy("exempt", PerMinute(10), VariableCost())
	l := New(NewMemory())
	defer l.Close()
	if err := l.SetRule(t.Context(), Rule{Kind: RuleSwitch, Policy: "off", Mode: ModeOff}); err != nil {
		t.Fatal(err)
	}
	if err := l.SetRule(t.Context(), Rule{Kind: RuleExempt, Key: "vip"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		policy *Policy
		key    string
	}{{shadow, "k"}, {shadow, "k"}, {off, "k"}, {exempt, "vip"}} {
		if d, err := l.AllowUpTo(t.Context(), c.policy, c.key, 8); err != nil || !d.Allowed || d.Cost != 8 {
			t.Errorf("%s: %+v, %v, want 8 units", c.policy, d, err)
		}
	}
	if d, err := l.AllowUpTo(t.Context(), shadow, "k", 8); err != nil || !d.WouldDeny || d.Cost != 8 || d.Counted {
		t.Errorf("a full log in shadow mode: %+v, %v", d, err)
	}
}
