package main

import (
	"context"
	_ "embed"

	"github.com/redis/go-redis/v9"
)

//go:embed sortedset.lua
var sortedSetSource string

// makeSortedSet is the usual exact log: a sorted set of times, and a script.
func makeSortedSet(l *link, q quota) (allow, error) {
	script := redis.NewScript(sortedSetSource)
	return func(ctx context.Context, key string) (bool, error) {
		n, err := script.Run(ctx, l.rdb, []string{"zset:" + key}, q.max, q.window.Microseconds()).Int()
		return n == 1, err
	}, nil
}
