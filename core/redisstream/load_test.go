package redisstream

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

// load asks for one unit of each log in turn, all the time and from several
// goroutines, and keeps account of the answers.
type load struct {
	store    *Store
	accounts []*account
	stop     context.CancelFunc
	running  sync.WaitGroup
}

// account is what was answered about one log.
type account struct {
	policy *store.Log
	key    string

	mu       sync.Mutex
	admitted []store.EntryID // their IDs are zero unless the policy is refundable
	denied   int
	errors   []error
	failed   time.Time // the last time
	back     time.Time // the first answer after that
}

// startLoad puts load on n logs of each policy, until end or the test's.
func startLoad(t *testing.T, s *Store, n int, policies ...*store.Log) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{store: s, stop: stop}
	for i := range n {
		for _, p := range policies {
			l.accounts = append(l.accounts, &account{policy: p, key: fmt.Sprint("load-", i)})
		}
	}
	const callers = 8
	for c := range callers {
		l.running.Go(func() {
			for i := c * len(l.accounts) / callers; ctx.Err() == nil; i++ {
				l.accounts[i%len(l.accounts)].ask(s)
				time.Sleep(time.Millisecond) // leaves the processors to the servers
			}
		})
	}
	t.Cleanup(l.end)
	return l
}

func (l *load) end() {
	l.stop()
	l.running.Wait()
}

func (a *account) ask(s *Store) {
	u, err := s.Take(context.Background(), a.policy, a.key, 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err != nil:
		a.errors = append(a.errors, err)
		a.failed, a.back = time.Now(), time.Time{}
		return
	case u.Allowed:
		a.admitted = append(a.admitted, u.Entry)
	default:
		a.denied++
	}
	if a.back.IsZero() {
		a.back = time.Now()
	}
}

// name is the policy and the key.
func (a *account) name() string { return a.policy.Policy + " " + a.key }

// awaitAll waits until the condition holds for all accounts.
func (l *load) awaitAll(t *testing.T, what string, holds func(*account) bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		missing := slices.IndexFunc(l.accounts, func(a *account) bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return !holds(a)
		})
		if missing < 0 {
			return
		}
		if time.Now().After(deadline) {
			a := l.accounts[missing]
			a.mu.Lock()
			defer a.mu.Unlock()
			t.Fatalf("%s: not within a minute: %s: %d admitted, %d denied, %d errors %v",
				what, a.name(), len(a.admitted), a.denied, len(a.errors), a.errors[max(0, len(a.errors)-3):])
		}
	}
}

// exhaust goes on until each log is full, and ends the load.
func (l *load) exhaust(t *testing.T) {
	t.Helper()
	before := make(map[*account]int)
	for _, a := range l.accounts {
		a.mu.Lock()
		before[a] = a.denied
		a.mu.Unlock()
	}
	l.awaitAll(t, "all logs are full", func(a *account) bool { return a.denied > before[a]+2 })
	l.end()
}

// exact checks that an account had no error, and was admitted just the limit.
func (a *account) exact(t *testing.T) {
	t.Helper()
	if len(a.errors) > 0 {
		t.Errorf("%s: %d errors, such as %v", a.name(), len(a.errors), a.errors[0])
	}
	if got, want := int64(len(a.admitted)), a.policy.Limits[0].Max; got != want {
		t.Errorf("%s: %d admitted, want %d", a.name(), got, want)
	}
}

// figures are how exact the answers were, for the table of faults.
func (l *load) figures() string {
	decisions, errors, excess := 0, 0, int64(0)
	for _, a := range l.accounts {
		decisions += len(a.admitted) + a.denied
		errors += len(a.errors)
		excess += max(0, int64(len(a.admitted))-a.policy.Limits[0].Max)
	}
	return fmt.Sprintf("decisions=%d errors=%d excess=%d", decisions, errors, excess)
}

// loadPolicies are policies of all layouts with one limit.
func loadPolicies(units int64) []*store.Log {
	limit := core.PerHour(units)
	return []*store.Log{
		newLog("counted", limit), newLog("summed", limit, core.VariableCost()),
		newLog("refunded", limit, core.Refundable(0)), newLog("coarse", limit, core.VariableCost(), core.Coarse(64)),
	}
}
