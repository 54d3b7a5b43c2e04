package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// FailureMode says what happens to requests when the store does not answer.
type FailureMode byte

// The failure modes.
const (
	FailDefault FailureMode = iota // as the limiter says; for a policy only
	FailClosed                     // an error, which adapters answer with 503
	FailOpen                       // the request passes, uncounted
	FailLocal                      // this process's memory decides by the same limits
)

// String is "default", "closed", "open" or "local".
func (m FailureMode) String() string {
	switch m {
	case FailDefault:
		return "default"
	case FailClosed:
		return "closed"
	case FailOpen:
		return "open"
	case FailLocal:
		return "local"
	}
	return fmt.Sprintf("FailureMode(%d)", byte(m))
}

// localStore is the memory that decides when the store does not answer, made
// when it is first needed.
type localStore struct {
	once  sync.Once
	store *Memory // nil after close, if it was never needed
}

func (s *localStore) get() (*Memory, error) {
	s.once.Do(func() { s.store = NewMemory() })
	if s.store == nil {
		return nil, ErrClosed
	}
	return s.store, nil
}

func (s *localStore) close() {
	s.once.Do(func() {})
	if s.store != nil {
		_ = s.store.Close()
	}
}

// outage writes a log line when requests are decided without the store, and no
// more than one a minute.
type outage struct{ logged atomic.Int64 } // when, Unix milliseconds

const outageInterval = time.Minute

func (o *outage) log(logger *slog.Logger, p *Policy, mode FailureMode, err error) {
	now, last := time.Now().UnixMilli(), o.logged.Load()
	if ago := now - last; ago >= 0 && ago < outageInterval.Milliseconds() || !o.logged.CompareAndSwap(last, now) {
		return
	}
	logger.Warn("streamlimit: the store does not answer: requests are decided without it",
		"policy", p.name, "mode", mode.String(), "error", err)
}

// modeOf is the failure mode of a question's policy. A caller that has gone is
// no failure of the store, and a store that is closed or full has answered; but
// a policy in shadow mode keeps no request out, whatever its mode.
func (l *Limiter) modeOf(ctx context.Context, p *Policy, err error) FailureMode {
	mode := p.failure
	if mode == FailDefault {
		mode = l.failure
	}
	switch {
	case ctx.Err() != nil || errors.Is(err, ErrClosed):
		return FailClosed
	case errors.Is(err, ErrStoreFull):
		mode = FailClosed
	}
	if mode == FailClosed && p.shadow {
		mode = FailOpen
	}
	if mode != FailClosed {
		l.outage.log(l.Logger(), p, mode, err)
	}
	return mode
}

// takeWithoutStore decides on questions that the store has failed to answer
// with failed. instead is the store that has taken units, if one has.
func (l *Limiter) takeWithoutStore(ctx context.Context, asks []Ask, failed error) (usages []Usage, instead Store, err error) {
	usages = make([]Usage, len(asks))
	var local []Ask
	var places []int
	for i, a := range asks {
		switch l.modeOf(ctx, a.Policy, failed) {
		case FailLocal:
			local, places = append(local, a), append(places, i)
		case FailOpen:
			usages[i] = Usage{Allowed: true, Source: SourceNone}
		default:
			return nil, nil, policyError(a.Policy, failed)
		}
	}
	if len(local) == 0 {
		return usages, nil, nil
	}
	memory, err := l.local.get()
	if err != nil {
		return nil, nil, policyError(local[0].Policy, err)
	}
	decided, err := memory.TakeAll(ctx, local)
	if err != nil {
		return nil, nil, policyError(local[0].Policy, err)
	}
	for i, u := range decided {
		u.Source = SourceFallback
		usages[places[i]] = u
	}
	return usages, memory, nil
}

func (l *Limiter) peekWithoutStore(ctx context.Context, a Ask, failed error) (Decision, error) {
	switch l.modeOf(ctx, a.Policy, failed) {
	case FailLocal:
		memory, err := l.local.get()
		if err != nil {
			return Decision{}, policyError(a.Policy, err)
		}
		u, err := memory.Peek(ctx, a.Policy, a.Key, a.Cost)
		if err != nil {
			return Decision{}, policyError(a.Policy, err)
		}
		u.Source = SourceFallback
		return decide(a.Policy, a.Key, a.Cost, u), nil
	case FailOpen:
		d := decide(a.Policy, a.Key, a.Cost, Usage{Allowed: true, Source: SourceNone})
		d.Reason = ReasonFailOpen
		return d, nil
	}
	return Decision{}, policyError(a.Policy, failed)
}

// policyError is what went wrong for a policy.
func policyError(p *Policy, err error) error {
	return fmt.Errorf("streamlimit: policy %s: %w", p.name, err)
}
