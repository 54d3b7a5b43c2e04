package redisstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
)

// lateReplies is a hook by which the reply to a registration is late.
type lateReplies struct{ sent chan struct{} }

func (lateReplies) DialHook(next redis.DialHook) redis.DialHook { return next }

func (lateReplies) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h lateReplies) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if cmd.Name() == "eval" && len(cmd.Args()) > 3 && strings.HasSuffix(fmt.Sprint(cmd.Args()[3]), logsSuffix) {
			h.sent <- struct{}{}
			time.Sleep(DefaultTimeout * 3 / 2)
		}
		return err
	}
}

// A registration that is answered too late fails no decision that waits behind it.
func TestLateRegistration(t *testing.T) {
	rdb := redistest.Start(t).Client()
	late := lateReplies{make(chan struct{}, 1)}
	rdb.AddHook(late)
	s := New(rdb)
	p := newLog("p", core.PerMinute(1))
	registered := make(chan error)
	go func() {
		_, err := s.RegisterLogs(t.Context(), []*store.Log{p})
		registered <- err
	}()
	<-late.sent
	if u, err := s.Take(t.Context(), p, "k", 1); err != nil || !u.Allowed {
		t.Errorf("%+v, %v, want it admitted", u, err)
	}
	if err := <-registered; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want no answer in time", err)
	}
}
