package redisstream

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/store"
)

// huge is more units than any limit has: 2^52, below which Lua's numbers are exact.
const huge = int64(1) << 52

// moving reports whether a decision has failed since its slot moves to another node of a
// Cluster, and a script can use one log only. The script has not run.
func moving(p *store.Log, err error) bool {
	return len(p.Earlier) > 0 && redis.HasErrorPrefix(err, "TRYAGAIN")
}

// decideWhileMoving decides log by log: it looks at the earlier logs, and takes what they
// hold off the limits of the policy's own. A counted earlier log counts whole, also for a
// shorter window. The decisions on the own log are exact among each other. What other
// processes add to the earlier logs between the two steps is not counted.
func (s *Store) decideWhileMoving(ctx context.Context, p *store.Log, key string, cost int64, mode any) (store.Usage, error) {
	ctx, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	earlier, err := s.heldEarlier(ctx, p, key)
	if err != nil {
		return store.Usage{}, err
	}
	for i := range len(p.Limits) {
		if earlier.Limits[i].Used+cost > p.Limits[i].Max {
			earlier.Allowed, mode = false, modeLook
		}
	}
	own := s.charge(p.After(), key, cost)
	args := appendDecision(nil, &own, mode)
	if earlier.Allowed {
		maxes := args[len(args)-2*len(p.Limits):]
		for i := range len(p.Limits) {
			maxes[2*i] = p.Limits[i].Max - earlier.Limits[i].Used
		}
	}
	u, err := s.askUsage(ctx, own, args)
	if err != nil {
		return store.Usage{}, err
	}
	for i := range len(p.Limits) {
		addUsage(&u.Limits[i], earlier.Limits[i])
	}
	u.ResetAfter = max(u.ResetAfter, earlier.ResetAfter)
	u.Allowed = u.Allowed && earlier.Allowed
	if !u.Allowed && (!earlier.Allowed || refundsEarlier(p)) {
		// When the earlier logs are empty, it fits as soon as it fits the policy's own. One
		// with refunds can hold more before that than it holds now.
		u.RetryAfter = max(u.RetryAfter, earlier.ResetAfter)
	}
	return u, nil
}

// heldEarlier returns what the earlier logs of a policy hold of each of its limits.
func (s *Store) heldEarlier(ctx context.Context, p *store.Log, key string) (store.Usage, error) {
	held := store.Usage{Allowed: true}
	for _, e := range p.Earlier {
		own := e.Longest.Milliseconds()
		args := []any{modeLook, 0, own, 0}
		limits := len(p.Limits)
		if e.Layout == store.Counted {
			args, limits = []any{modeLook, 1, huge, own}, 1
		} else {
			for i := range limits {
				args = append(args, huge, min(own, (p.Limits[i].Window+e.Lease).Milliseconds()))
			}
		}
		reply, err := s.batcher.ask(ctx, s.charge(e.After(), key, 0), args)
		if err != nil {
			return held, err
		}
		if len(reply) < 3+2*limits {
			return held, fmt.Errorf("redisstream: %w", errCut)
		}
		held.ResetAfter = max(held.ResetAfter, time.Duration(reply[2])*time.Millisecond)
		for i := range len(p.Limits) {
			at := 3 + 2*min(i, limits-1)
			addUsage(&held.Limits[i], store.LimitUsage{Used: reply[at], FreeIn: time.Duration(reply[at+1]) * time.Millisecond})
		}
	}
	return held, nil
}

// addUsage adds what another log holds of the same limit.
func addUsage(l *store.LimitUsage, more store.LimitUsage) {
	if more.Used > 0 && (l.Used == 0 || more.FreeIn < l.FreeIn) {
		l.FreeIn = more.FreeIn
	}
	l.Used += more.Used
}
