package faults

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// wrongClock is a client's hook. It runs scripts as on a server whose clock is ahead by a
// number of seconds, so that they write the same entries.
type wrongClock struct{ ahead atomic.Int64 }

// aheadSource is the beginning of such a script.
const aheadSource = `#!lua
local server, ahead = redis, %d
local redis = { pcall = server.pcall, call = function(command, ...)
  local args = { ... }
  if command == 'XADD' and args[2] == '*' and ahead > 0 then
    local time = server.call('TIME')
    args[2] = string.format('%%d-*', (time[1] + ahead) * 1000 + math.floor(time[2] / 1000))
  end
  local reply = server.call(command, unpack(args))
  if command == 'TIME' then reply[1] = reply[1] + ahead end
  return reply
end }
`

// ProcessHook gets the full text of each script: the server never got the unchanged
// script, and so does not know its digest.
func (w *wrongClock) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if args := cmd.Args(); args[0] == "eval" {
			source := strings.TrimPrefix(args[1].(string), "#!lua\n")
			args[1] = fmt.Sprintf(aheadSource, w.ahead.Load()) + source
		}
		return next(ctx, cmd)
	}
}

func (*wrongClock) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (*wrongClock) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// Half of the budget is used while the clock is ahead, and the rest just after it has
// stepped back. No request may fail, and none may be admitted above the limit. The budget
// must be back after the step and the window.
func TestRow18_ClockStepsBack(t *testing.T) {
	r := row(t, 18)
	step := scale(3*time.Second, time.Minute)
	server := redistest.Start(t)
	clock := &wrongClock{}
	rdb := patient(server.Options())
	t.Cleanup(func() { rdb.Close() })
	rdb.AddHook(clock)
	var memoryAhead atomic.Int64
	memory := core.NewMemory(core.WithClock(func() time.Time {
		return time.Now().Add(time.Duration(memoryAhead.Load()) * time.Second)
	}))
	t.Cleanup(func() { memory.Close() })

	seconds := int64(step / time.Second)
	clock.ahead.Store(seconds)
	memoryAhead.Store(seconds)
	var subjects []*stepped
	for _, p := range layouts("step", core.PerSecond(6)) {
		for _, store := range []core.Store{redisstream.New(rdb, redisstream.WithTimeout(patience)), memory} {
			s := &stepped{T: t, Store: store, policy: p}
			subjects = append(subjects, s)
			for range 3 {
				s.mustTake()
			}
		}
	}
	clock.ahead.Store(0)
	memoryAhead.Store(0)
	var group sync.WaitGroup
	for _, s := range subjects {
		group.Go(func() { s.afterStep(step) })
	}
	group.Wait()
	worst := time.Duration(0)
	for _, s := range subjects {
		worst = max(worst, s.blocked)
	}
	// It is at most the step plus the time between the two measurements.
	if slack := 2 * time.Second; worst > step+slack {
		t.Errorf("over-blocked for %v after a step of %v", worst, step)
	}
	r.Figure("over-blocking at most %.1f s after a step of %v, on %d logs, memory's too",
		worst.Seconds(), step, len(subjects))
}

// stepped is a log with entries in the future.
type stepped struct {
	*testing.T
	core.Store
	policy  *core.Policy
	blocked time.Duration // longer than without the step
}

func (s *stepped) take() bool {
	u, err := s.Take(s.Context(), s.policy.Log(), "k", 1)
	if err != nil {
		s.Errorf("%s: %v", s.policy, err)
	}
	return u.Allowed
}

func (s *stepped) mustTake() {
	if !s.take() {
		s.Errorf("%s: denied while there is room", s.policy)
	}
}

func (s *stepped) afterStep(step time.Duration) {
	window := s.policy.Log().Longest
	for range 3 {
		s.mustTake()
	}
	full := time.Now()
	u, err := s.Peek(s.Context(), s.policy.Log(), "k", 1)
	if err != nil || u.Allowed {
		s.Errorf("%s: %+v, %v; want a denial", s.policy, u, err)
	}
	if u.ResetAfter < step-time.Second {
		s.Errorf("%s: reset after %v: its entries are not from the future", s.policy, u.ResetAfter)
	}
	// Units of a coarse log come back up to a slice late.
	if most := step + window + s.policy.Log().Slice; u.RetryAfter > most || u.ResetAfter > most {
		s.Errorf("%s: to wait %v and %v after a step of %v", s.policy, u.RetryAfter, u.ResetAfter, step)
	}
	for !s.take() {
		if time.Since(full) > 2*step+10*time.Second {
			s.Errorf("%s: still denied after %v", s.policy, time.Since(full))
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	waited := time.Since(full)
	if waited < window/2 { // the first entries are older than full
		s.Errorf("%s: admitted again after %v", s.policy, waited)
	}
	s.blocked = waited - window

	// Afterwards the limit holds as before.
	time.Sleep(window + s.policy.Log().Slice + 100*time.Millisecond)
	start, admitted := time.Now(), 0
	for range 20 {
		if s.take() {
			admitted++
		}
	}
	if limit := int(s.policy.Limits()[0].Max); admitted < limit || admitted > limit && time.Since(start) < window {
		s.Errorf("%s: %d admitted after it, want %d", s.policy, admitted, limit)
	}
}
