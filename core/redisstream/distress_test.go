//go:build !race

// The race detector makes all of this ten times slower, and so measures something else:
// make test runs these tests without it, and nothing beside them.

package redisstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
)

// tally counts what callers of a limiter get.
type tally struct {
	admitted, denied, fallback, overloaded, failed atomic.Int64
	slowest                                        atomic.Int64
	last                                           atomic.Pointer[error]
}

func (c *tally) ask(ctx context.Context, l *core.Limiter, p *core.Policy, key string) {
	begun := time.Now()
	d, err := l.Allow(ctx, p, key)
	took := int64(time.Since(begun))
	for old := c.slowest.Load(); took > old && !c.slowest.CompareAndSwap(old, took); old = c.slowest.Load() {
	}
	switch {
	case errors.Is(err, store.ErrOverloaded):
		c.overloaded.Add(1)
	case err != nil:
		c.failed.Add(1)
		c.last.Store(&err)
	default:
		if d.Source == core.SourceFallback {
			c.fallback.Add(1)
		}
		if d.Allowed {
			c.admitted.Add(1)
		} else {
			c.denied.Add(1)
		}
	}
}

func (c *tally) String() string {
	s := fmt.Sprintf("admitted %d, denied %d, fallback %d, overloaded %d, failed %d, slowest %v",
		c.admitted.Load(), c.denied.Load(), c.fallback.Load(), c.overloaded.Load(), c.failed.Load(), time.Duration(c.slowest.Load()))
	if err := c.last.Load(); err != nil {
		s += fmt.Sprintf(", last error %v", *err)
	}
	return s
}

// A burst, however large, gets what the limit admits: on a healthy server nobody
// is decided by a second budget.
func TestBurst(t *testing.T) {
	server := redistest.Start(t)
	for _, test := range []struct {
		name    string
		callers int
		options []core.PolicyOption
	}{
		{"9000 at once", 9000, nil},
		{"50000 at once", 50_000, nil},
		{"refundable, 8000 at once", 8000, []core.PolicyOption{core.Refundable(0)}},
		{"several limits, 8000 at once", 8000, []core.PolicyOption{core.PerHour(1000)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := server.Options()
			o.ContextTimeoutEnabled = true
			rdb := redis.NewClient(o)
			defer rdb.Close()
			rdb.FlushAll(t.Context())
			l := core.New(New(rdb))
			defer l.Close()
			p := core.NewPolicy("p", append([]core.PolicyOption{core.PerMinute(100)}, test.options...)...)
			var c tally
			var all sync.WaitGroup
			start := make(chan struct{})
			for range test.callers {
				all.Go(func() { <-start; c.ask(t.Context(), l, p, "k") })
			}
			close(start)
			all.Wait()
			t.Logf("figure: %s: %v", test.name, &c)
			if c.admitted.Load() != 100 || c.fallback.Load() != 0 || c.failed.Load() != 0 || l.Health().Down != nil {
				t.Errorf("%v, want 100 admitted and nobody by a fallback", &c)
			}
		})
	}
}

// While the processors are busy with other work, replies are seen late. The
// server is not to blame.
func TestBusyProcess(t *testing.T) {
	server := redistest.Start(t)
	s, err := Open("redis://" + server.Addr)
	must(t, err)
	l := core.New(s)
	defer l.Close()
	if _, err := l.Allow(t.Context(), core.NewPolicy("other", core.PerHour(100)), "k"); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	defer close(stop)
	for range 48 {
		go func() {
			for n := 0; ; n++ {
				if n%1000 == 0 {
					select {
					case <-stop:
						return
					default:
					}
				}
			}
		}()
	}
	p := core.NewPolicy("p", core.PerHour(100))
	var c tally
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 10 {
				c.ask(t.Context(), l, p, "k")
			}
		})
	}
	all.Wait()
	t.Logf("figure: %v", &c)
	if c.admitted.Load() != 100 || c.fallback.Load() != 0 || l.Health().Down != nil {
		t.Errorf("%v, want 100 admitted and nobody by a fallback", &c)
	}
}

// A server that is far away decides all the same, from the first request on.
func TestFarServer(t *testing.T) {
	server := redistest.Start(t)
	for _, trip := range []time.Duration{5, 20, 36, 60, 80} {
		for _, callers := range []int{1, 50} {
			t.Run(fmt.Sprintf("%dms, %d callers", trip, callers), func(t *testing.T) {
				proxy := redistest.NewProxy(t, server.Addr)
				proxy.Delay(0, trip*time.Millisecond)
				for name, open := range map[string]func() *Store{
					"Open": func() *Store {
						s, err := Open("redis://" + proxy.Addr)
						must(t, err)
						return s
					},
					"defaults": func() *Store {
						rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr})
						t.Cleanup(func() { rdb.Close() })
						return New(rdb)
					},
					"obeys contexts": func() *Store {
						rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr, ContextTimeoutEnabled: true, DialerRetries: 1})
						t.Cleanup(func() { rdb.Close() })
						return New(rdb)
					},
				} {
					s := open()
					l := core.New(s)
					p := core.NewPolicy("p", core.PerHour(100_000))
					var c tally
					var all sync.WaitGroup
					for i := range callers {
						all.Go(func() {
							for range max(3, 30/callers) {
								c.ask(t.Context(), l, p, fmt.Sprint(name, i%7))
							}
						})
					}
					all.Wait()
					if c.fallback.Load()+c.overloaded.Load()+c.failed.Load() > 0 || l.Health().Down != nil {
						t.Errorf("%s: %v", name, &c)
					}
					must(t, l.Close())
				}
			})
		}
	}
}

// Callers that give up before the server answers do not make it count as down.
func TestImpatientCallers(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr)
	proxy.Delay(0, 80*time.Millisecond)
	rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr, ContextTimeoutEnabled: true})
	defer rdb.Close()
	l := core.New(New(rdb))
	defer l.Close()
	p := core.NewPolicy("p", core.PerHour(100_000))
	var patient, impatient tally
	var all sync.WaitGroup
	for i := range 10 {
		all.Go(func() {
			for range 10 {
				if i%2 == 0 {
					patient.ask(t.Context(), l, p, "k")
					continue
				}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
				impatient.ask(ctx, l, p, "k")
				cancel()
			}
		})
	}
	all.Wait()
	if patient.fallback.Load()+patient.overloaded.Load()+patient.failed.Load() > 0 || l.Health().Down != nil {
		t.Errorf("those who wait: %v; those who do not: %v; %+v", &patient, &impatient, l.Health())
	}
}

// Whoever's deadline ends first, the failure mode holds, and the breaker opens.
func TestFrozenServerAndCallersDeadlines(t *testing.T) {
	for _, mode := range []core.FailureMode{core.FailLocal, core.FailOpen, core.FailClosed} {
		for _, deadline := range []time.Duration{20, 45, 90} {
			t.Run(fmt.Sprintf("%v, %dms", mode, deadline), func(t *testing.T) {
				server := redistest.Start(t)
				rdb := server.Client()
				l := core.New(New(rdb), core.WithFailureMode(mode))
				defer l.Close()
				p := core.NewPolicy("p", core.PerHour(1000))
				if _, err := l.Allow(t.Context(), p, "k"); err != nil {
					t.Fatal(err)
				}
				server.Freeze()
				defer server.Thaw()
				var c tally
				frozen := time.Now()
				opened := time.Duration(0)
				for range 60 {
					ctx, cancel := context.WithTimeout(t.Context(), deadline*time.Millisecond)
					c.ask(ctx, l, p, "k")
					cancel()
					if opened == 0 && l.Health().Down != nil {
						opened = time.Since(frozen)
					}
				}
				wrong := c.failed.Load()
				if mode == core.FailClosed {
					wrong = c.admitted.Load()
				}
				if wrong != 0 || opened == 0 || opened > time.Second {
					t.Errorf("%v; the breaker opened after %v", &c, opened)
				}
			})
		}
	}
}

// Idle connections that were reset fail nobody but, perhaps, one whose decision was
// under way.
func TestIdleConnectionsAreReset(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr)
	rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr, ContextTimeoutEnabled: true})
	defer rdb.Close()
	l := core.New(New(rdb))
	defer l.Close()
	p := core.NewPolicy("p", core.PerHour(100_000))
	bad := 0
	for round := range 20 {
		var c tally
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() { c.ask(t.Context(), l, p, fmt.Sprint("k", i%10)) })
		}
		all.Wait()
		if c.fallback.Load() > 1 || c.failed.Load() > 0 || c.overloaded.Load() > 0 {
			bad++
			t.Logf("round %d: %v", round, &c)
			// The next round begins when the breaker has closed.
			for begun := time.Now(); len(l.Health().Down) > 0 && time.Since(begun) < 5*time.Second; time.Sleep(10 * time.Millisecond) {
				_, _ = l.Allow(t.Context(), p, "k")
			}
		}
		proxy.Reset()
	}
	// A machine that stops for the timeout looks like a server that does not answer.
	if bad > 1 {
		t.Errorf("in %d of 20 rounds more than one request was decided without the server", bad)
	}
}

// A question with a script of its own is put again when its connection can't be
// made, and ends with an error.
func TestQuestionsWhenConnectionsAreLost(t *testing.T) {
	server := redistest.Start(t)
	o := server.Options()
	o.DialerRetries = 1
	rdb := redis.NewClient(o)
	defer rdb.Close()
	s := New(rdb)
	defer s.Close()
	take(t, s, countedLog, "k")
	server.Kill()
	v := &s.batcher.one
	v.mu.Lock()
	v.ready = 3 // as far as this process knows
	v.mu.Unlock()
	if _, err := s.Peek(t.Context(), countedLog, "k", 1); err == nil {
		t.Error("an answer from a server that was stopped")
	}
}

// A server that responds to one script after the other, each in 95 ms, decides what it
// can. Other requests are rejected as they arrive. Few scripts wait behind another, since
// they would be late: only while the time of a script is not known, and after a script
// without a response in time.
func TestSlowServer(t *testing.T) {
	for name, slowFrom := range map[string]int{"from the start": 0, "later": 1000} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			p := core.NewPolicy("p", core.PerHour(1_000_000), core.VariableCost())
			log := p.Log()
			loaded := New(server.Client()) // the scripts
			take(t, loaded, log, "k")
			loaded.runTogether([]*waiter{waiterFor(log, loaded.logKey(log, "a"), 1), waiterFor(log, loaded.logKey(log, "b"), 1)})
			proxy := redistest.NewProxy(t, server.Addr)
			var slow atomic.Bool
			var one sync.Mutex
			var behind, unanswered atomic.Int64
			proxy.Rule(func(words []string) redistest.Fate {
				if !slow.Load() || words[0] != "evalsha" && words[0] != "eval" {
					return redistest.Fate{}
				}
				if !one.TryLock() {
					behind.Add(1)
					one.Lock()
				}
				defer one.Unlock()
				time.Sleep(92 * time.Millisecond) // the script itself takes about 3 ms
				return redistest.Fate{}
			})
			rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr, ContextTimeoutEnabled: true})
			defer rdb.Close()
			s := New(rdb)
			defer s.Report(func(_ store.Charge, err error) {
				if err != nil {
					unanswered.Add(1)
				}
			})()
			l := core.New(s)
			defer l.Close()
			var c tally
			var all sync.WaitGroup
			for i := range 6000 { // in 3 s
				slow.Store(i >= slowFrom)
				all.Go(func() { c.ask(t.Context(), l, p, fmt.Sprint("k", i%100)) })
				if i%2 == 1 {
					time.Sleep(time.Millisecond)
				}
			}
			all.Wait()
			t.Logf("figure: %v; %d scripts behind another, %d not answered in time", &c, behind.Load(), unanswered.Load())
			if c.failed.Load() > 0 || l.Health().Down != nil || c.admitted.Load() < 2500 {
				t.Errorf("%v, %+v; want no error, and half of them decided", &c, l.Health())
			}
			if n := behind.Load(); n > 3+2*unanswered.Load() {
				t.Errorf("%d scripts were sent behind another, and %d not answered in time", n, unanswered.Load())
			}
		})
	}
}
