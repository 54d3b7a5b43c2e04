package redisstream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
)

// do sends a command and returns when ctx ends, which is the caller's context
// with the store's timeout.
//
// By default go-redis ignores the deadline of a context while it reads and
// writes. So the command runs aside, unless the client was made with
// ContextTimeoutEnabled: then it keeps the deadline itself, and a lone caller
// is spared the way to another goroutine and back.
func (s *Store) do(caller, ctx context.Context, cmd redis.Cmder) error {
	if s.closed.Load() {
		return core.ErrClosed
	}
	if err := caller.Err(); err != nil {
		return err
	}
	var err error
	if s.keepsDeadlines {
		err = s.process(ctx, cmd)
	} else {
		err = s.aside(ctx, cmd)
	}
	switch {
	case err == nil:
		return nil
	case caller.Err() != nil:
		return caller.Err()
	case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded):
		// The command may have run or not. The client's own time can be shorter than
		// both.
		own, _ := ctx.Deadline()
		if at, ok := caller.Deadline(); ok && !at.After(own) && time.Until(at) < 5*time.Millisecond {
			// It is the caller's time that is up, of which the socket knows a moment
			// before the context. That is no failure of the server.
			<-caller.Done()
			return caller.Err()
		}
		return s.noAnswer()
	}
	return err
}

func (s *Store) noAnswer() error {
	return fmt.Errorf("no answer in time (at most %v): %w", s.timeout, context.DeadlineExceeded)
}

// aside runs a command in a goroutine of its own, which ends when the client
// gives up. There are never more than maxPending of them, which bounds what a
// frozen server can pile up.
func (s *Store) aside(ctx context.Context, cmd redis.Cmder) error {
	select {
	case s.pending <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan error, 1)
	go func() {
		err := s.process(ctx, cmd)
		<-s.pending
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// process has the client run a command. Replies of which no server could be the
// author, such as an array of 2^60 elements, make it panic.
func (s *Store) process(ctx context.Context, cmd redis.Cmder) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the client of Redis panicked: %v", r)
		}
	}()
	return s.rdb.Process(ctx, cmd)
}

// maxPending bounds the commands that run aside, including those whose callers
// have given up.
const maxPending = 4096

// keepsDeadlines is whether the client obeys the deadline of a context.
func keepsDeadlines(rdb redis.UniversalClient) bool {
	switch c := rdb.(type) {
	case *redis.Client:
		return c.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		return c.Options().ContextTimeoutEnabled
	case *redis.Ring:
		return c.Options().ContextTimeoutEnabled
	}
	return false
}
