package core_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
	"github.com/streamlimit/streamlimit/core/store"
)

var oldSecret, newSecret = []byte("old"), []byte("new")

// rotation has limiters of processes before, in and after a rotation of the key secret,
// all on one store.
type rotation struct {
	old, both, new *core.Limiter
	clock          *testClock
}

// rotate returns the limiters on the store that wrap makes of a store in memory.
func rotate(t *testing.T, wrap func(core.Store) core.Store, options ...core.Option) rotation {
	r := rotation{clock: newTestClock()}
	shared := wrap(core.NewMemory(core.WithClock(r.clock.Now)))
	limiter := func(secret ...[]byte) *core.Limiter {
		l := core.New(shared, append(options, core.WithKeySecret(secret[0], secret[1:]...))...)
		t.Cleanup(func() { l.Close() })
		return l
	}
	r.old, r.both, r.new = limiter(oldSecret), limiter(newSecret, oldSecret), limiter(newSecret)
	return r
}

func itself(s core.Store) core.Store { return s }

// apartStore is a store that has the logs of different keys on different servers.
type apartStore struct{ core.Store }

func (s apartStore) TakeAll(ctx context.Context, charges []store.Charge) ([]store.Usage, error) {
	for _, c := range charges {
		if c.Key != charges[0].Key {
			return nil, fmt.Errorf("%w: policy %s", store.ErrCrossSlot, c.Log.Policy)
		}
	}
	return s.Store.TakeAll(ctx, charges)
}

// keyOf returns the key of a client, as an adapter finds it.
func keyOf(t *testing.T, l *core.Limiter, client string) string {
	t.Helper()
	key, err := adapter.CredentialKey(l, "x-api-key", client)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// phase is a part of a rotation in which some kinds of processes run.
type phase struct {
	kinds []*core.Limiter
	steps int           // at least
	lasts time.Duration // at least
}

// Through a whole rotation, in any mixture of processes, each decision is the same as
// that of one limiter whose secret never changes: no client gets a new budget, none gets
// more than its limit, and none gets less.
func TestRotationChangesNoDecision(t *testing.T) {
	minute := core.PerMinute(6)
	policies := map[string]*core.Policy{
		"counted":   core.NewPolicy("p", minute),
		"summed":    core.NewPolicy("p", minute, core.Per(15, 5*time.Minute), core.VariableCost()),
		"refunded":  core.NewPolicy("p", minute, core.Per(15, 5*time.Minute), core.VariableCost(), core.Refundable(0)),
		"requests":  core.NewPolicy("p", minute, core.Refundable(0)),
		"coarse":    core.NewPolicy("p", minute, core.VariableCost(), core.Coarse(10)),
		"two limit": core.NewPolicy("p", core.Per(3, 10*time.Second), minute),
	}
	wraps := map[string]func(core.Store) core.Store{
		"one server":      itself,
		"several servers": func(s core.Store) core.Store { return apartStore{s} },
	}
	for name, p := range policies {
		for where, wrap := range wraps {
			t.Run(name+", "+where, func(t *testing.T) {
				for seed := range uint64(60) {
					m := rotationModel{t: t, rand: rand.New(rand.NewPCG(seed, 1)), rotation: rotate(t, wrap), policy: p, where: where}
					m.reference = core.New(core.NewMemory(core.WithClock(m.clock.Now)))
					t.Cleanup(func() { m.reference.Close() })
					m.run()
					if t.Failed() {
						t.Fatalf("seed %d", seed)
					}
				}
			})
		}
	}
}

// rotationModel is one random history.
type rotationModel struct {
	rotation
	t         *testing.T
	rand      *rand.Rand
	policy    *core.Policy
	where     string
	reference *core.Limiter
	taken     []takenTwice
}

// takenTwice has the decisions of a process and of the reference on one request.
type takenTwice struct {
	by          *core.Limiter
	d, expected core.Decision
	at          time.Time
}

func (m *rotationModel) run() {
	longest := m.policy.Log().Longest
	for _, p := range []phase{
		{[]*core.Limiter{m.old}, 20, 0},
		{[]*core.Limiter{m.old, m.both}, 30, 0},
		{[]*core.Limiter{m.both}, 0, longest},
		{[]*core.Limiter{m.both, m.new}, 30, 0},
		{[]*core.Limiter{m.new}, 20, 0},
	} {
		ends := m.clock.Now().Add(p.lasts)
		// A process that has ended settles nothing any more.
		m.taken = slices.DeleteFunc(m.taken, func(one takenTwice) bool { return !slices.Contains(p.kinds, one.by) })
		for step := 0; step < p.steps || m.clock.Now().Before(ends); step++ {
			m.step(p.kinds[m.rand.IntN(len(p.kinds))])
			if m.t.Failed() {
				return
			}
		}
	}
}

func (m *rotationModel) step(by *core.Limiter) {
	if m.rand.IntN(3) > 0 {
		m.clock.advance(time.Duration(m.rand.IntN(20_000)) * time.Millisecond)
	}
	client := []string{"ann", "bob"}[m.rand.IntN(2)]
	switch choice := m.rand.IntN(10); {
	case choice == 0:
		m.look(by, client)
	case choice == 1 && len(m.taken) > 0:
		m.settle()
	case choice == 2 && m.policy.Log().VariableCost:
		most := m.rand.Int64N(8) + 2
		m.compare(by, client, func(l *core.Limiter, key string) (core.Decision, error) {
			return l.AllowUpTo(m.t.Context(), m.policy, key, most)
		})
	default:
		cost := int64(1)
		if m.policy.Log().VariableCost {
			cost += m.rand.Int64N(3)
		}
		m.compare(by, client, func(l *core.Limiter, key string) (core.Decision, error) {
			return l.AllowN(m.t.Context(), m.policy, key, cost)
		})
	}
}

func (m *rotationModel) compare(by *core.Limiter, client string, decide func(*core.Limiter, string) (core.Decision, error)) {
	key := keyOf(m.t, by, client)
	d, err := decide(by, key)
	expected, e := decide(m.reference, client)
	if err != nil || e != nil {
		m.t.Fatal(err, e)
	}
	m.same(d, expected)
	if d.Key != key || d.Source != core.SourceMemory {
		m.t.Errorf("the key is %q from %v, want %q", d.Key, d.Source, key)
	}
	if d.Counted && m.policy.Log().Refundable() {
		m.taken = append(m.taken, takenTwice{by, d, expected, m.clock.Now()})
	}
}

func (m *rotationModel) same(d, expected core.Decision) {
	m.t.Helper()
	facts := func(d core.Decision) string {
		left := []int64{}
		for _, s := range d.States() {
			left = append(left, s.Remaining)
		}
		return fmt.Sprint(d.Allowed, d.Counted, d.Cost, d.Limit, left, d.RetryAfter, d.ResetAfter)
	}
	if got, want := facts(d), facts(expected); got != want {
		m.t.Errorf("%s, want %s", got, want)
	}
}

func (m *rotationModel) look(by *core.Limiter, client string) {
	key := keyOf(m.t, by, client)
	d, err := by.Peek(m.t.Context(), m.policy, key)
	expected, e := m.reference.Peek(m.t.Context(), m.policy, client)
	if err != nil || e != nil {
		m.t.Fatal(err, e)
	}
	m.same(d, expected)
	if m.policy.Log().Refundable() {
		return // a log can have requests that were given back, and the other one lack them
	}
	most := m.rand.IntN(5) + 1
	entries, err := by.Entries(m.t.Context(), m.policy, key, most)
	want, e := m.reference.Entries(m.t.Context(), m.policy, client, most)
	if err != nil || e != nil {
		m.t.Fatal(err, e)
	}
	if !slices.Equal(entries, want) {
		m.t.Errorf("entries %v, want %v", entries, want)
	}
}

func (m *rotationModel) settle() {
	i := len(m.taken) - 1
	if m.rand.IntN(2) == 0 {
		i = m.rand.IntN(len(m.taken))
	}
	one := m.taken[i]
	m.taken = slices.Delete(m.taken, i, i+1)
	used := one.d.Cost
	if m.policy.Log().VariableCost {
		used += m.rand.Int64N(3)
	}
	// A log counts its refunds no sooner than its slowest one allows. So only refunds at
	// once make the logs the same.
	if m.clock.Now().Equal(one.at) {
		used = m.rand.Int64N(one.d.Cost + 1)
	}
	err, e := one.by.Settle(m.t.Context(), one.d, used), m.reference.Settle(m.t.Context(), one.expected, used)
	if (err == nil) != (e == nil) || errors.Is(err, core.ErrTooLate) != errors.Is(e, core.ErrTooLate) {
		m.t.Errorf("settle: %v, want %v", err, e)
	}
}

// A correction is made in both logs.
func TestRotationSettles(t *testing.T) {
	r := rotate(t, itself)
	p := core.NewPolicy("p", core.PerMinute(10), core.VariableCost(), core.Refundable(0))
	for _, used := range []int64{0, 2, 7} {
		client := fmt.Sprint("client ", used)
		d := allow(t, r.both, p, keyOf(t, r.both, client), 5)
		r.clock.advance(10 * time.Second)
		if err := r.both.Settle(t.Context(), d, used); err != nil {
			t.Fatal(err)
		}
		if before, after := left(t, r.old, p, keyOf(t, r.old, client)), left(t, r.new, p, keyOf(t, r.new, client)); before != 10-used || after != 10-used {
			t.Errorf("%d used: %d left in the former log, %d in the new one", used, before, after)
		}
		if err := r.both.Refund(t.Context(), d); !errors.Is(err, core.ErrNotRefundable) {
			t.Errorf("a second correction: %v", err)
		}
	}
}

// Several policies that are asked together rotate together, and one that counts by a
// plain key beside them.
func TestRotationAllOrNothing(t *testing.T) {
	r := rotate(t, itself)
	a, b := core.NewPolicy("a", core.PerMinute(3)), core.NewPolicy("b", core.PerMinute(4), core.Refundable(0))
	plain := core.NewPolicy("plain", core.PerMinute(100))
	ask := func(l *core.Limiter) []core.Decision {
		t.Helper()
		key := keyOf(t, l, "ann")
		return allowAll(t, l, core.Charge{Policy: a, Key: key}, core.Charge{Policy: plain, Key: "shop"}, core.Charge{Policy: b, Key: key})
	}
	ask(r.old)
	r.clock.advance(time.Second)
	for range 2 {
		if d := ask(r.both); core.Denied(d) != nil || !d[2].Counted {
			t.Fatalf("%+v", d)
		}
	}
	d := ask(r.both)
	if d[0].Allowed || d[0].RetryAfter != 59*time.Second || d[1].Counted || d[1].Remaining != 97 || d[2].Counted || d[2].Remaining != 1 {
		t.Errorf("%+v, want a denial by the former log", d)
	}
	if n := left(t, r.new, b, keyOf(t, r.new, "ann")); n != 2 {
		t.Errorf("%d left in the new log, want 2", n)
	}
}

// Logs of several clients on different servers are refused as without a rotation.
func TestRotationRefusesApartClients(t *testing.T) {
	r := rotate(t, func(s core.Store) core.Store { return apartStore{s} })
	p := core.NewPolicy("p", core.PerMinute(3))
	_, err := r.both.AllowAll(t.Context(), core.Charge{Policy: p, Key: keyOf(t, r.both, "ann")}, core.Charge{Policy: p, Key: keyOf(t, r.both, "bob")})
	if !errors.Is(err, store.ErrCrossSlot) {
		t.Errorf("%v, want ErrCrossSlot", err)
	}
}

// blamingStore fails to decide on one of several charges.
type blamingStore struct {
	core.Store
	index int
}

func (s blamingStore) TakeAll(context.Context, []store.Charge) ([]store.Usage, error) {
	return nil, &store.ChargeError{Index: s.index, Err: store.ErrWrongType}
}

// An error about one of two logs is an error of their policy.
func TestRotationBlamesPolicy(t *testing.T) {
	for i, name := range []string{"policy b", "policy c", "policy a", "policy b", "policy c"} {
		r := rotate(t, func(s core.Store) core.Store { return blamingStore{s, i} })
		var charges []core.Charge
		for j, key := range []string{"shop", keyOf(t, r.both, "ann"), keyOf(t, r.both, "ann")} {
			charges = append(charges, core.Charge{Policy: core.NewPolicy(string(rune('a'+j)), core.PerMinute(3)), Key: key})
		}
		if _, err := r.both.AllowAll(t.Context(), charges...); !errors.Is(err, store.ErrWrongType) || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want an error of %s", err, name)
		}
	}
}

// A rule on either key of a client holds while the secret is rotated.
func TestRotationRules(t *testing.T) {
	r := rotate(t, itself, core.WithRulesInterval(time.Millisecond))
	p := core.NewPolicy("p", core.PerMinute(3))
	for _, c := range []struct {
		name string
		rule core.Rule
		want core.Reason
	}{
		{"block of the former key", core.Rule{Kind: core.RuleBlock, Key: keyOf(t, r.old, "ann")}, core.ReasonBlocked},
		{"block of the new key", core.Rule{Kind: core.RuleBlock, Key: keyOf(t, r.new, "ann")}, core.ReasonBlocked},
		{"exemption of the former key", core.Rule{Kind: core.RuleExempt, Key: keyOf(t, r.old, "ann")}, core.ReasonExempt},
	} {
		setRules(t, r.both, c.rule)
		if d := allow(t, r.both, p, keyOf(t, r.both, "ann"), 1); d.Reason != c.want {
			t.Errorf("%s: %+v", c.name, d)
		}
		if d := allow(t, r.both, p, keyOf(t, r.both, "bob"), 1); d.Reason != core.ReasonLimits {
			t.Errorf("%s: another client: %+v", c.name, d)
		}
		deleteRules(t, r.both, c.rule.ID())
	}
	// A ban by the old secret ends by the new key.
	if err := r.both.Ban(t.Context(), keyOf(t, r.old, "ann"), time.Hour); err != nil {
		t.Fatal(err)
	}
	key := keyOf(t, r.both, "ann")
	if d, err := r.both.Peek(t.Context(), p, key); err != nil || d.Reason != core.ReasonBanned {
		t.Errorf("%+v, %v", d, err)
	}
	for _, want := range []bool{true, false} {
		if found, err := r.both.Unban(t.Context(), key); err != nil || found != want {
			t.Errorf("unban: %v, %v, want %v", found, err, want)
		}
	}
	if d := allow(t, r.both, p, key, 1); d.Reason != core.ReasonLimits {
		t.Errorf("%+v", d)
	}
}

// A digest is found inside of other keys, and behind the digest of a long key. A reset
// by the shown key concerns both logs.
func TestRotationOfOtherKeys(t *testing.T) {
	r := rotate(t, itself, core.WithHashedAddresses())
	for name, make := range map[string]func(l *core.Limiter) string{
		"joined": func(l *core.Limiter) string {
			key, err := adapter.JoinKeys(keyOf(t, l, "ann"), "user=b=c", keyOf(t, l, "bob"))
			if err != nil {
				t.Fatal(err)
			}
			return key
		},
		"long": func(l *core.Limiter) string { return strings.Repeat("x", 200) + keyOf(t, l, "ann") },
		"address": func(l *core.Limiter) string {
			key, err := adapter.AddressKey(l, netip.MustParseAddr("2001:db8::1"))
			if err != nil {
				t.Fatal(err)
			}
			return key
		},
	} {
		p := core.NewPolicy(name, core.PerMinute(3))
		allow(t, r.old, p, make(r.old), 1)
		d := allow(t, r.both, p, make(r.both), 1)
		if d.Remaining != 1 || left(t, r.new, p, make(r.new)) != 2 {
			t.Errorf("%s: %+v, want 1 left in the former log and 2 in the new one", name, d)
		}
		if n := left(t, r.both, p, d.Key); n != 1 {
			t.Errorf("%s: %d left by the shown key, want 1", name, n)
		}
		if err := r.both.Reset(t.Context(), p, d.Key); err != nil {
			t.Fatal(err)
		}
		if l, n := left(t, r.old, p, make(r.old)), left(t, r.new, p, make(r.new)); l != 3 || n != 3 {
			t.Errorf("%s: %d and %d left after a reset", name, l, n)
		}
	}
	p := core.NewPolicy("p", core.PerMinute(3))
	allow(t, r.both, p, "user=ann", 1)
	if n := left(t, r.old, p, "user=ann"); n != 2 {
		t.Errorf("%d left of a key without a digest, want 2", n)
	}
}

// Observers receive one observation for each policy, with the new key.
func TestRotationObserved(t *testing.T) {
	var seen observed
	r := rotate(t, itself, core.WithObserver(&seen))
	p := core.NewPolicy("p", core.PerMinute(1))
	allow(t, r.old, p, keyOf(t, r.old, "ann"), 1)
	seen = nil
	key := keyOf(t, r.both, "ann")
	allow(t, r.both, p, key, 1)
	if len(seen) != 1 || seen[0].Key != key || seen[0].Result != core.ResultDenied || seen[0].RetryAfter != time.Minute {
		t.Errorf("%+v", seen)
	}
}

// A policy in shadow mode counts by the new key alone, and what a failing store would
// decide is decided by the new key.
func TestRotationWithoutFormerLog(t *testing.T) {
	r := rotate(t, itself)
	p := core.NewPolicy("p", core.PerMinute(1), core.Shadow())
	allow(t, r.old, p, keyOf(t, r.old, "ann"), 1)
	if d := allow(t, r.both, p, keyOf(t, r.both, "ann"), 1); d.WouldDeny {
		t.Errorf("%+v", d)
	}

	broken := newFailingStore()
	l := core.New(broken, core.WithKeySecret(newSecret, oldSecret))
	defer l.Close()
	broken.fail(errors.New("down"))
	units := core.NewPolicy("units", core.PerMinute(3), core.VariableCost(), core.Refundable(0))
	d, err := l.AllowUpTo(t.Context(), units, keyOf(t, l, "ann"), 3)
	if err != nil || d.Source != core.SourceFallback || d.Cost != 1 || d.Remaining != 2 {
		t.Errorf("%+v, %v, want 1 unit from this process's memory", d, err)
	}
	if err := l.Refund(t.Context(), d); err != nil {
		t.Error(err)
	}
}

// There is one former secret at most, and an empty or equal one is none.
func TestFormerSecrets(t *testing.T) {
	panics(t, "one rotation", func() { core.WithKeySecret(newSecret, oldSecret, oldSecret) })
	for name, o := range map[string]core.Option{
		"none":  core.WithKeySecret(newSecret),
		"empty": core.WithKeySecret(newSecret, nil),
		"equal": core.WithKeySecret(newSecret, newSecret),
	} {
		l, _ := newLimiter(t, o)
		if l.Seam().Identity.Rotates() {
			t.Errorf("%s: rotates", name)
		}
	}
}
