package core

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/streamlimit/streamlimit/core/internal/background"
	"github.com/streamlimit/streamlimit/core/internal/breaker"
	"github.com/streamlimit/streamlimit/core/store"
)

const (
	// registerInterval is how often a limiter that decides registers its logs.
	registerInterval = 20 * time.Second

	// registerTimeout bounds a registration. The first decisions of a process wait that
	// long, since they also wait for a connection. The first decisions on a later policy
	// wait for the store's timeout.
	registerTimeout = time.Second
)

// registration is the limiter's state in a store's registry.
type registration struct {
	store  store.Registrar     // nil if the store has no registry
	wake   chan struct{}       // has a value when there are new logs
	due    background.Activity // decisions since the last registration
	over   atomic.Bool         // the first registration is over
	failed bool                // a failure was logged; used by watchLogs alone
}

// unregistered are policies that wait for their first registration.
type unregistered struct {
	names   map[string]bool // of the policies; it never changes
	done    chan struct{}   // is closed when the registration is over
	started bool            // it has begun, without policies that are met now; Limiter.mu guards it
}

func newRegistration(s Store) registration {
	registrar, _ := s.(store.Registrar)
	return registration{store: registrar, wake: make(chan struct{}, 1), due: background.NewActivity()}
}

// registers reports whether a log is registered. Nobody counts what the log of a calendar
// or concurrency limit held before a change: see [logNamed].
func registers(log *store.Log) bool {
	return log.Layout != store.Calendar && log.Layout != store.Slots
}

// expect has a policy that was met be registered. The caller holds l.mu.
func (l *Limiter) expect(p *Policy) {
	if l.registration.store == nil || !registers(p.log) {
		return
	}
	next := &unregistered{names: map[string]bool{p.name: true}}
	if waiting := l.unregistered.Load(); waiting != nil {
		maps.Copy(next.names, waiting.names)
		if !waiting.started {
			next.done = waiting.done
		}
	}
	if next.done == nil {
		next.done = make(chan struct{})
		l.wakeRegistry()
	}
	l.unregistered.Store(next)
}

// registered notes that nobody waits for a registration any more.
func (l *Limiter) registered(waiting *unregistered) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.unregistered.Load(); now != nil && now.done == waiting.done {
		l.unregistered.Store(nil)
	}
}

// wakeRegistry has watchLogs register soon.
func (l *Limiter) wakeRegistry() {
	select {
	case l.registration.wake <- struct{}{}:
	default:
	}
}

// await waits until the policies of questions are registered, and updates them: their
// registration can be over already, and have changed them. The
// questions are about to be asked, and the wait must not cost them the answer: it takes
// at most half of the time that the caller has. A store that does not answer is not
// waited for twice.
func (l *Limiter) await(ctx context.Context, asks []Charge) *view {
	if waiting := l.unregistered.Load(); waiting != nil && l.waitsFor(waiting, asks) {
		bound := registerTimeout
		if l.registration.over.Load() {
			bound = l.answerTime()
		}
		wait := bound
		if at, ok := ctx.Deadline(); ok {
			wait = min(wait, time.Until(at)/2)
		}
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-waiting.done:
		case <-ctx.Done():
		case <-timer.C:
			if wait == bound {
				l.registered(waiting)
			}
		}
	}
	v := l.view.Load()
	for i := range asks {
		asks[i].Policy = l.effective(v, asks[i].Policy)
	}
	return v
}

// waitsFor reports whether a policy of the questions waits for its registration. None
// does while the circuit of its server is open.
func (l *Limiter) waitsFor(waiting *unregistered, asks []Charge) bool {
	return slices.ContainsFunc(asks, func(a Charge) bool {
		return waiting.names[a.Policy.name] && !l.circuits.Of(a.onLog()).Open()
	})
}

// watchLogs registers the limiter's logs while there are decisions, and drops earlier
// ones that hold nothing, until ctx ends.
func (l *Limiter) watchLogs(ctx context.Context) {
	tick := time.NewTicker(registerInterval)
	defer tick.Stop()
	var due <-chan struct{} // nil while the last registration is new
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.dropFormer(time.Now())
			due = l.registration.due.Awake()
			continue
		case <-due:
			l.registration.due.Forget()
		case <-l.registration.wake:
		}
		due = nil
		if l.registration.store != nil {
			l.register(ctx)
		}
	}
}

// register registers the logs that the limiter writes, and learns of those of others.
func (l *Limiter) register(ctx context.Context) {
	r := &l.registration
	l.mu.Lock()
	v, waiting := l.view.Load(), l.unregistered.Load()
	if waiting != nil {
		waiting.started = true
	}
	l.mu.Unlock()
	written := slices.DeleteFunc(slices.Collect(maps.Values(v.written)), func(log *store.Log) bool { return !registers(log) })
	if len(written) == 0 && waiting == nil {
		return
	}
	limited, cancel := context.WithTimeout(ctx, registerTimeout)
	logs, err := r.store.RegisterLogs(limited, written)
	cancel()
	switch {
	case err == nil:
		l.learnLogs(logs, time.Now())
	case breaker.Answered(err) && !errors.Is(err, store.ErrClosed) && !r.failed:
		// The circuit of a store that does not answer logs that.
		r.failed = true
		l.warnings.Logger.Warn("streamlimit: logs can't be registered; after a change of limits in a deployment, earlier logs may not count", "error", err)
	}
	r.over.Store(true)
	if waiting != nil {
		l.registered(waiting)
		close(waiting.done)
	}
}

// learnLogs takes over the logs that processes have registered.
func (l *Limiter) learnLogs(logs []store.RegisteredLog, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.view.Load()
	next := v.changed()
	news := false
	for _, log := range logs {
		if v.written[log.Name] != nil {
			continue
		}
		if known := logNamed(log.Name); known != nil && next.noteFormer(known, now.Add(log.Left)) {
			news = true
		}
	}
	if news {
		next = l.newView(next, v.replaced, v.ruleset)
	}
	l.show(next)
}
