package main

import (
	"context"
	"time"

	"github.com/go-redis/redis_rate/v10"

	"github.com/streamlimit/streamlimit/core"
)

// twoLimits are the ways to two limits on a client: a policy that has both, and
// two calls, which is what there is without one.
var twoLimits = []peer{
	{name: us, make: func(l *link, q quota) (allow, error) {
		limiter := newLimiter(l)
		policy := core.NewPolicy("two", core.Per(q.max, q.window), core.Per(q.max, 24*time.Hour))
		return func(ctx context.Context, key string) (bool, error) {
			return answer(limiter.Allow(ctx, policy, key))
		}, nil
	}},
	{name: "redis_rate", make: func(l *link, q quota) (allow, error) {
		limiter := redis_rate.NewLimiter(l.rdb)
		hour := redis_rate.Limit{Rate: int(q.max), Burst: int(q.max), Period: q.window}
		day := redis_rate.Limit{Rate: int(q.max), Burst: int(q.max), Period: 24 * time.Hour}
		return func(ctx context.Context, key string) (bool, error) {
			one, err := limiter.Allow(ctx, "hour:"+key, hour)
			if err != nil || one.Allowed == 0 {
				return false, err
			}
			two, err := limiter.Allow(ctx, "day:"+key, day)
			if err != nil {
				return false, err
			}
			return two.Allowed > 0, nil
		}, nil
	}},
}
