package core_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

var errStore = errors.New("dial tcp 10.9.8.7:6379: connection refused")

// failingStore is a memory store that fails on demand.
type failingStore struct {
	core.Store
	failure atomic.Pointer[error]
	before  func() // a question fails
}

func newFailingStore() *failingStore { return &failingStore{Store: core.NewMemory()} }

func (s *failingStore) fail(err error) { s.failure.Store(&err) }

func (s *failingStore) err() error {
	if err := s.failure.Load(); err != nil && *err != nil {
		if s.before != nil {
			s.before()
		}
		return *err
	}
	return nil
}

func (s *failingStore) Take(ctx context.Context, p *store.Log, key string, cost int64) (store.Usage, error) {
	if err := s.err(); err != nil {
		return store.Usage{}, err
	}
	return s.Store.Take(ctx, p, key, cost)
}

func (s *failingStore) TakeAll(ctx context.Context, asks []store.Charge) ([]store.Usage, error) {
	if err := s.err(); err != nil {
		return nil, err
	}
	return s.Store.TakeAll(ctx, asks)
}

func (s *failingStore) Peek(ctx context.Context, p *store.Log, key string, cost int64) (store.Usage, error) {
	if err := s.err(); err != nil {
		return store.Usage{}, err
	}
	return s.Store.Peek(ctx, p, key, cost)
}

func (s *failingStore) Settle(ctx context.Context, p *store.Log, key string, entry store.EntryID, correction int64) error {
	if err := s.err(); err != nil {
		return err
	}
	return s.Store.Settle(ctx, p, key, entry, correction)
}

// failing is a limiter on a store that fails.
func failing(t *testing.T, options ...core.Option) (*core.Limiter, *failingStore) {
	store := newFailingStore()
	store.fail(errStore)
	l := core.New(store, options...)
	t.Cleanup(func() { l.Close() })
	return l, store
}

// In this process's memory, AllowUpTo takes one unit at a time while the store does not
// answer, also before the circuit breaker opens. FailOpen grants all units.
func TestAllowUpToWithoutStore(t *testing.T) {
	for mode, want := range map[core.FailureMode]int{core.FailLocal: 15, core.FailOpen: 20, core.FailClosed: 0} {
		l, _ := failing(t, core.WithFailureMode(mode), (&lines{}).option())
		p := core.NewPolicy("p", core.PerHour(15), core.VariableCost())
		allowed, cost := 0, int64(1)
		if mode == core.FailOpen {
			cost = 10
		}
		for i := range 20 {
			d, err := l.AllowUpTo(t.Context(), p, "k", 10)
			switch {
			case mode == core.FailClosed && err != nil:
			case err != nil || d.Cost != cost:
				t.Errorf("%s, request %d: %+v, %v", mode, i, d, err)
			case d.Allowed:
				allowed++
			}
		}
		if allowed != want {
			t.Errorf("%s: %d requests are allowed, want %d", mode, allowed, want)
		}
	}
}

// The mode is the policy's, or else the limiter's, or else local. Of a policy
// in shadow mode it is never closed.
func TestFailureMode(t *testing.T) {
	quiet := (&lines{}).option()
	for _, c := range []struct {
		limiter, policy core.FailureMode // "" for none
		shadow          bool
		want            core.FailureMode
	}{
		{"", "", false, core.FailLocal},
		{core.FailClosed, "", false, core.FailClosed},
		{core.FailClosed, core.FailLocal, false, core.FailLocal},
		{"", core.FailOpen, false, core.FailOpen},
		{"", core.FailLocal, false, core.FailLocal},
		{core.FailOpen, "", false, core.FailOpen},
		{core.FailOpen, core.FailClosed, false, core.FailClosed},
		{core.FailLocal, "", false, core.FailLocal},
		{core.FailLocal, core.FailOpen, false, core.FailOpen},
		{"", "", true, core.FailLocal},
		{core.FailClosed, "", true, core.FailOpen},
		{"", core.FailClosed, true, core.FailOpen},
		{core.FailLocal, "", true, core.FailLocal},
	} {
		t.Run(fmt.Sprint(c.limiter, " ", c.policy, " ", c.shadow), func(t *testing.T) {
			options := []core.Option{quiet}
			if c.limiter != "" {
				options = append(options, core.WithFailureMode(c.limiter))
			}
			settings := []core.PolicyOption{core.PerMinute(2), core.OnStoreFailure(c.policy)}
			if c.shadow {
				settings = append(settings, core.Shadow())
			}
			l, _ := failing(t, options...)
			p := core.NewPolicy("p", settings...)
			if p.FailureMode() != c.policy {
				t.Errorf("OnFailure is %v", p.FailureMode())
			}
			if got := l.FailureMode(p); got != c.want {
				t.Errorf("FailureMode is %v, want %v", got, c.want)
			}
			for i := range 3 {
				d, err := l.Allow(t.Context(), p, "k")
				over := i == 2
				peek, peekErr := l.Peek(t.Context(), p, "k")
				switch c.want {
				case core.FailClosed:
					for _, err := range []error{err, peekErr} {
						if !errors.Is(err, errStore) || !strings.Contains(err.Error(), "policy p") || core.ProblemFor(err).Status != 503 {
							t.Errorf("closed: %+v, %v", d, err)
						}
					}
				case core.FailOpen:
					if err != nil || peekErr != nil || !d.Allowed || d.Counted || d.Reason != core.ReasonFailOpen || d.Source != core.SourceNone ||
						!peek.Allowed || peek.Reason != core.ReasonFailOpen || peek.Source != core.SourceNone {
						t.Errorf("open: %+v, %v, peek %+v, %v", d, err, peek, peekErr)
					}
					if got := fields([]core.Decision{d}, core.HeadersIETF); got != "" {
						t.Errorf("clients are told what nobody knows: %s", got)
					}
				case core.FailLocal:
					if err != nil || peekErr != nil || d.Allowed != (!over || c.shadow) || d.WouldDeny != (over && c.shadow) || d.Counted == over ||
						d.Source != core.SourceFallback || d.Reason != core.ReasonLimits || peek.Remaining != max(0, int64(1-i)) || peek.Source != core.SourceFallback {
						t.Errorf("local, request %d: %+v, %v, peek %+v, %v", i, d, err, peek, peekErr)
					}
				}
			}
		})
	}
	for _, wrong := range []core.FailureMode{"", "off"} {
		panics(t, "use core.FailClosed", func() { core.WithFailureMode(wrong) })
	}
	panics(t, "use core.FailClosed", func() { core.NewPolicy("p", core.PerMinute(1), core.OnStoreFailure("off")) })
}

// A policy in another's place brings its mode; an override changes none.
func TestFailureModeFollows(t *testing.T) {
	l := core.New(core.NewMemory(), core.WithFailureMode(core.FailClosed))
	defer l.Close()
	p := core.NewPolicy("p", core.PerMinute(2))
	check := func(when string, want core.FailureMode) {
		t.Helper()
		if got := l.FailureMode(p); got != want {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	check("not met", core.FailClosed)
	if err := l.Replace(core.NewPolicy("p", core.PerMinute(2), core.OnStoreFailure(core.FailOpen))); err != nil {
		t.Fatal(err)
	}
	check("replaced", core.FailOpen)
	if err := l.SetRule(t.Context(), core.Rule{Kind: core.RuleOverride, Policy: "p", Limits: []core.Limit{core.PerMinute(9)}}); err != nil {
		t.Fatal(err)
	}
	l.Register(p)
	check("overridden", core.FailOpen)
	if now, ok := l.Policy("p"); !ok || now.Limits()[0] != core.PerMinute(9) || l.FailureMode(now) != core.FailOpen {
		t.Errorf("as it is now, %v: %v, want open", now, l.FailureMode(now))
	}
	if err := l.Replace(); err != nil {
		t.Fatal(err)
	}
	check("itself again", core.FailClosed)
}

// Policies that are asked together each have their own mode; one that is closed
// closes the request.
func TestFailureTogether(t *testing.T) {
	ask := func(name string, mode core.FailureMode, limit int64) core.Charge {
		return core.Charge{Policy: core.NewPolicy(name, core.PerMinute(limit), core.OnStoreFailure(mode), core.Refundable(0)), Key: "k"}
	}
	open, tight, wide := ask("open", core.FailOpen, 1), ask("tight", core.FailLocal, 1), ask("wide", core.FailLocal, 5)
	l, _ := failing(t, (&lines{}).option())
	d := allowAll(t, l, wide, open, tight)
	for i, want := range []struct {
		counted bool
		reason  core.Reason
		source  core.Source
		left    int64
	}{{true, core.ReasonLimits, core.SourceFallback, 4}, {false, core.ReasonFailOpen, core.SourceNone, 1}, {true, core.ReasonLimits, core.SourceFallback, 0}} {
		if !d[i].Allowed || d[i].Counted != want.counted || d[i].Reason != want.reason || d[i].Source != want.source || d[i].Remaining != want.left {
			t.Errorf("decision %d: %+v", i, d[i])
		}
	}
	again := allowAll(t, l, wide, open, tight)
	if !again[0].Allowed || again[0].Counted || again[0].Remaining != 4 || !again[1].Allowed || again[1].Counted || again[2].Allowed {
		t.Errorf("one without room: %+v", again)
	}
	if _, err := l.AllowAll(t.Context(), wide, ask("closed", core.FailClosed, 1)); !errors.Is(err, errStore) || left(t, l, wide.Policy, "k") != 4 {
		t.Errorf("one that is closed: %v, %d left", err, left(t, l, wide.Policy, "k"))
	}
	if d := allowAll(t, l, open, ask("open2", core.FailOpen, 1)); core.Denied(d) != nil || d[0].Counted {
		t.Errorf("all open: %+v", d)
	}
	// What the fallback took is given back to it, also when the store is back.
	if err := l.Refund(t.Context(), d[0]); err != nil || left(t, l, wide.Policy, "k") != 5 {
		t.Errorf("refund: %v, %d left", err, left(t, l, wide.Policy, "k"))
	}
	if err := l.Refund(t.Context(), d[1]); !errors.Is(err, core.ErrNotRefundable) {
		t.Errorf("refund of what was not taken: %v", err)
	}
}

func TestRefundOfFallback(t *testing.T) {
	l, store := failing(t, core.WithFailureMode(core.FailLocal), (&lines{}).option())
	p := core.NewPolicy("p", core.PerMinute(5), core.Refundable(0))
	d := allow(t, l, p, "k", 1)
	store.fail(nil)
	allow(t, l, p, "k", 1)
	if err := l.Refund(t.Context(), d); err != nil {
		t.Error(err)
	}
	if got := left(t, l, p, "k"); got != 4 {
		t.Errorf("the store has %d left, want 4", got)
	}
	store.fail(errStore)
	if got := left(t, l, p, "k"); got != 5 {
		t.Errorf("the fallback has %d left, want 5", got)
	}
}

// A caller that has gone, a store that is closed and one that is full are no
// failures to fall back from.
func TestNoFallback(t *testing.T) {
	for _, mode := range []core.FailureMode{core.FailOpen, core.FailLocal} {
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		expired, cancel := context.WithTimeout(t.Context(), -time.Second)
		defer cancel()
		for name, c := range map[string]struct {
			ctx     context.Context
			failure error
			want    error
		}{
			"cancelled": {cancelled, context.Canceled, context.Canceled},
			"expired":   {expired, context.DeadlineExceeded, context.DeadlineExceeded},
			"closed":    {t.Context(), fmt.Errorf("store: %w", store.ErrClosed), store.ErrClosed},
			"full":      {t.Context(), store.ErrFull, store.ErrFull},
		} {
			for _, shadow := range []bool{false, true} {
				var log lines
				l, broken := failing(t, core.WithFailureMode(mode), log.option())
				broken.fail(c.failure)
				options := []core.PolicyOption{core.PerMinute(5)}
				if shadow {
					options = append(options, core.Shadow())
				}
				p, q := core.NewPolicy("p", options...), core.NewPolicy("q", options...)
				_, allowed := l.Allow(c.ctx, p, "k")
				_, peeked := l.Peek(c.ctx, p, "k")
				_, together := l.AllowAll(c.ctx, core.Charge{Policy: p, Key: "k"}, core.Charge{Policy: q, Key: "k"})
				for _, err := range []error{allowed, peeked, together} {
					// A full store keeps nobody out in shadow mode.
					if open := shadow && name == "full"; open && err != nil || !open && !errors.Is(err, c.want) {
						t.Errorf("%v, %s, shadow %v: %v, want %v", mode, name, shadow, err, c.want)
					}
				}
			}
		}
	}
}

// Policies that a store keeps apart are a mistake in the program, not a failure.
func TestApartIsNoFailure(t *testing.T) {
	var log lines
	l, broken := failing(t, core.WithFailureMode(core.FailOpen), log.option())
	broken.fail(fmt.Errorf("%w: policy p", store.ErrCrossSlot))
	p := core.NewPolicy("p", core.PerMinute(5))
	for range 2 {
		if _, err := l.AllowAll(t.Context(), core.Charge{Policy: p, Key: "k"}, core.Charge{Policy: p, Key: "k2"}); !errors.Is(err, store.ErrCrossSlot) {
			t.Errorf("%v, want ErrCrossSlot", err)
		}
	}
	if log.count("STREAMLIMIT_W009") != 1 || log.count("") != 1 {
		t.Errorf("log %s, want one warning", log.String())
	}
}

// A caller that goes while the store fails gets an error, or the decision of its
// policy's mode: never that of another.
func TestCallerGoesDuringFailure(t *testing.T) {
	l, store := failing(t, core.WithFailureMode(core.FailLocal), (&lines{}).option())
	p, q := core.NewPolicy("p", core.PerDay(1)), core.NewPolicy("q", core.PerDay(1))
	for range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		store.before = func() { go cancel() }
		decisions, err := l.AllowAll(ctx, core.Charge{Policy: p, Key: "k"}, core.Charge{Policy: q, Key: "k"})
		cancel()
		for _, d := range decisions {
			if d.Source != core.SourceFallback {
				t.Fatalf("%+v, %v: a policy that is local was open", d, err)
			}
		}
	}
}

// A store that answers again before its circuit opens is worth a line a minute.
func TestSingleFailuresAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		store := newFailingStore()
		l := core.New(store, log.option())
		defer l.Close()
		p := core.NewPolicy("p", core.PerMinute(5))
		for range 150 { // two and a half minutes
			store.fail(errStore)
			allow(t, l, p, "very-private", 1)
			store.fail(nil)
			allow(t, l, p, "very-private", 1)
			time.Sleep(time.Second)
		}
		if log.count("has failed to answer") != 3 || log.count("connection refused") != 3 || log.count("policy=p") != 3 || log.count("private") != 0 || log.count("") != 3 {
			t.Errorf("log %s, want a line a minute", log.String())
		}
		if h := l.Health(); h.Failures != 150 || h.Local != 150 || h.Open != 0 || h.Closed != 0 || h.Down != nil {
			t.Errorf("%+v", h)
		}
	})
}

// A limiter that is closed while its store fails makes no fallback any more.
func TestFallbackAfterClose(t *testing.T) {
	for _, used := range []bool{false, true} {
		l, _ := failing(t, core.WithFailureMode(core.FailLocal), (&lines{}).option())
		p, q := core.NewPolicy("p", core.PerMinute(5)), core.NewPolicy("q", core.PerMinute(5))
		if used {
			allow(t, l, p, "k", 1)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		_, allowed := l.Allow(t.Context(), p, "k")
		_, peeked := l.Peek(t.Context(), p, "k")
		_, together := l.AllowAll(t.Context(), core.Charge{Policy: p, Key: "k"}, core.Charge{Policy: q, Key: "k"})
		for _, err := range []error{allowed, peeked, together} {
			if !errors.Is(err, store.ErrClosed) {
				t.Errorf("used before %v: %v, want ErrClosed", used, err)
			}
		}
	}
}

// A full fallback neither denies requests of a shadow policy nor lifts the limits
// of other policies.
func TestFullFallback(t *testing.T) {
	l, _ := failing(t, core.WithLocalShare(0.5), (&lines{}).option())
	l.SetLocal(core.NewMemory(core.WithMaxKeys(1)))
	enforced, shadow := core.NewPolicy("p", core.PerHour(4)), core.NewPolicy("s", core.PerHour(4), core.Shadow())
	allow(t, l, enforced, "first", 1)
	if d, err := l.Allow(t.Context(), shadow, "k"); err != nil || !d.Allowed || d.Reason != core.ReasonFailOpen {
		t.Errorf("shadow: %+v, %v", d, err)
	}
	both := func(key string) ([]core.Decision, error) {
		return l.AllowAll(t.Context(), core.Charge{Policy: shadow, Key: "k"}, core.Charge{Policy: enforced, Key: key})
	}
	if decisions, err := both("first"); err != nil || decisions[0].Source != core.SourceNone || !decisions[1].Counted || decisions[1].Remaining != 0 {
		t.Errorf("both: %+v, %v", decisions, err)
	}
	if decisions, err := both("first"); err != nil || decisions[1].Allowed {
		t.Errorf("both: %+v, %v", decisions, err)
	}
	if _, err := both("new"); !errors.Is(err, store.ErrFull) {
		t.Errorf("%v, want ErrFull", err)
	}
	if d, err := l.Peek(t.Context(), shadow, "k"); err != nil || !d.Allowed {
		t.Errorf("peek: %+v, %v", d, err)
	}
}

// Of several questions, the one whose log is none is named, and holds up the
// others only if it may.
func TestForeignLogAmongSeveral(t *testing.T) {
	for name, c := range map[string]struct {
		foreign core.PolicyOption
		err     bool
	}{
		"enforced": {core.OnStoreFailure(core.FailOpen), true},
		"shadow":   {core.Shadow(), false},
	} {
		l, broken := failing(t, (&lines{}).option())
		broken.fail(&store.ChargeError{Index: 1, Err: store.ErrWrongType})
		other, foreign := core.NewPolicy("other", core.PerHour(1)), core.NewPolicy("foreign", core.PerHour(1), c.foreign)
		decisions, err := l.AllowAll(t.Context(), core.Charge{Policy: other, Key: "k"}, core.Charge{Policy: foreign, Key: "k"})
		if c.err && (!errors.Is(err, store.ErrWrongType) || !strings.HasPrefix(err.Error(), "streamlimit: policy foreign: ")) {
			t.Errorf("%s: %+v, %v; want an error that names the policy", name, decisions, err)
		}
		if !c.err && (err != nil || decisions[0].Source != core.SourceFallback || !decisions[1].Allowed) {
			t.Errorf("%s: %+v, %v; want decisions", name, decisions, err)
		}
	}
}

// A process that is too slow gives nothing out a second time, and keeps nobody out
// of a policy in shadow mode. It is no sign of an outage.
func TestOverloaded(t *testing.T) {
	overloaded := fmt.Errorf("store: %w", core.ErrOverloaded)
	for _, mode := range []core.FailureMode{core.FailLocal, core.FailClosed, core.FailOpen} {
		for _, shadow := range []bool{false, true} {
			l, store := failing(t, core.WithFailureMode(mode), (&lines{}).option())
			store.fail(overloaded)
			options := []core.PolicyOption{core.PerMinute(1)}
			if shadow {
				options = append(options, core.Shadow())
			}
			p := core.NewPolicy("p", options...)
			passes := shadow || mode == core.FailOpen
			for range 50 {
				d, err := l.Allow(t.Context(), p, "k")
				if passes != (err == nil) || err != nil && !errors.Is(err, core.ErrOverloaded) || d.Source == core.SourceFallback && !shadow {
					t.Fatalf("%v, shadow %t: %+v, %v", mode, shadow, d, err)
				}
			}
			if h := l.Health(); h.Overloaded != 50 || h.Down != nil || h.Failures != 0 {
				t.Errorf("%v, shadow %t: %+v, want 50 overloaded and nothing else", mode, shadow, h)
			}
		}
	}
	seen := map[int64]bool{}
	for range 200 {
		p := core.ProblemFor(overloaded)
		if p.Status != http.StatusServiceUnavailable || !strings.HasSuffix(p.Type, "#temporary-reduced-capacity") {
			t.Fatalf("%+v", p)
		}
		seen[p.RetryAfter] = true
	}
	if len(seen) != 3 || !seen[1] || !seen[3] {
		t.Errorf("Retry-After of %v seconds, want 1 to 3", seen)
	}
}
