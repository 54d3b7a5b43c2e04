package redisstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// maxPending bounds the commands that wait for Redis at once, including those
// whose callers have given up.
const maxPending = 4096

// lane bounds the commands under way.
type lane chan struct{}

func newLane() lane { return make(lane, maxPending) }

// do sends a command and returns by the store's timeout, or when ctx ends.
//
// It does not rely on the client for that: by default go-redis ignores the
// deadline of a context while it reads and writes. The command runs in a
// goroutine of its own, which ends when the client gives up; that there are
// never more than maxPending of them bounds what a frozen server can pile up.
func (s *Store) do(caller context.Context, cmd redis.Cmder) error {
	if err := caller.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(caller, s.timeout)
	defer cancel()
	select {
	case s.lane <- struct{}{}:
	case <-ctx.Done():
		return s.giveUp(caller)
	}
	done := make(chan error, 1)
	go func() {
		err := s.rdb.Process(ctx, cmd)
		<-s.lane
		done <- err
	}()
	select {
	case err := <-done:
		if errors.Is(err, context.DeadlineExceeded) {
			return s.giveUp(caller)
		}
		return err
	case <-ctx.Done():
		return s.giveUp(caller)
	}
}

// giveUp is the error of a command without an answer: it may have run or not.
func (s *Store) giveUp(caller context.Context) error {
	if err := caller.Err(); err != nil {
		return err
	}
	return fmt.Errorf("no answer within %v: %w", s.timeout, context.DeadlineExceeded)
}
