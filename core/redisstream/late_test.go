package redisstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
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

// slowConn is a connection of a process that gets no processor after it has sent a script.
type slowConn struct {
	net.Conn
	late   *atomic.Bool
	missed bool // its deadline is over before it looks at the connection
	script bool
}

func (c *slowConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if c.script = c.late.Load() && bytes.Contains(b, []byte("evalsha")); c.script && !c.missed {
		time.Sleep(DefaultTimeout * 3 / 2)
	}
	return n, err
}

func (c *slowConn) Read(b []byte) (int, error) {
	if c.script && c.missed {
		time.Sleep(DefaultTimeout * 3 / 2)
		return 0, os.ErrDeadlineExceeded
	}
	return c.Conn.Read(b)
}

// A caller that waits for its answer itself and comes late to read it blames no server.
func TestLateCaller(t *testing.T) {
	for _, missed := range []bool{false, true} {
		t.Run(fmt.Sprint("missed ", missed), func(t *testing.T) {
			server := redistest.Start(t)
			p := newLog("p", core.PerMinute(1000))
			take(t, New(server.Client()), p, "k") // loads the script
			var late atomic.Bool
			o := server.Options()
			o.ContextTimeoutEnabled = true
			o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, addr)
				return &slowConn{Conn: conn, late: &late, missed: missed}, err
			}
			rdb := redis.NewClient(o)
			t.Cleanup(func() { rdb.Close() })
			s := New(rdb)
			t.Cleanup(func() { s.Close() })
			var failures atomic.Int64
			s.Report(func(_ store.Charge, err error) {
				if err != nil {
					failures.Add(1)
				}
			})
			s.check.begun.Store(true) // it runs scripts as well
			take(t, s, p, "other")    // makes a connection, without which no caller waits itself
			late.Store(true)
			_, err := s.Take(t.Context(), p, "k", 1)
			if missed && !errors.Is(err, store.ErrOverloaded) || !missed && err != nil {
				t.Errorf("got %v", err)
			}
			if n := failures.Load(); n != 0 {
				t.Errorf("%d failures of the server", n)
			}
		})
	}
}
