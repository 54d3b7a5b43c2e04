package redisstream

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
)

// TakeAll implements [core.Store]. Logs on one server that share a hash slot, or
// where there are none, are decided on by one script; others one by one.
func (s *Store) TakeAll(ctx context.Context, asks []core.Ask) ([]core.Usage, error) {
	if s.oneScript(asks) {
		return s.takeTogether(ctx, asks)
	}
	for _, a := range asks {
		if a.Policy.Layout() != core.Refunded {
			return nil, fmt.Errorf("%w: policy %s", core.ErrApart, a.Policy.Name())
		}
	}
	return s.takeApart(ctx, asks)
}

// oneScript is whether one script can decide on all logs.
func (s *Store) oneScript(asks []core.Ask) bool {
	if _, single := s.rdb.(*redis.Client); single {
		return true
	}
	// All logs of a key are in one slot.
	for _, a := range asks {
		if a.Key != asks[0].Key {
			return false
		}
	}
	return true
}

func (s *Store) takeTogether(caller context.Context, asks []core.Ask) ([]core.Usage, error) {
	ctx, cancel := context.WithTimeout(caller, s.timeout) // for what may come after the script, too
	defer cancel()
	replies, err := s.run(caller, together, s.decisions(asks))
	if redis.HasErrorPrefix(err, "TRYAGAIN") {
		// The slot moves to another node, and the logs are on either. What is then
		// taken in vain is given back where it can be.
		return s.takeApart(ctx, asks)
	}
	if err != nil {
		return nil, s.blame(ctx, asks, fmt.Errorf("redisstream: %w", err))
	}
	usages, err := parseReplies(replies, asks)
	if err != nil {
		return nil, fmt.Errorf("redisstream: %w", err)
	}
	return usages, nil
}

// parseReplies reads what together.lua replies.
func parseReplies(replies []int64, asks []core.Ask) ([]core.Usage, error) {
	usages := make([]core.Usage, len(asks))
	for i, a := range asks {
		reply, others, err := first(replies)
		if err != nil {
			return nil, err
		}
		if usages[i], err = parseUsage(reply, a.Policy); err != nil {
			return nil, err
		}
		replies = others
	}
	if len(replies) > 0 {
		return nil, errMore
	}
	return usages, nil
}

// blame finds out which of the logs is none, if that is the error: the script
// does not say.
func (s *Store) blame(ctx context.Context, asks []core.Ask, err error) error {
	if !errors.Is(err, core.ErrNotALog) {
		return err
	}
	for i, a := range asks {
		if _, one := s.Peek(ctx, a.Policy, a.Key, a.Cost); errors.Is(one, core.ErrNotALog) {
			return &core.AskError{Ask: i, Err: one}
		}
	}
	return err
}

// decisions is the call of together.lua.
func (s *Store) decisions(asks []core.Ask) []any {
	holds := make([]byte, len(asks))
	logs := make([]string, len(asks))
	for i, a := range asks {
		holds[i] = '1'
		if a.Policy.Shadow() {
			holds[i] = '0'
		}
		logs[i] = s.logKey(a.Policy, a.Key)
	}
	call := append(together.call(1+8*len(asks), logs...), string(holds))
	for _, a := range asks {
		call = appendAsk(call, a.Policy, a.Cost)
	}
	return call
}

// takeApart asks log by log, and gives back what was taken when one has no room
// or fails to answer. What can't be given back stays taken: never is too much
// admitted. The caller waits for all of it no longer than the store's timeout.
func (s *Store) takeApart(caller context.Context, asks []core.Ask) ([]core.Usage, error) {
	ctx, cancel := context.WithTimeout(caller, s.timeout)
	defer cancel()
	usages := make([]core.Usage, len(asks))
	for i, a := range asks {
		u, err := s.Take(ctx, a.Policy, a.Key, a.Cost)
		usages[i] = u
		if err == nil && (u.Allowed || a.Policy.Shadow()) {
			continue
		}
		given := s.giveBack(caller, asks[:i], usages[:i])
		if err != nil {
			return nil, &core.AskError{Ask: i, Err: err}
		}
		// The others are not asked to take any more, but what they have room for:
		// to show it, so that it is no matter if they don't answer.
		for j, rest := range asks[i+1:] {
			if u, err = s.Peek(ctx, rest.Policy, rest.Key, rest.Cost); err != nil {
				u = core.Usage{Allowed: true, Source: core.SourceRedis}
			}
			usages[i+1+j] = u
		}
		select {
		case after := <-given:
			copy(usages, after)
		case <-ctx.Done():
		}
		return usages, nil
	}
	return usages, nil
}

// giveBack gives back what was taken in vain, whether the caller still waits or
// not. What the logs have then is sent, and need not be received.
func (s *Store) giveBack(caller context.Context, asks []core.Ask, usages []core.Usage) <-chan []core.Usage {
	given := make(chan []core.Usage, 1)
	usages = slices.Clone(usages)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(caller), s.timeout)
		defer cancel()
		for i, a := range asks {
			if a.Policy.Layout() != core.Refunded || !usages[i].Allowed {
				continue
			}
			if s.Settle(ctx, a.Policy, a.Key, usages[i].Entry, -a.Cost) == nil {
				usages[i] = without(usages[i], a)
			}
		}
		given <- usages
	}()
	return given
}

// without is the usage of a log that has given back what was asked for.
func without(u core.Usage, a core.Ask) core.Usage {
	for i := range a.Policy.Len() {
		u.Limits[i].Used -= a.Cost
		if u.Limits[i].Used == 0 {
			u.Limits[i].FreeIn = 0
		}
	}
	u.Entry = core.EntryID{}
	return u
}
