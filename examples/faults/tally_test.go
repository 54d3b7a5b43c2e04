package faults

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
)

// longestWait bounds the wait of a caller: in this process for others, and then for the
// server.
const longestWait = redisstream.DefaultWaitBound + redisstream.DefaultTimeout

// tally counts the results of callers.
type tally struct {
	admitted, denied, overloaded atomic.Int64
	fallback, open               atomic.Int64 // of the admitted and denied, those without Redis
	failed                       atomic.Int64 // by other errors than overload
	failure                      atomic.Pointer[error]
	took, admission              latencies // of all, and of those that were admitted
}

// allow takes one unit from a limiter.
func (c *tally) allow(ctx context.Context, l *core.Limiter, p *core.Policy, key string) {
	c.decide(func() (core.Decision, error) { return l.Allow(ctx, p, key) })
}

// decide counts the result of a decision.
func (c *tally) decide(ask func() (core.Decision, error)) {
	begun := time.Now()
	d, err := ask()
	took := time.Since(begun)
	c.took.add(took)
	switch {
	case errors.Is(err, core.ErrOverloaded):
		c.overloaded.Add(1)
		return
	case err != nil:
		c.failed.Add(1)
		c.failure.Store(&err)
		return
	case d.Source == core.SourceFallback:
		c.fallback.Add(1)
	case d.Source == core.SourceNone:
		c.open.Add(1)
	}
	if d.Allowed {
		c.admitted.Add(1)
		c.admission.add(took)
	} else {
		c.denied.Add(1)
	}
}

// plus adds another tally.
func (c *tally) plus(other *tally) {
	for _, n := range []struct{ sum, more *atomic.Int64 }{
		{&c.admitted, &other.admitted}, {&c.denied, &other.denied}, {&c.overloaded, &other.overloaded},
		{&c.fallback, &other.fallback}, {&c.open, &other.open}, {&c.failed, &other.failed},
	} {
		n.sum.Add(n.more.Load())
	}
	c.took.all = append(c.took.all, other.took.all...)
	c.admission.all = append(c.admission.all, other.admission.all...)
}

// all returns the number of decisions.
func (c *tally) all() int { return c.took.count() }

// byRedis returns the number of decisions by Redis.
func (c *tally) byRedis() int64 {
	return c.admitted.Load() + c.denied.Load() - c.fallback.Load() - c.open.Load()
}

func (c *tally) String() string {
	s := fmt.Sprintf("%d admitted, %d denied, %d overloaded, %d by fallback, %d uncounted, %d failed, longest %v", c.admitted.Load(), c.denied.Load(),
		c.overloaded.Load(), c.fallback.Load(), c.open.Load(), c.failed.Load(), ms(c.took.of(1)))
	if err := c.failure.Load(); err != nil {
		s += fmt.Sprintf(" (%v)", *err)
	}
	return s
}

// wantRedis checks that Redis made all decisions, and that the limiter reports it as
// healthy. A caller may get ErrOverloaded.
func (c *tally) wantRedis(t *testing.T, what string, limiters ...*core.Limiter) {
	t.Helper()
	if c.fallback.Load()+c.open.Load()+c.failed.Load() > 0 {
		t.Errorf("%s: %v; want all by Redis", what, c)
	}
	for _, l := range limiters {
		if h := l.Health(); h.Down != nil {
			t.Errorf("%s: %+v, want a Redis that is healthy", what, h)
		}
	}
}

// atOnce starts that many callers at one moment, and waits for them.
func atOnce(callers int, ask func(i int)) {
	start := make(chan struct{})
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() {
			<-start
			ask(i)
		})
	}
	close(start)
	group.Wait()
}

// steadily starts callers at a rate for a time, without waiting for earlier ones. At the
// end it waits for all, and returns their number.
func steadily(perSecond int, length time.Duration, ask func(i int)) (came int) {
	var group sync.WaitGroup
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		passed := min(time.Since(begun), length)
		for ; came < int(passed.Seconds()*float64(perSecond)); came++ {
			i := came
			group.Go(func() { ask(i) })
		}
		if passed == length {
			break
		}
	}
	group.Wait()
	return came
}
