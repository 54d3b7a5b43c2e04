package core

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

func TestConcurrencyOptions(t *testing.T) {
	for _, c := range []struct {
		max     int64
		hold    time.Duration
		options []PolicyOption
		want    string // in the error
	}{
		{5, 30 * time.Second, nil, ""},
		{5, 30 * time.Second, []PolicyOption{Shadow(), FieldName("f"), OnStoreFailure(FailOpen)}, ""},
		{0, 30 * time.Second, nil, "at least 1"},
		{5, 999 * time.Millisecond, nil, "a hold of 999ms: use 1s to 24h0m0s"},
		{5, 25 * time.Hour, nil, "a hold of"},
		{2_000_000, time.Minute, nil, "use 1 to 1000000"},
		{5, time.Minute, []PolicyOption{PerHour(5)}, "one limit"},
		{5, time.Minute, []PolicyOption{VariableCost()}, "VariableCost"},
		{5, time.Minute, []PolicyOption{Refundable(0)}, "Refundable"},
		{5, time.Minute, []PolicyOption{Coarse(4)}, "Coarse"},
		{5, time.Minute, []PolicyOption{Lease(time.Second)}, "Lease"},
	} {
		p, err := ParseConcurrency("p", c.max, c.hold, c.options...)
		if c.want == "" && (err != nil || !p.Concurrency() || p.Log().Name != "p:i") || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%d, %v, %v: got %v, want %q", c.max, c.hold, c.options, err, c.want)
		}
	}
}

func acquired(t *testing.T, l *Limiter, p *Policy, key string) *Slot {
	t.Helper()
	s, err := l.Acquire(t.Context(), p, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func full(t *testing.T, l *Limiter, p *Policy, key string) {
	t.Helper()
	_, err := l.Acquire(t.Context(), p, key)
	var limited *LimitedError
	if !errors.As(err, &limited) {
		t.Fatalf("got %v, want no free slot", err)
	}
	problem := ProblemFor(err)
	if problem.RetryAfter != 0 || problem.Status != 429 || len(problem.Violated) != 1 || strings.Contains(problem.Detail, "per") {
		t.Fatalf("the problem is %+v", problem)
	}
}

func lost(s *Slot) bool {
	select {
	case <-s.Lost():
		return true
	default:
		return false
	}
}

// TestAcquire: slots are renewed while they are held, and free when they are released.
func TestAcquire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(NewMemory())
		defer l.Close()
		p := NewConcurrency("p", 2, 30*time.Second)
		a, b := acquired(t, l, p, "k"), acquired(t, l, p, "k")
		full(t, l, p, "k")
		time.Sleep(10 * time.Minute)
		full(t, l, p, "k")
		if lost(a) || lost(b) {
			t.Fatal("a slot is lost")
		}
		a.Release()
		a.Release()
		c := acquired(t, l, p, "k")
		full(t, l, p, "k")
		b.Release()
		c.Release()
		if d, err := l.Peek(t.Context(), p, "k"); err != nil || d.Remaining != 2 {
			t.Fatalf("%+v, %v", d, err)
		}
	})
}

// TestAcquireMistakes: a policy is used in the way that it is made for.
func TestAcquireMistakes(t *testing.T) {
	l := New(NewMemory())
	defer l.Close()
	p, rate := NewConcurrency("p", 2, 30*time.Second), NewPolicy("rate", PerMinute(5))
	if _, err := l.Allow(t.Context(), p, "k"); !errors.Is(err, ErrSlots) {
		t.Error(err)
	}
	if _, err := l.AllowAll(t.Context(), Charge{Policy: p, Key: "k"}, Charge{Policy: rate, Key: "k"}); !errors.Is(err, ErrSlots) {
		t.Error(err)
	}
	if _, err := l.Acquire(t.Context(), rate, "k"); err == nil || !strings.Contains(err.Error(), "use Allow") {
		t.Error(err)
	}
	if d, err := l.Peek(t.Context(), rate, "k"); err != nil || d.Remaining != 5 {
		t.Errorf("Acquire has counted a request: %+v, %v", d, err)
	}
	plain := New(struct{ Store }{NewMemory()})
	defer plain.Close()
	if _, err := plain.Acquire(t.Context(), p, "k"); !errors.Is(err, errNoSlots) {
		t.Error(err)
	}
	var none *Slot
	none.Release()
	if none.Lost() != nil {
		t.Error("a nil slot can be lost")
	}
}

// TestAcquireByRules: rules act on slots as on units.
func TestAcquireByRules(t *testing.T) {
	l := New(NewMemory())
	defer l.Close()
	p := NewConcurrency("p", 1, 30*time.Second)
	first := acquired(t, l, p, "k")
	defer first.Release()
	ctx := t.Context()
	for _, rule := range []Rule{
		{Kind: RuleExempt, Key: "k"},
		{Kind: RuleSwitch, Policy: "p", Mode: ModeOff},
		{Kind: RuleSwitch, Policy: "p", Mode: ModeShadow},
	} {
		if err := l.SetRule(ctx, rule); err != nil {
			t.Fatal(err)
		}
		s := acquired(t, l, p, "k")
		if s.Lost() != nil {
			t.Errorf("%+v: a slot is held", rule)
		}
		s.Release()
		if _, err := l.DeleteRule(ctx, rule.ID()); err != nil {
			t.Fatal(err)
		}
		full(t, l, p, "k")
	}
	override := Rule{Kind: RuleOverride, Policy: "p", Limits: []Limit{Per(2, time.Minute)}}
	if err := l.SetRule(ctx, override); err != nil {
		t.Fatal(err)
	}
	second := acquired(t, l, p, "k")
	full(t, l, p, "k")
	second.Release()
	if err := l.Ban(ctx, "k", time.Minute); err != nil {
		t.Fatal(err)
	}
	_, err := l.Acquire(ctx, p, "k")
	if problem := ProblemFor(err); problem.RetryAfter != 60 {
		t.Errorf("banned: %v, %+v", err, problem)
	}
}

// slotStore is a memory store whose calls about slots can fail.
type slotStore struct {
	Store
	store.Slotter
	fails    atomic.Bool // also after the call was made
	renewals atomic.Int64
}

func newSlotStore() *slotStore {
	m := NewMemory()
	return &slotStore{Store: m, Slotter: m.(store.Slotter)}
}

var errLostReply = errors.New("reply lost")

func (s *slotStore) TakeAll(ctx context.Context, charges []store.Charge) ([]store.Usage, error) {
	usages, err := s.Store.TakeAll(ctx, charges)
	if s.fails.Load() {
		return nil, errLostReply
	}
	return usages, err
}

func (s *slotStore) errs(n int) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = errLostReply
	}
	return errs
}

func (s *slotStore) RenewSlots(ctx context.Context, slots []store.Charge) []error {
	s.renewals.Add(1)
	if s.fails.Load() {
		return s.errs(len(slots))
	}
	return s.Slotter.RenewSlots(ctx, slots)
}

func (s *slotStore) ReleaseSlots(ctx context.Context, slots []store.Charge) []error {
	if s.fails.Load() {
		return s.errs(len(slots))
	}
	return s.Slotter.ReleaseSlots(ctx, slots)
}

// TestSlotOfUnknownOutcome: a slot that may have been taken is released afterwards.
func TestSlotOfUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlotStore()
		l := New(s, WithFailureMode(FailClosed))
		defer l.Close()
		p := NewConcurrency("p", 1, 30*time.Second)
		s.fails.Store(true)
		if _, err := l.Acquire(t.Context(), p, "k"); !errors.Is(err, errLostReply) {
			t.Fatal(err)
		}
		s.fails.Store(false)
		time.Sleep(6 * time.Second) // a sixth of the hold, after the first try failed
		acquired(t, l, p, "k").Release()
		// A release whose reply is lost is repeated.
		slot := acquired(t, l, p, "k")
		s.fails.Store(true)
		slot.Release()
		s.fails.Store(false)
		time.Sleep(6 * time.Second)
		acquired(t, l, p, "k").Release()
	})
}

// TestSlotLost: a slot is lost when it was not renewed within its hold, or when the store
// does not have it.
func TestSlotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlotStore()
		l := New(s, WithFailureMode(FailClosed))
		defer l.Close()
		p := NewConcurrency("p", 1, 30*time.Second)
		slot := acquired(t, l, p, "k")
		s.fails.Store(true)
		time.Sleep(30*time.Second - time.Millisecond)
		synctest.Wait()
		if lost(slot) {
			t.Error("lost before the hold is over")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if !lost(slot) || l.Health().LostSlots != 1 {
			t.Error("not lost after the hold")
		}
		s.fails.Store(false)
		slot.Release()
		slot = acquired(t, l, p, "k")
		if err := l.Reset(t.Context(), p, "k"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !lost(slot) || l.Health().LostSlots != 2 {
			t.Error("not lost when the store does not have it")
		}
	})
}

// TestLostSlotIsExplained: a line says why a slot was lost. Either the server did not
// respond to renewals, or its clock jumped ahead and another request has taken the slot.
func TestLostSlotIsExplained(t *testing.T) {
	for name, c := range map[string]struct {
		trouble func(s *slotStore, ahead *atomic.Int64)
		want    string
	}{
		"server silent": {func(s *slotStore, _ *atomic.Int64) { s.fails.Store(true) }, "no renewal within the hold"},
		"clock jumped":  {func(_ *slotStore, ahead *atomic.Int64) { ahead.Store(int64(30 * time.Second)) }, "renewed in time, but not in the store: the clock of its server"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var ahead atomic.Int64
				m := NewMemory(WithClock(func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }))
				s := &slotStore{Store: m, Slotter: m.(store.Slotter)}
				var log bytes.Buffer
				l := New(s, WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
				defer l.Close()
				p := NewConcurrency("p", 2, 30*time.Second)
				slots := []*Slot{acquired(t, l, p, "k"), acquired(t, l, p, "k")}
				c.trouble(s, &ahead)
				if name == "clock jumped" {
					defer acquired(t, l, p, "k").Release()
				}
				time.Sleep(30 * time.Second)
				synctest.Wait()
				if !lost(slots[0]) || !lost(slots[1]) || l.Health().LostSlots != 2 {
					t.Errorf("%d slots lost, want 2", l.Health().LostSlots)
				}
				if text := log.String(); strings.Count(text, "STREAMLIMIT_W015") != 1 || !strings.Contains(text, c.want) || !strings.Contains(text, "policy=p") {
					t.Errorf("the log has: %s\nwant one line with %q", text, c.want)
				}
			})
		})
	}
}

// TestRenewalsShareCalls: slots that begin one after the other are renewed together.
func TestRenewalsShareCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlotStore()
		l := New(s)
		p := NewConcurrency("p", 1000, 30*time.Second)
		var slots []*Slot
		for range 300 {
			slots = append(slots, acquired(t, l, p, "k"))
			time.Sleep(100 * time.Millisecond)
		}
		s.renewals.Store(0)
		time.Sleep(5 * time.Minute)
		if n := s.renewals.Load(); n < 30 || n > 60 {
			t.Errorf("%d calls in ten holds, want at most six in each", n)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		for _, slot := range slots {
			if !lost(slot) {
				t.Fatal("a slot is held after Close")
			}
			slot.Release()
		}
	})
}

// TestSlotsWithoutStore: the failure modes are those of rates.
func TestSlotsWithoutStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, mode := range []FailureMode{FailClosed, FailOpen, FailLocal} {
			s := newSlotStore()
			l := New(s, WithFailureMode(mode))
			p := NewConcurrency("p", 1, 30*time.Second)
			s.fails.Store(true)
			slot, err := l.Acquire(t.Context(), p, "k")
			switch mode {
			case FailClosed:
				if !errors.Is(err, errLostReply) {
					t.Error(err)
				}
			case FailOpen:
				if err != nil || slot.Lost() != nil {
					t.Errorf("%v, %v", slot, err)
				}
			case FailLocal:
				if err != nil || slot.Lost() == nil {
					t.Fatalf("%v, %v", slot, err)
				}
				time.Sleep(time.Minute)
				full(t, l, p, "k")
				slot.Release()
				acquired(t, l, p, "k").Release()
			}
			slot.Release()
			l.Close()
		}
	})
}
