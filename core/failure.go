package core

import (
	"context"
	"errors"
	"fmt"
	"sync"
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
	store *Memory
}

func (s *localStore) get() *Memory {
	s.once.Do(func() { s.store = NewMemory() })
	return s.store
}

func (s *localStore) close() {
	s.once.Do(func() {})
	if s.store != nil {
		_ = s.store.Close()
	}
}

// modeOf is the failure mode of a question's policy. A caller that has gone is
// no failure of the store.
func (l *Limiter) modeOf(ctx context.Context, p *Policy, err error) FailureMode {
	if ctx.Err() != nil || errors.Is(err, ErrClosed) || errors.Is(err, ErrStoreFull) {
		return FailClosed
	}
	if p.failure != FailDefault {
		return p.failure
	}
	return l.failure
}

// takeWithoutStore decides on questions that the store has failed to answer
// with failed.
func (l *Limiter) takeWithoutStore(ctx context.Context, asks []Ask, failed error) (Store, []Usage, error) {
	var local []Ask
	for _, a := range asks {
		switch l.modeOf(ctx, a.Policy, failed) {
		case FailLocal:
			local = append(local, a)
		case FailOpen:
		default:
			return nil, nil, fmt.Errorf("streamlimit: policy %s: %w", a.Policy.name, failed)
		}
	}
	var decided []Usage
	if len(local) > 0 {
		var err error
		if decided, err = l.local.get().TakeAll(ctx, local); err != nil {
			return nil, nil, fmt.Errorf("streamlimit: policy %s: %w", local[0].Policy.name, err)
		}
	}
	usages := make([]Usage, len(asks))
	for i, a := range asks {
		usages[i] = Usage{Allowed: true, Source: SourceNone}
		if l.modeOf(ctx, a.Policy, failed) == FailLocal {
			usages[i], decided = decided[0], decided[1:]
			usages[i].Source = SourceFallback
		}
	}
	return l.local.store, usages, nil
}

func (l *Limiter) peekWithoutStore(ctx context.Context, a Ask, failed error) (Decision, error) {
	u := Usage{Allowed: true, Source: SourceNone}
	switch l.modeOf(ctx, a.Policy, failed) {
	case FailLocal:
		var err error
		if u, err = l.local.get().Peek(ctx, a.Policy, a.Key, a.Cost); err != nil {
			return Decision{}, fmt.Errorf("streamlimit: policy %s: %w", a.Policy.name, err)
		}
		u.Source = SourceFallback
	case FailOpen:
	default:
		return Decision{}, fmt.Errorf("streamlimit: policy %s: %w", a.Policy.name, failed)
	}
	d := decide(a.Policy, a.Key, a.Cost, u)
	if u.Source == SourceNone {
		d.Reason = ReasonFailOpen
	}
	return d, nil
}
