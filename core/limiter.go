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

	"github.com/streamlimit/streamlimit/core/internal/background"
	"github.com/streamlimit/streamlimit/core/internal/breaker"
	"github.com/streamlimit/streamlimit/core/internal/clientip"
	"github.com/streamlimit/streamlimit/core/internal/identity"
	"github.com/streamlimit/streamlimit/core/internal/keeper"
	"github.com/streamlimit/streamlimit/core/internal/seam"
	"github.com/streamlimit/streamlimit/core/internal/warning"
	"github.com/streamlimit/streamlimit/core/store"
)

// Limiter decides on requests by the logs in its [Store]. Make one with [New].
// A Limiter is safe for concurrent use, and one serves a whole process.
type Limiter struct {
	store    Store
	leaser   store.Leaser // the store, if it takes leases
	identity *identity.Identity
	warnings *warnings
	failure  FailureMode
	local    localStore
	circuits *breaker.Circuits
	outcomes outcomes

	slotter   store.Slotter // nil if the store keeps no slots
	keeper    *keeper.Keeper
	lostSlots warning.Rarely

	observers []Observer

	// view is what policies and rules are now; whoever changes it holds mu.
	view   atomic.Pointer[view]
	mu     sync.Mutex
	ending *time.Timer // when the first rule on a policy ends; nil for none
	closed bool

	rulesInterval time.Duration
	decided       background.Activity   // decisions since the last check for changed rules
	quiet         atomic.Pointer[quiet] // nil while the rules that are known are new

	registration registration
	unregistered atomic.Pointer[unregistered] // nil if all policies were registered

	lines *lines // of calls that wait
	tasks background.Tasks
	seam  seam.Seam
}

// New makes a limiter that keeps its logs in a store:
//
//	limiter := core.New(core.NewMemory())
//
// A store that does not answer is not an error: see [WithFailureMode]. New panics if
// the store is nil. Close the limiter to end its goroutines. One checks for changed
// rules and one registers logs, both only while there are decisions. For each server
// that does not answer, another one probes it. Make one limiter for the process, not
// one for each request.
func New(s Store, options ...Option) *Limiter {
	if v := reflect.ValueOf(s); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		panic("core: New: nil store: use core.NewMemory(), or redisstream.New for Redis")
	}
	w := &warnings{warning.Once{Logger: slog.Default()}}
	l := &Limiter{
		store:    s,
		identity: &identity.Identity{Trust: clientip.Trust{Header: "X-Forwarded-For"}, Bits: 64, Warnings: &w.Once},
		warnings: w,
		failure:  FailLocal,
		local:    localStore{share: 1},

		lines:         newLines(),
		rulesInterval: defaultRulesInterval,
		decided:       background.NewActivity(),
		registration:  newRegistration(s),
	}
	l.leaser, _ = s.(store.Leaser)
	l.slotter, l.keeper = newSlotter(l), keeper.New(l.tasks.Start, l.logLost)
	for _, o := range options {
		if o == nil {
			panic("core: New: a nil option: leave it out")
		}
		o(l)
	}
	if l.identity.Hashed && !l.identity.Keyed() {
		panic("core: New: WithHashedAddresses without a secret: give core.WithKeySecret one too, since anybody can try all addresses")
	}
	rules := ruleset{clock: s.RuleTime}
	if l.identity.Rotates() {
		rules.formerKey = l.identity.Former
	}
	l.view.Store(l.newView(&view{}, nil, rules))
	l.circuits = breaker.New(breaker.Options{Store: s, Logger: w.Logger, Mode: string(l.failure), Tasks: &l.tasks})
	l.seam = seam.Seam{Identity: l.identity, Warnings: &w.Once, Background: l.tasks.Start}
	for _, o := range l.observers {
		l.seam.Observers = append(l.seam.Observers, o)
	}
	if b, ok := s.(store.Bounded); ok {
		l.seam.Timeout = b.Timeout()
	}
	l.tasks.Start(l.watchRules)
	l.tasks.Start(l.watchLogs)
	return l
}

// Seam returns what package adapter and other packages of this module need. Users do not
// need it, and it can change in any version.
func (l *Limiter) Seam() *seam.Seam { return &l.seam }

// Allow decides on one request of cost 1, and counts it if it is admitted.
// A denial is a [Decision], not an error: an error means that there is no
// decision, because of wrong arguments such as an [ErrNoKey], or because
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
	if err = l.decideAlone(ctx, &Request{only: onlyUnits}, Charge{Policy: p, Key: key, Cost: cost}, &d); err != nil {
		return Decision{}, err
	}
	return d, nil
}

// Peek returns the decision that Allow would make, and counts nothing. Remaining is
// what is left now, and Allowed reports whether a request of cost 1 would be admitted.
// The key may be one that a decision shows.
func (l *Limiter) Peek(ctx context.Context, p *Policy, key string) (Decision, error) {
	charges := [...]Charge{{Policy: p, Key: key, Cost: 1}}
	came, v := l.look(ctx, &Request{})
	v, err := l.prepareAll(ctx, v, charges[:])
	if err != nil {
		return Decision{}, err
	}
	a := charges[0]
	a.Key = shownKey(key)
	if d, ok := v.answer(a, netip.Prefix{}); ok {
		return d, nil
	}
	asked := a.onLog()
	u, err := l.peek(ctx, asked)
	if asked.Key = l.formerKey(&a); asked.Key != "" && err == nil {
		var onFormer store.Usage
		onFormer, err = l.peek(ctx, asked)
		u = fuller(u, onFormer)
	}
	if err != nil {
		if expired(ctx, came) {
			return Decision{}, policyError(a.Policy, context.DeadlineExceeded)
		}
		return l.peekWithoutStore(ctx, a, err)
	}
	return decisionOf(a, u), nil
}

// peek asks the store for the state of one log.
func (l *Limiter) peek(ctx context.Context, asked store.Charge) (u store.Usage, err error) {
	circuit := l.circuits.Of(asked)
	begun := begin(ctx)
	if err = circuit.Refuses(); err == nil {
		u, err = l.store.Peek(ctx, asked.Log, asked.Key, asked.Cost)
		circuit.Learn(ctx, begun, asked, err)
	}
	return u, err
}

// begin returns when a decision begins. It returns the zero Time without a deadline,
// since the circuit does not need the time then.
func begin(ctx context.Context) (begun time.Time) {
	if _, ok := ctx.Deadline(); ok {
		begun = time.Now()
	}
	return begun
}

// expired reports whether the caller's deadline was over at came. Then nobody waits for
// the decision. If the limiter's own waits have used up the deadline, the failure mode
// decides.
func expired(ctx context.Context, came time.Time) bool {
	at, ok := ctx.Deadline()
	return ok && !came.Before(at)
}

// prepare completes a question, or says what is wrong with it.
func (l *Limiter) prepare(v *view, a *Charge) error {
	if a.Policy == nil || len(a.Policy.limits) == 0 {
		return errNoPolicy
	}
	a.Policy = l.effective(v, a.Policy)
	if a.Key == "" {
		return fmt.Errorf("%w: policy %s", ErrNoKey, a.Policy.name)
	}
	if bounded := boundedKey(a.Key); bounded != a.Key {
		l.identity.Link(bounded, boundedKey(l.identity.Former(a.Key)))
		a.Key = bounded
	}
	if a.Cost == 0 {
		a.Cost = 1
	}
	if a.most > 0 && !a.Policy.costs {
		return costError(a.Policy, a.most)
	}
	return costError(a.Policy, a.Cost)
}

// Ping returns nil if the store responds.
func (l *Limiter) Ping(ctx context.Context) error { return l.store.Ping(ctx) }

// Close ends the limiter's goroutines and waits for them, the corrections of adapters
// included, and closes the store. Calls of Wait fail. Closing twice is not an error.
func (l *Limiter) Close() error {
	l.lines.close()
	l.circuits.Stop()
	l.tasks.End()
	l.mu.Lock()
	l.closed = true
	l.awaitEnd(time.Time{})
	l.mu.Unlock()
	l.local.close()
	return l.store.Close()
}
