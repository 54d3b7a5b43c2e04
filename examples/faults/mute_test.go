//go:build !race

// The race detector makes these tests ten times slower, and so measures something else.
// make test runs them without it, and runs nothing else at the same time.

package faults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
)

// mutes are ways in which a server stops responding to decisions. Each acts on a client
// that got responses before.
var mutes = map[string]func(t *testing.T, m *muted){
	"frozen": func(t *testing.T, m *muted) {
		m.server.Freeze()
		t.Cleanup(m.server.Thaw)
	},
	"1 of 3 answered": func(_ *testing.T, m *muted) {
		var n atomic.Int64
		m.proxy.Rule(func(words []string) redistest.Fate {
			if isScript(words) && n.Add(1)%3 != 0 {
				return redistest.Swallow()
			}
			return redistest.Fate{}
		})
	},
	"only PING answered": func(_ *testing.T, m *muted) {
		m.proxy.Rule(redistest.Scripts(redistest.Swallow()))
	},
	"black hole": func(t *testing.T, m *muted) {
		hole := blackHole(t)
		m.addr.Store(&hole)
		m.proxy.Down()
	},
}

func isScript(words []string) bool { return words[0] == "evalsha" || words[0] == "eval" }

// muted is a server with a client.
type muted struct {
	server *redistest.Server
	proxy  *redistest.Proxy
	addr   atomic.Pointer[string] // which the client dials
	rdb    *redis.Client
}

func newMuted(t *testing.T) *muted {
	t.Helper()
	m := &muted{server: redistest.Start(t)}
	m.proxy = redistest.NewProxy(t, m.server.Addr)
	m.addr.Store(&m.proxy.Addr)
	m.rdb = redis.NewClient(&redis.Options{
		ContextTimeoutEnabled: true, DialerRetries: 1,
		Dialer: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, *m.addr.Load())
		},
	})
	t.Cleanup(func() { m.rdb.Close() })
	return m
}

// The failure mode holds and the breaker opens, whichever deadline ends first. Callers
// that give up early do not open the breaker.
func TestRow34_Deadlines(t *testing.T) {
	r := row(t, 34)
	modes := []core.FailureMode{core.FailLocal, core.FailOpen, core.FailClosed}
	deadlines := scale([]time.Duration{20, 0}, []time.Duration{20, 30, 45, 60, 90, 0})
	type figures struct {
		longest, opened time.Duration
		questions       int
	}
	of := make(map[string]*figures)
	var mu sync.Mutex
	var group sync.WaitGroup
	late := lateness()
	for name, mute := range mutes {
		f := &figures{}
		of[name] = f
		for _, mode := range modes {
			group.Go(func() {
				for _, deadline := range deadlines {
					longest, opened, questions := callMuted(t, name, mute, mode, deadline*time.Millisecond)
					mu.Lock()
					f.longest, f.opened, f.questions = max(f.longest, longest), max(f.opened, opened), f.questions+questions
					mu.Unlock()
				}
			})
		}
	}
	group.Wait()
	was := late()
	for _, name := range slices.Sorted(maps.Keys(of)) {
		f := of[name]
		if f.longest >= 2*redisstream.DefaultTimeout+2*was || f.opened > time.Second+2*was {
			t.Errorf("%s: the longest wait was %v, and the breaker opened after %v; want less than %v and 1 s with the machine late by %v",
				name, ms(f.longest), ms(f.opened), 2*redisstream.DefaultTimeout, ms(was))
		}
		r.Figure("%s: %d questions, longest wait %v, breaker open after %v", name, f.questions, ms(f.longest), ms(f.opened))
	}
	r.Figure("black hole at the start: longest wait %v", ms(firstDial(t)))
	impatient(t, r)
}

// callMuted stops the responses of a server under callers with a deadline, or without one
// if it is 0. It returns the longest wait, and when the breaker opened.
func callMuted(t *testing.T, name string, mute func(*testing.T, *muted), mode core.FailureMode, deadline time.Duration) (longest, opened time.Duration, questions int) {
	what := fmt.Sprintf("%s, %v, callers' deadline %v", name, mode, deadline)
	m := newMuted(t)
	l := core.New(redisstream.New(m.rdb), core.WithFailureMode(mode))
	t.Cleanup(func() { l.Close() })
	p := core.NewPolicy("muted", core.PerHour(1_000_000), core.VariableCost())
	atOnce(20, func(int) { _, _ = l.Allow(t.Context(), p, "k") })
	time.Sleep(100 * time.Millisecond) // for the store to have looked at its server
	mute(t, m)
	late := lateness()
	begun := time.Now()
	var c tally
	var watching sync.WaitGroup
	watching.Go(func() {
		for time.Since(begun) < 3*time.Second {
			if l.Health().Down != nil {
				opened = time.Since(begun)
				return
			}
			time.Sleep(time.Millisecond)
		}
		opened = 3 * time.Second
	})
	for time.Since(begun) < 1200*time.Millisecond {
		atOnce(5, func(i int) {
			ctx, cancel := t.Context(), context.CancelFunc(func() {})
			if deadline > 0 {
				ctx, cancel = context.WithTimeout(ctx, deadline)
			}
			defer cancel()
			c.allow(ctx, l, p, fmt.Sprint("k", i))
		})
		time.Sleep(5 * time.Millisecond)
	}
	watching.Wait()
	decided := c.admitted.Load() + c.denied.Load() // by Redis, before it was mute or now and then
	overloaded := c.overloaded.Load()
	if late() > 10*time.Millisecond {
		overloaded = max(0, overloaded-4) // callers that were late to read an answer
	}
	wrong := c.failed.Load() + overloaded
	if opened > time.Second {
		t.Logf("%s: the breaker opened after %v", what, ms(opened))
	}
	switch mode {
	case core.FailLocal:
		wrong += c.open.Load()
	case core.FailOpen:
		wrong += c.fallback.Load()
	case core.FailClosed:
		wrong = overloaded + c.open.Load() + c.fallback.Load()
		if err := c.failure.Load(); err == nil || !errors.Is(*err, context.DeadlineExceeded) && !errors.Is(*err, store.ErrDown) {
			t.Errorf("%s: %v; want errors", what, &c)
		}
	}
	if wrong > 0 || mode != core.FailClosed && decided == 0 {
		t.Errorf("%s: %v; want what the mode says", what, &c)
	}
	return c.took.of(1), opened, c.all()
}

// firstDial returns the longest wait of callers of a process whose server is a black
// hole from the start.
func firstDial(t *testing.T) time.Duration {
	m := newMuted(t)
	hole := blackHole(t)
	m.addr.Store(&hole)
	l := core.New(redisstream.New(m.rdb))
	t.Cleanup(func() { l.Close() })
	late := lateness()
	var first, later tally
	atOnce(100, func(i int) { first.allow(t.Context(), l, decided, fmt.Sprint("k", i)) })
	atOnce(100, func(i int) { later.allow(t.Context(), l, decided, fmt.Sprint("k", i)) })
	was := late()
	for c, most := range map[*tally]time.Duration{&first: time.Second + redisstream.DefaultTimeout, &later: redisstream.DefaultTimeout} {
		if c.fallback.Load() != 100 || c.took.of(1) > most+4*was { // a starved process has more time
			t.Errorf("a black hole at the start: %v; want all by fallback within %v with the machine late by %v", c, most, ms(was))
		}
	}
	return first.took.of(1)
}

// impatient runs callers that give up after 20 ms, with a server that takes 80 ms.
func impatient(t *testing.T, r *record) {
	proxy := redistest.NewProxy(t, redistest.Start(t).Addr)
	rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { rdb.Close() })
	l := core.New(redisstream.New(rdb), core.WithFailureMode(core.FailClosed))
	t.Cleanup(func() { l.Close() })
	atOnce(20, func(int) { _, _ = l.Allow(t.Context(), decided, "k") })
	time.Sleep(100 * time.Millisecond)
	proxy.Delay(0, 80*time.Millisecond)
	var patient, leaving tally
	atOnce(10, func(i int) {
		for range scale(10, 50) {
			if i%2 == 0 {
				patient.allow(t.Context(), l, decided, "k")
				continue
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			leaving.allow(ctx, l, decided, "k")
			cancel()
		}
	})
	patient.wantRedis(t, "those who wait for a Redis 80 ms away", l)
	if err := leaving.failure.Load(); err == nil || !errors.Is(*err, context.DeadlineExceeded) {
		t.Errorf("those who leave: %v; want errors of their deadlines", &leaving)
	}
	r.Figure("80 ms away: %d callers give up after 20 ms, %d of %d others by Redis, breaker closed", leaving.all(), patient.byRedis(), patient.all())
}

// blackHole returns an address that accepts no connection: a listener whose backlog is
// full.
func blackHole(t *testing.T) string {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(socket) })
	if err := errors.Join(syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(socket, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprint("127.0.0.1:", name.(*syscall.SockaddrInet4).Port)
	for range 10 {
		conn, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatal("the backlog of a listener does not fill")
	return ""
}
