package redisstream

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/store"
)

//go:embed registry.lua
var registrySource string

// logsSuffix ends the prefix of the key of registry.lua.
const logsSuffix = "{logs}"

// RegisterLogs implements [store.Registrar].
func (s *Store) RegisterLogs(ctx context.Context, written []*store.Log) ([]store.RegisteredLog, error) {
	args := make([]any, 0, 4+2*len(written))
	args = append(args, "eval", registrySource, 1, s.prefix+logsSuffix)
	for _, p := range written {
		args = append(args, p.Name, (p.Longest + time.Minute).Milliseconds())
	}
	cmd := redis.NewStringSliceCmd(ctx, args...)
	// Registering twice is as good as once, so this may be retried.
	if err := s.plain(ctx, s.prefix+logsSuffix, cmd); err != nil {
		return nil, err
	}
	var logs []store.RegisteredLog
	for pair := range slices.Chunk(cmd.Val(), 2) {
		if len(pair) < 2 {
			return nil, fmt.Errorf("redisstream: logs: %w", errCut)
		}
		left, err := strconv.ParseInt(pair[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("redisstream: logs: %w", err)
		}
		logs = append(logs, store.RegisteredLog{Name: pair[0], Left: time.Duration(left) * time.Millisecond})
	}
	return logs, nil
}
