package core

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
)

// Limiter decides on requests by the logs in its [Store]. Make one with [New];
// it is safe for concurrent use, and one serves a whole process.
type Limiter struct {
	store    Store
	identity *Identity
	warnings *warnings
	failure  FailureMode
	local    localStore
	circuits *circuits

	stopReports func() // of the store; nil if it does not report outcomes
	outcomes    outcomes

	observers []Observer

	outage   outage
	settling settling

	// view is what policies and rules are now; whoever changes it holds mu.
	view   atomic.Pointer[view]
	mu     sync.Mutex
	ending *time.Timer // when the first rule on a policy ends; nil for none
	closed bool

	rulesInterval time.Duration
	decided       activity              // for which changed rules are looked for
	quiet         atomic.Pointer[quiet] // nil while the rules that are known are new

	registration registration
	unregistered atomic.Pointer[unregistered] // nil if all policies were registered

	tasks tasks
}

// New makes a limiter that keeps its logs in store:
//
//	limiter := core.New(core.NewMemory())
//
// A store that does not answer is not an error: see [WithFailureMode]. It panics when
// the store is nil. Close it to end its goroutines, one that looks for changed
// rules and one that registers its logs, both only while there are decisions, and one
// for each server that does not answer, which asks it now and then. Make one for the
// process, not for each request.
func New(store Store, options ...Option) *Limiter {
	if v := reflect.ValueOf(store); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		panic("core: New: nil store: use core.NewMemory(), or redisstream.New for Redis")
	}
	w := &warnings{logger: slog.Default()}
	l := &Limiter{
		store:    store,
		identity: &Identity{header: "X-Forwarded-For", bits: 64, warnings: w},
		warnings: w,
		failure:  FailLocal,
		local:    localStore{share: 1},

		rulesInterval: DefaultRulesInterval,
		decided:       newActivity(),
		registration:  newRegistration(store),
	}
	l.circuits = newCircuits(l)
	for _, o := range options {
		if o == nil {
			panic("core: New: a nil option: leave it out")
		}
		o(l)
	}
	l.view.Store(newView(&view{}, nil, ruleset{clock: store.RuleTime}))
	if r, ok := store.(Reporter); ok {
		l.stopReports = r.Report(l.circuits.report)
	}
	l.tasks.start(l.watchRules)
	l.tasks.start(l.watchLogs)
	return l
}

// Identity returns what finds out who a request comes from, as the limiter's options
// say.
func (l *Limiter) Identity() *Identity { return l.identity }

// Allow decides on one request of cost 1, and counts it if it is admitted.
// A denial is a [Decision], not an error: an error means that there is no
// decision, because of wrong arguments ([ErrNoKey], [ErrNoPolicy]) or because
// the store did not answer.
func (l *Limiter) Allow(ctx context.Context, p *Policy, key string) (Decision, error) {
	return l.AllowN(ctx, p, key, 1)
}

// AllowN decides on one request that takes cost units, all or none. Policies
// need [VariableCost] for a cost other than 1. A cost that can never be
// admitted is an [ErrCost].
func (l *Limiter) AllowN(ctx context.Context, p *Policy, key string, cost int64) (d Decision, err error) {
	if cost == 0 {
		cost = noUnits
	}
	err = l.AllowFor(ctx, nil, Charge{Policy: p, Key: key, Cost: cost}, &d)
	return d, err
}

// Peek returns the decision that Allow would make, and counts nothing. Remaining is
// what is left now, and Allowed reports whether a request of cost 1 would be admitted.
// The key may be one that a decision shows.
func (l *Limiter) Peek(ctx context.Context, p *Policy, key string) (Decision, error) {
	came := begin(ctx)
	v := l.current(ctx)
	a := Charge{Policy: p, Key: key, Cost: 1}
	if err := l.prepare(v, &a); err != nil {
		return Decision{}, err
	}
	if l.unregistered.Load() != nil || l.view.Load() != v {
		v, a = l.awaitOne(ctx, a)
	}
	a.Key = shownKey(key)
	if d, ok := v.answer(a, netip.Prefix{}); ok {
		return d, nil
	}
	circuit := l.circuits.of(a)
	begun := begin(ctx)
	err := circuit.refuses()
	var u Usage
	if err == nil {
		u, err = l.store.Peek(ctx, a.Policy, a.Key, a.Cost)
		circuit.learn(ctx, begun, a, err)
	}
	if err != nil {
		if expired(ctx, came) {
			return Decision{}, policyError(a.Policy, context.DeadlineExceeded)
		}
		return l.peekWithoutStore(ctx, a, err)
	}
	return decisionOf(a, u), nil
}

// prepare completes a question, or says what is wrong with it.
func (l *Limiter) prepare(v *view, a *Charge) error {
	if a.Policy == nil || len(a.Policy.limits) == 0 {
		return ErrNoPolicy
	}
	a.Policy = l.effective(v, a.Policy)
	if a.Key == "" {
		return fmt.Errorf("%w: policy %s", ErrNoKey, a.Policy.name)
	}
	a.Key = boundedKey(a.Key)
	if a.Cost == 0 {
		a.Cost = 1
	}
	return costError(a.Policy, a.Cost)
}

// Ping returns nil if the store responds.
func (l *Limiter) Ping(ctx context.Context) error { return l.store.Ping(ctx) }

// Close ends the limiter's goroutines and waits for them, corrections of
// [Limiter.SettleRequest] included, and closes the store. Closing twice is not an
// error.
func (l *Limiter) Close() error {
	if l.stopReports != nil {
		l.stopReports()
	}
	l.tasks.end()
	l.mu.Lock()
	l.closed = true
	l.awaitEnd(time.Time{})
	l.mu.Unlock()
	l.local.close()
	return l.store.Close()
}
