package redisstream

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/internal/lease"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
)

// leasing is a process on a server, with counts of what it sends.
type leasing struct {
	*core.Limiter
	store   *Store
	calls   atomic.Int64 // calls that take units
	ahead   atomic.Int64 // units that the calls want to take ahead
	returns atomic.Int64 // units returned
}

func newLeasing(t testing.TB, server *redistest.Server, options ...core.Option) *leasing {
	rdb := redis.NewClient(server.Options())
	t.Cleanup(func() { rdb.Close() })
	return leasingOn(t, New(rdb, patient), options...)
}

func leasingOn(t testing.TB, s *Store, options ...core.Option) *leasing {
	l := &leasing{store: s, Limiter: core.New(s, options...)}
	ask, give := s.leases.table.Ask, s.leases.table.Return
	s.leases.table.Ask = func(c *lease.Call[leased, logState]) {
		l.calls.Add(1)
		l.ahead.Add(c.Ahead)
		ask(c)
	}
	s.leases.table.Return = func(all []lease.Return[leased, logState]) {
		for _, r := range all {
			l.returns.Add(r.Units)
		}
		give(all)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// allow decides on a request that must get a decision.
func (l *leasing) allow(t testing.TB, p *core.Policy, key string) core.Decision {
	t.Helper()
	d, err := l.Allow(t.Context(), p, key)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// warm sends requests until a lease serves the key and has units left.
func (l *leasing) warm(t testing.TB, p *core.Policy, key string) {
	t.Helper()
	for range 200 {
		if d := l.allow(t, p, key); d.Source == core.SourceLease && l.left(p, key) > 8 {
			return
		}
	}
	t.Fatal("no lease after 200 requests")
}

func (l *leasing) left(p *core.Policy, key string) int64 {
	return l.store.leases.table.Left(leased{p.Log(), key})
}

// stateAt returns the state of one of the limits.
func stateAt(d core.Decision, limit int) core.LimitState {
	for i, s := range d.States() {
		if i == limit {
			return s
		}
	}
	return core.LimitState{}
}

// used returns the units that the log at the server counts.
func (l *leasing) used(t testing.TB, p *core.Policy, key string) int64 {
	t.Helper()
	d, err := l.Peek(t.Context(), p, key)
	if err != nil {
		t.Fatal(err)
	}
	return p.Limits()[0].Max - d.Remaining + l.left(p, key)
}

func within(t testing.TB, d time.Duration, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", d, what)
		}
	}
}

func TestLeased(t *testing.T) {
	l := newLeasing(t, redistest.Start(t))
	p := core.NewPolicy("p", core.PerMinute(100_000), core.Lease(time.Second))
	const requests = 10_000
	sources := map[core.Source]int{}
	for i := range requests {
		d := l.allow(t, p, "k")
		if !d.Allowed || !d.Counted {
			t.Fatalf("request %d: %+v", i, d)
		}
		if want := 100_000 - int64(i) - 1; d.Remaining != want {
			t.Fatalf("request %d: %d remaining, want %d: there is no other process", i, d.Remaining, want)
		}
		if d.ResetAfter <= 0 || d.ResetAfter > time.Minute+time.Second || stateAt(d, 0).Reset <= 0 {
			t.Fatalf("request %d: %+v, %+v", i, d, stateAt(d, 0))
		}
		sources[d.Source]++
	}
	if sources[core.SourceLease] < requests*99/100 || l.calls.Load() > requests/100 {
		t.Errorf("decided by %v with %d calls", sources, l.calls.Load())
	}
	left := l.left(p, "k")
	d, err := l.Peek(t.Context(), p, "k")
	if err != nil || d.Remaining != 100_000-requests {
		t.Errorf("Peek: %d remaining with a lease of %d units, want %d", d.Remaining, left, 100_000-requests)
	}
	if l.Close(); l.returns.Load() < left {
		t.Errorf("Close returned %d of %d units", l.returns.Load(), left)
	}
}

// TestLeaseCanceled: a request whose context is done gets no unit of a lease.
func TestLeaseCanceled(t *testing.T) {
	l := newLeasing(t, redistest.Start(t))
	p, other := core.NewPolicy("p", core.PerMinute(100_000), core.Lease(time.Second)), core.NewPolicy("other", core.PerMinute(10))
	l.warm(t, p, "k")
	left := l.left(p, "k")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, ask := range map[string]func() error{
		"Allow":     func() error { _, err := l.Allow(ctx, p, "k"); return err },
		"AllowUpTo": func() error { _, err := l.AllowUpTo(ctx, p, "k", 1); return err },
		"AllowAll": func() error {
			_, err := l.AllowAll(ctx, core.Charge{Policy: p, Key: "k"}, core.Charge{Policy: other, Key: "k"})
			return err
		},
		"Take": func() error { _, err := l.store.Take(ctx, p.Log(), "k", 1); return err },
	} {
		if err := ask(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want context.Canceled", name, err)
		}
	}
	if now := l.left(p, "k"); now < left {
		t.Errorf("%d units left, want %d", now, left)
	}
}

// TestLeaseClose: after Close the server counts exactly the units that were used.
func TestLeaseClose(t *testing.T) {
	server := redistest.Start(t)
	l, other := newLeasing(t, server), newLeasing(t, server)
	p := core.NewPolicy("p", core.PerMinute(1000), core.Lease(time.Second))
	n := int64(0)
	for range 3 {
		for _, key := range []string{"a", "b", "c"} {
			l.warm(t, p, key)
		}
	}
	for _, key := range []string{"a", "b", "c"} {
		n += l.used(t, p, key) - l.left(p, key)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	after := int64(0)
	for _, key := range []string{"a", "b", "c"} {
		after += other.used(t, p, key)
	}
	if after != n {
		t.Errorf("the server counts %d units after Close, %d were used", after, n)
	}
}

// TestLeaseCloseFar: Close returns the units of many keys also to a server that is far away.
func TestLeaseCloseFar(t *testing.T) {
	const keys = 3000
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr)
	rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr})
	t.Cleanup(func() { rdb.Close() })
	l, other := leasingOn(t, New(rdb)), newLeasing(t, server)
	p := core.NewPolicy("p", core.PerMinute(1000), core.Lease(3*time.Second))
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			for key := i; key < keys; key += 50 {
				for range 3 {
					l.allow(t, p, fmt.Sprint(key))
				}
			}
		})
	}
	all.Wait()
	used := func() (n int64) {
		for key := range keys {
			n += other.used(t, p, fmt.Sprint(key))
		}
		return n
	}
	if taken := used(); taken <= 3*keys {
		t.Fatalf("%d units are taken for %d requests: none ahead", taken, 3*keys)
	}
	proxy.Delay(0, 20*time.Millisecond)
	l.Close()
	if n := used(); n != 3*keys {
		t.Errorf("the server counts %d units after Close, %d were used", n, 3*keys)
	}
}

// TestLeaseEnds: units that are left are returned when the lease ends.
func TestLeaseEnds(t *testing.T) {
	server := redistest.Start(t)
	l, other := newLeasing(t, server), newLeasing(t, server)
	p := core.NewPolicy("p", core.PerMinute(1000), core.Lease(50*time.Millisecond))
	l.warm(t, p, "k")
	left := l.left(p, "k")
	if other.used(t, p, "k") <= 0 || left == 0 {
		t.Fatal("no lease")
	}
	within(t, 5*time.Second, "the units are returned", func() bool { return l.returns.Load() >= left })
	if l.left(p, "k") != 0 {
		t.Error("the lease still has units")
	}
}

// saturation is the result of processes that use up a limit.
type saturation struct {
	admitted, denied int
	share            float64 // of Max per W+d
	worst            int     // the most uses that are surely in one window
}

// saturate runs processes with eight callers each on one key. It runs for times*(W+d).
func saturate(t testing.TB, p *core.Policy, processes, times int) (s saturation) {
	server := redistest.Start(t)
	limit := p.Limits()[0]
	period := limit.Window + p.Log().Lease
	span := time.Duration(times) * period
	var mu sync.Mutex
	var asked, answered []time.Duration
	ctx, cancel := context.WithTimeout(t.Context(), span)
	defer cancel()
	begun := time.Now()
	var callers sync.WaitGroup
	for range processes {
		l := newLeasing(t, server)
		for range 8 {
			callers.Go(func() {
				var from, to []time.Duration
				refused := 0
				for ctx.Err() == nil {
					at := time.Since(begun)
					d, err := l.Allow(context.Background(), p, "k")
					switch {
					case err != nil:
						t.Error(err)
						return
					case d.Source == core.SourceFallback:
						t.Error("decided without the store")
						return
					case d.Allowed:
						from, to = append(from, at), append(to, time.Since(begun))
					default:
						refused++
						if d.RetryAfter <= 0 || d.RetryAfter > period {
							t.Errorf("denied with %+v", d)
							return
						}
						time.Sleep(time.Millisecond)
					}
				}
				mu.Lock()
				asked, answered, s.denied = append(asked, from...), append(answered, to...), s.denied+refused
				mu.Unlock()
			})
		}
	}
	callers.Wait()
	slices.Sort(asked)
	slices.Sort(answered)
	for at := time.Duration(0); at < span; at += 2 * time.Millisecond {
		last, _ := slices.BinarySearch(answered, at+limit.Window-time.Millisecond)
		first, _ := slices.BinarySearch(asked, at+1)
		s.worst = max(s.worst, last-first)
	}
	s.admitted = len(asked)
	s.share = float64(len(asked)) / (float64(times) * float64(limit.Max))
	return s
}

// TestLeaseExact: several processes with many callers never use more than the limit in a
// window, and use nearly all of it.
func TestLeaseExact(t *testing.T) {
	p := core.NewPolicy("p", core.Per(2000, 800*time.Millisecond), core.Lease(50*time.Millisecond))
	s := saturate(t, p, 4, 3)
	t.Logf("%+v", s)
	if s.worst > 2000 {
		t.Errorf("%d units in a window, the limit is 2000", s.worst)
	}
	if s.share < 0.9 || s.denied == 0 {
		t.Errorf("%+v", s)
	}
}

// TestLeaseWithoutServer: a lease serves requests until it ends. Then the failure mode
// decides.
func TestLeaseWithoutServer(t *testing.T) {
	server := redistest.Start(t)
	rdb := redis.NewClient(server.Options())
	t.Cleanup(func() { rdb.Close() })
	s := New(rdb)
	var later atomic.Int64
	s.leases.table.Now = func() lease.Moment {
		now := lease.Now()
		now.Mono += time.Duration(later.Load())
		return now
	}
	l := leasingOn(t, s, core.WithFailureMode(core.FailClosed))
	p := core.NewPolicy("p", core.PerHour(100_000), core.Lease(time.Minute))
	both := core.NewPolicy("q", core.PerHour(100_000), core.Lease(time.Minute))
	costs := core.NewPolicy("c", core.PerHour(100_000), core.VariableCost(), core.Lease(time.Minute))
	l.warm(t, both, "k")
	l.warm(t, costs, "k")
	for range 10 {
		l.warm(t, p, "k")
	}
	server.Kill()
	for range 5 { // opens the breaker
		if _, err := l.Allow(t.Context(), p, "other"); err == nil {
			t.Fatal("a key without a lease got a decision")
		}
	}
	for range 3 {
		if d := l.allow(t, p, "k"); d.Source != core.SourceLease || !d.Allowed {
			t.Fatalf("with a lease: %+v", d)
		}
	}
	decisions, err := l.AllowAll(t.Context(), core.Charge{Policy: p, Key: "k"}, core.Charge{Policy: both, Key: "k"})
	if err != nil || decisions[0].Source != core.SourceLease || decisions[1].Source != core.SourceLease {
		t.Errorf("two leases: %+v, %v", decisions, err)
	}
	left := l.left(costs, "k")
	if d, err := l.AllowUpTo(t.Context(), costs, "k", left+1); err != nil || d.Source != core.SourceLease || d.Cost != left {
		t.Errorf("up to %d units of the %d of a lease: %+v, %v", left+1, left, d, err)
	}
	later.Store(int64(2 * time.Minute))
	if d, err := l.Allow(t.Context(), p, "k"); err == nil {
		t.Errorf("after the lease has ended: %+v", d)
	}
}

// TestLeaseAll: if another policy denies a request, the units taken for the request go
// back to the lease.
func TestLeaseAll(t *testing.T) {
	l := newLeasing(t, redistest.Start(t))
	hot := core.NewPolicy("hot", core.PerMinute(10_000), core.Lease(time.Second))
	few := core.NewPolicy("few", core.PerMinute(3))
	l.warm(t, hot, "k")
	used := l.used(t, hot, "k") - l.left(hot, "k")
	for i := range 20 {
		all, err := l.AllowAll(t.Context(), core.Charge{Policy: hot, Key: "k"}, core.Charge{Policy: few, Key: "k"})
		if err != nil {
			t.Fatal(err)
		}
		if want := i < 3; all[1].Allowed != want || !all[0].Allowed || all[0].Counted != want {
			t.Fatalf("request %d: %+v", i, all)
		}
	}
	if got := l.used(t, hot, "k") - l.left(hot, "k"); got != used+3 {
		t.Errorf("%d units are used, want %d", got, used+3)
	}
	full := core.NewPolicy("full", core.PerMinute(16), core.Lease(time.Second))
	for range 16 {
		l.allow(t, full, "k")
	}
	all, err := l.AllowAll(t.Context(), core.Charge{Policy: few, Key: "new"}, core.Charge{Policy: hot, Key: "k"}, core.Charge{Policy: full, Key: "k"})
	if err != nil || !all[0].Allowed || !all[1].Allowed || all[2].Allowed || all[0].Counted || all[1].Counted {
		t.Errorf("a leased policy is full: %+v, %v", all, err)
	}
	if got := l.used(t, hot, "k") - l.left(hot, "k"); got != used+3 {
		t.Errorf("%d units are used, want %d", got, used+3)
	}
	if d, _ := l.Peek(t.Context(), few, "new"); d.Remaining != 3 {
		t.Errorf("%d of 3 are left of a policy that was not counted", d.Remaining)
	}
}

// TestLeaseAllAtOnce: a request asks for all units that this process does not have before
// it waits for any.
func TestLeaseAllAtOnce(t *testing.T) {
	l := newLeasing(t, redistest.Start(t))
	ask := l.store.leases.table.Ask
	var mu sync.Mutex
	var held []*lease.Call[leased, logState]
	l.store.leases.table.Ask = func(c *lease.Call[leased, logState]) {
		mu.Lock()
		defer mu.Unlock()
		if held = append(held, c); len(held) == 3 {
			for _, c := range held {
				ask(c)
			}
		}
	}
	var charges []core.Charge
	for _, name := range []string{"address", "user", "team"} {
		charges = append(charges, core.Charge{Policy: core.NewPolicy(name, core.PerMinute(16), core.Lease(time.Second)), Key: name})
	}
	charges = append(charges, core.Charge{Policy: core.NewPolicy("all", core.PerMinute(16)), Key: "all"})
	all, err := l.AllowAll(t.Context(), charges...)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if !d.Allowed || !d.Counted || d.Remaining != 15 || d.Source != core.SourceRedis {
			t.Errorf("%s: %+v", d.Policy.Name(), d)
		}
	}
}

// TestLeaseAllDenied: a denied request takes nothing from policies of which this process
// had no units.
func TestLeaseAllDenied(t *testing.T) {
	l := newLeasing(t, redistest.Start(t))
	full := core.NewPolicy("full", core.PerMinute(16), core.Lease(50*time.Millisecond))
	open := core.NewPolicy("open", core.PerMinute(100), core.Lease(50*time.Millisecond))
	for range 16 {
		l.allow(t, full, "k")
	}
	for _, charges := range [][]core.Charge{
		{{Policy: full, Key: "k"}, {Policy: open, Key: "k"}},
		{{Policy: open, Key: "k"}, {Policy: full, Key: "k"}},
	} {
		for range 5 {
			all, err := l.AllowAll(t.Context(), charges...)
			if err != nil || core.Denied(all) == nil {
				t.Fatal(all, err)
			}
			time.Sleep(110 * time.Millisecond) // the cached denial and the lease are over
		}
	}
	if d, err := l.Peek(t.Context(), open, "k"); err != nil || d.Remaining != 100 {
		t.Errorf("%d of 100 units are left after requests that another policy denied, %v", d.Remaining, err)
	}
}

// TestLeaseDenied: a denial is cached briefly, and a request after its RetryAfter is
// admitted.
func TestLeaseDenied(t *testing.T) {
	l := newLeasing(t, redistest.Start(t))
	p := core.NewPolicy("p", core.Per(16, 400*time.Millisecond), core.Lease(25*time.Millisecond))
	for range 16 {
		l.allow(t, p, "k")
	}
	d := l.allow(t, p, "k")
	if d.Allowed || d.RetryAfter <= 0 || d.RetryAfter > 425*time.Millisecond {
		t.Fatalf("a full log: %+v", d)
	}
	asked := l.calls.Load()
	l.allow(t, p, "k")
	if l.calls.Load() != asked {
		t.Error("the denial is not cached")
	}
	time.Sleep(25 * time.Millisecond)
	l.allow(t, p, "k")
	if l.calls.Load() == asked {
		t.Error("the denial is cached for longer than a lease")
	}
	time.Sleep(d.RetryAfter)
	if d := l.allow(t, p, "k"); !d.Allowed {
		t.Errorf("after RetryAfter: %+v", d)
	}
}

// TestLeaseReturnForgets: a return drops cached denials, which may be wrong after it.
func TestLeaseReturnForgets(t *testing.T) {
	l := newLeasing(t, redistest.Start(t))
	p := core.NewPolicy("p", core.PerMinute(1000), core.Lease(time.Second))
	denied := store.Usage{RetryAfter: time.Second, ResetAfter: time.Minute, Limits: [store.MaxLimits]store.LimitUsage{{Used: 1000, FreeIn: time.Second}}}
	l.store.cache.put(p.Log(), "k", denied, l.store.cache.sending("k"))
	l.store.leases.sendBack(t.Context(), []lease.Return[leased, logState]{{Key: leased{p.Log(), "k"}, Units: 1}})
	if _, ok := l.store.cache.get(p.Log(), "k"); ok {
		t.Error("a denial is cached after a return")
	}
}

func TestLeaseReset(t *testing.T) {
	l := newLeasing(t, redistest.Start(t))
	p := core.NewPolicy("p", core.PerMinute(10_000), core.Lease(time.Second))
	l.warm(t, p, "k")
	if err := l.Reset(t.Context(), p, "k"); err != nil {
		t.Fatal(err)
	}
	if d := l.allow(t, p, "k"); d.Source != core.SourceRedis || d.Remaining != 9999 {
		t.Errorf("after a reset: %+v", d)
	}
}

// TestLeaseRules: bans and overrides hold at once.
func TestLeaseRules(t *testing.T) {
	l := newLeasing(t, redistest.Start(t), core.WithRulesInterval(10*time.Millisecond))
	p := core.NewPolicy("p", core.PerMinute(10_000), core.Lease(time.Second))
	l.warm(t, p, "k")
	if err := l.Ban(t.Context(), "k", time.Minute); err != nil {
		t.Fatal(err)
	}
	if d := l.allow(t, p, "k"); d.Allowed || d.Reason != core.ReasonBanned {
		t.Errorf("a banned client with a lease: %+v", d)
	}
	l.warm(t, p, "other")
	// A Max too small for a lease, and a window too short for its length.
	if err := l.SetRule(t.Context(), core.Rule{Kind: core.RuleOverride, Policy: p.Name(), Limits: []core.Limit{core.PerSecond(5)}}); err != nil {
		t.Fatal(err)
	}
	if d := l.allow(t, p, "other"); d.Source == core.SourceLease || d.Policy.Log().Lease != 0 || d.Allowed {
		t.Errorf("a limit below what is used: %+v, lease %v", d, d.Policy.Log().Lease)
	}
	if err := l.SetRule(t.Context(), core.Rule{Kind: core.RuleOverride, Policy: p.Name(), Limits: []core.Limit{core.PerSecond(5000)}}); err != nil {
		t.Fatal(err)
	}
	if d := l.allow(t, p, "other"); !d.Allowed || d.Policy.Log().Lease != 62*time.Millisecond {
		t.Errorf("a shorter window: %+v, lease %v", d, d.Policy.Log().Lease)
	}
}

// TestLeaseShadow: a policy in shadow mode denies nothing.
func TestLeaseShadow(t *testing.T) {
	l := newLeasing(t, redistest.Start(t))
	p := core.NewPolicy("p", core.PerMinute(100), core.Lease(time.Second), core.Shadow())
	would := 0
	for range 300 {
		d := l.allow(t, p, "k")
		if !d.Allowed {
			t.Fatalf("%+v", d)
		}
		if d.WouldDeny {
			would++
		}
	}
	if would != 200 {
		t.Errorf("%d of 300 requests would be denied, want 200", would)
	}
}

// TestLeaseCosts: a lease also serves requests with a cost.
func TestLeaseCosts(t *testing.T) {
	l := newLeasing(t, redistest.Start(t))
	p := core.NewPolicy("p", core.PerMinute(10_000), core.PerHour(100_000), core.Lease(time.Second), core.VariableCost())
	sum := int64(0)
	for i := range int64(500) {
		cost := 1 + i%30
		d, err := l.AllowN(t.Context(), p, "k", cost)
		if err != nil || !d.Allowed {
			t.Fatalf("cost %d: %+v, %v", cost, d, err)
		}
		sum += cost
		// Units of a lease that was too small for a request are returned a moment later.
		if most := 10_000 - sum; d.Remaining > most || d.Remaining < most-100 || stateAt(d, 1).Remaining != d.Remaining+90_000 {
			t.Fatalf("%d and %d remaining after %d", d.Remaining, stateAt(d, 1).Remaining, sum)
		}
	}
	if l.calls.Load() > 100 {
		t.Errorf("%d calls for 500 requests", l.calls.Load())
	}
}

// TestLeaseUpTo: a request gets as many units as there are, from a lease, from the log,
// or none.
func TestLeaseUpTo(t *testing.T) {
	l := newLeasing(t, redistest.Start(t))
	for name, options := range map[string][]core.PolicyOption{
		"summed": nil, "refundable": {core.Refundable(0)}, "leased": {core.Lease(time.Second)},
	} {
		t.Run(name, func(t *testing.T) {
			p := core.NewPolicy(name, append(options, core.PerMinute(1000), core.VariableCost())...)
			got := []int64{}
			for range 6 {
				d, err := l.AllowUpTo(t.Context(), p, "k", 300)
				if err != nil {
					t.Fatal(err)
				}
				if d.Allowed {
					got = append(got, d.Cost)
				} else if got = append(got, 0); d.RetryAfter <= 0 || d.Cost != 1 {
					t.Errorf("denied with %+v", d)
				}
			}
			if want := []int64{300, 300, 300, 100, 0, 0}; name != "leased" && fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("granted %v, want %v", got, want)
			}
			sum := int64(0)
			for _, n := range got {
				sum += n
			}
			if left := l.left(p, "k"); sum+left > 1000 || sum < 900 {
				t.Errorf("granted %v, and %d are left of the lease", got, left)
			}
		})
	}
}

// TestLeaseEarlier: after leases are turned on or off, the other log still counts. A unit
// counts as long as its use can be in the window.
func TestLeaseEarlier(t *testing.T) {
	leasedPolicy := core.NewPolicy("p", core.Per(16, 300*time.Millisecond), core.Lease(18*time.Millisecond))
	plain := core.NewPolicy("p", core.Per(16, 300*time.Millisecond))
	for _, c := range []struct{ before, after *core.Policy }{{leasedPolicy, plain}, {plain, leasedPolicy}} {
		l := newLeasing(t, redistest.Start(t))
		begun := time.Now()
		for range 16 {
			if d := l.allow(t, c.before, "k"); !d.Allowed {
				t.Fatalf("%+v", d)
			}
		}
		if err := l.Replace(c.after); err != nil {
			t.Fatal(err)
		}
		d := l.allow(t, c.before, "k")
		if d.Allowed {
			t.Fatalf("%v after %v: a new budget", c.after.Log().Lease, c.before.Log().Lease)
		}
		for !d.Allowed {
			time.Sleep(time.Millisecond)
			d = l.allow(t, c.before, "k")
		}
		if waited := time.Since(begun); waited < 300*time.Millisecond+c.before.Log().Lease {
			t.Errorf("%v after %v: admitted after %v", c.after.Log().Lease, c.before.Log().Lease, waited)
		}
	}
}

// TestLeaseSeenOnce compares the memory of a key that is seen once, with and without
// leases.
func TestLeaseSeenOnce(t *testing.T) {
	l := newLeasing(t, redistest.Start(t))
	bytes := func(p *core.Policy) int64 {
		l.allow(t, p, "198.51.100.7")
		n, err := l.store.transport.rdb.MemoryUsage(t.Context(), l.store.logKey(p.Log(), "198.51.100.7")).Result()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	counted, leased := bytes(core.NewPolicy("p", core.PerMinute(1000))), bytes(core.NewPolicy("q", core.PerMinute(1000), core.Lease(time.Second)))
	t.Logf("%d bytes with a lease, %d without", leased, counted)
	if float64(leased) > 1.1*float64(counted) {
		t.Errorf("a key takes %d bytes with a lease, %d without", leased, counted)
	}
	if l.ahead.Load() != 0 {
		t.Errorf("%d units are taken ahead for a key that was never seen", l.ahead.Load())
	}
}

// TestLeaseHolderKilled: a process that dies loses only the units of its own lease, until
// the window and the lease are over.
func TestLeaseHolderKilled(t *testing.T) {
	server := redistest.Start(t)
	const max, window, length = 400, 800 * time.Millisecond, 50 * time.Millisecond
	p := core.NewPolicy("p", core.Per(max, window), core.Lease(length))
	killed, other := newLeasing(t, server), newLeasing(t, server)
	used := int64(0)
	begun := time.Now()
	for range 200 {
		if d := killed.allow(t, p, "k"); d.Allowed {
			used++
		}
		if used > 20 && killed.left(p, "k") > 8 {
			break
		}
	}
	left := killed.left(p, "k")
	killed.store.transport.closed.Store(true) // the process sends nothing from now on
	admitted := func() (n int64) {
		for other.allow(t, p, "k").Allowed {
			n++
		}
		return n
	}
	n := admitted()
	if took := time.Since(begun); took > window-2*length {
		t.Fatalf("this machine is too slow: %v", took)
	}
	if left == 0 || n+used+left != max {
		t.Errorf("%d units are admitted beside %d used and %d of a lease, want %d in all", n, used, left, max)
	}
	time.Sleep(time.Until(time.Now().Add(window + 2*length)))
	if n := admitted(); n != max {
		t.Errorf("%d units are admitted after the window and the lease, want %d", n, max)
	}
}

// TestLeaseReturnsApart: units are returned to keys in several slots, also through a
// client that does not know the slots.
func TestLeaseReturnsApart(t *testing.T) {
	l := newLeasing(t, redistest.Cluster(t, 1).Nodes[0])
	p := core.NewPolicy("p", core.PerMinute(1000), core.Lease(time.Second))
	var all []lease.Return[leased, logState]
	for _, key := range []string{"a", "b", "c"} {
		r, err := l.store.askLease(t.Context(), p.Log(), key, 8)
		if err != nil || r.Ahead != 8 {
			t.Fatalf("%+v, %v", r, err)
		}
		all = append(all, lease.Return[leased, logState]{Key: leased{p.Log(), key}, State: r.State, Units: 8})
	}
	l.store.leases.sendBack(t.Context(), all)
	for _, r := range all {
		if n := l.used(t, p, r.Key.key); n != 0 {
			t.Errorf("key %s: %d units are used after all were returned", r.Key.key, n)
		}
	}
}

// TestLeaseBytes measures the memory of a key in this process, with the key itself.
func TestLeaseBytes(t *testing.T) {
	s := New(redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}))
	t.Cleanup(func() { s.transport.rdb.Close() })
	table := s.leases.table
	table.Ask = func(c *lease.Call[leased, logState]) {
		c.Done(lease.Reply[logState]{Room: 100, Ahead: c.Ahead, State: newLogState(0, store.EntryID{}, make([]store.LimitUsage, 1))}, nil)
	}
	p := core.NewPolicy("p", core.PerHour(1000), core.Lease(time.Minute)) // no lease ends during the test
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	const keys = 50_000
	for i := range keys {
		for range 2 {
			if _, err := table.Begin(leased{p.Log(), fmt.Sprintf("198.51.100.%d", i)}, termsOf(p.Log()), 1, 1).Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	bytes := (heap() - before) / keys
	t.Logf("%d bytes a key", bytes)
	if bytes > 600 {
		t.Errorf("%d bytes a key, want at most 600", bytes)
	}
	runtime.KeepAlive(s)
}
