package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	FailLocal                      // this process's memory decides by the same limits; see [WithLocalShare]
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

// outage writes a log line when a store that answers has failed to answer a
// question, and no more than one a minute. Of one that does not answer any more
// circuits tell.
type outage struct{ logged atomic.Int64 } // when, Unix milliseconds

const outageInterval = time.Minute

func (o *outage) log(logger *slog.Logger, p *Policy, err error) {
	now, last := time.Now().UnixMilli(), o.logged.Load()
	if ago := now - last; ago >= 0 && ago < outageInterval.Milliseconds() || !o.logged.CompareAndSwap(last, now) {
		return
	}
	logger.Warn("streamlimit: the store has failed to answer; there is one such line a minute at most",
		"policy", p.name, "error", err)
}

// modeOf is the failure mode of a question's policy. A caller that has gone is
// no failure of the store. A store that is closed or full, or that finds
// something else in a log's place, has answered; but a policy in shadow mode
// keeps no request out, whatever its mode.
func (l *Limiter) modeOf(ctx context.Context, p *Policy, err error) FailureMode {
	mode := p.failure
	if mode == FailDefault {
		mode = l.failure
	}
	switch {
	case ctx.Err() != nil || errors.Is(err, ErrClosed):
		return FailClosed
	case errors.Is(err, ErrStoreFull), errors.Is(err, ErrNotALog):
		mode = FailClosed
	}
	if mode == FailClosed && p.shadow {
		return FailOpen
	}
	return mode
}

// withoutStore notes that a question is decided without the store, and how.
func (l *Limiter) withoutStore(ctx context.Context, p *Policy, err error) FailureMode {
	mode := l.modeOf(ctx, p, err)
	if ctx.Err() == nil && !errors.Is(err, ErrClosed) {
		l.outcomes.count(mode)
		if !errors.Is(err, ErrDown) {
			l.outcomes.failures.Add(1)
		}
		if answered(err) {
			l.outage.log(l.Logger(), p, err)
		}
	}
	return mode
}

// takeWithoutStore decides on questions that the store has failed to answer
// with failed. instead is the store that has taken units, if one has; what it
// was asked is then in asks.
func (l *Limiter) takeWithoutStore(ctx context.Context, asks []Ask, failed error) (usages []Usage, instead Store, err error) {
	usages = make([]Usage, len(asks))
	var local []int
	var one *AskError
	foreign := errors.Is(failed, ErrNotALog) && errors.As(failed, &one) && one.Ask < len(asks)
	for i, a := range asks {
		err := failed
		if foreign && one.Ask != i {
			err = errBeside
		}
		switch l.withoutStore(ctx, a.Policy, err) {
		case FailLocal:
			local = append(local, i)
		case FailOpen:
			usages[i] = unknown()
		default:
			if foreign {
				a = asks[one.Ask]
			}
			return nil, nil, policyError(a.Policy, failed)
		}
	}
	if len(local) == 0 {
		return usages, nil, nil
	}
	if instead, err = l.local.take(ctx, asks, local, usages); err != nil {
		return nil, nil, err
	}
	return usages, instead, nil
}

// errBeside is for questions that were asked together with one whose log is none,
// which is no matter of theirs.
var errBeside = errors.New("core: asked together with a policy whose log is none")

// unknown is the usage of a log that nobody has asked.
func unknown() Usage { return Usage{Allowed: true, Source: SourceNone} }

func (l *Limiter) peekWithoutStore(ctx context.Context, a Ask, failed error) (Decision, error) {
	switch l.withoutStore(ctx, a.Policy, failed) {
	case FailLocal:
		u, err := l.local.peek(ctx, &a)
		if err != nil {
			return Decision{}, policyError(a.Policy, err)
		}
		return decide(a.Policy, a.Key, a.Cost, u), nil
	case FailOpen:
		d := decide(a.Policy, a.Key, a.Cost, unknown())
		d.Reason = ReasonFailOpen
		return d, nil
	}
	return Decision{}, policyError(a.Policy, failed)
}

// policyError is what went wrong for a policy.
func policyError(p *Policy, err error) error {
	return fmt.Errorf("streamlimit: policy %s: %w", p.name, err)
}
