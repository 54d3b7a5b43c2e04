//go:build !race

// The race detector makes these tests ten times slower, and so measures something else.
// make test runs them without it, and runs nothing else at the same time.

package faults

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/httplimit"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/examples/internal/program"
)

// A burst gets the units of its limit. A slow process or a slow server must not grant the
// limit a second time.
func TestRow30_Burst(t *testing.T) {
	r := row(t, 30)
	b := &burst{T: t, record: r, server: redistest.Start(t)}
	late := lateness()
	for i, p := range layouts("burst", core.PerMinute(100)) {
		callers := 8000
		if i == 0 {
			callers = scale(9000, 50_000)
		}
		b.allow(p, callers, core.FailLocal, 1)
	}
	b.allow(core.NewPolicy("several", core.PerMinute(100), core.PerHour(1000)), 8000, core.FailLocal, 1)
	b.allow(core.NewPolicy("closed", core.PerMinute(100)), 9000, core.FailClosed, 4)
	b.allowAll(8000)
	figure := b.total.took.within(t, "slowest answers:", tail(), longestWait, late())
	b.frameworks(scale(500, 2000))
	r.Figure("excess %d in %d requests at once by %d ways, %d overloaded; %s", b.excess, b.total.all(), b.ways, b.total.overloaded.Load(), figure)
	b.manyKeys()
	trip := scale(60*time.Millisecond, 95*time.Millisecond)
	b.slowServer(fmt.Sprint("far away by ", trip), func(proxy *redistest.Proxy) { proxy.Delay(0, trip) })
	b.slowServer("busy for 95 ms a script", oneByOne)
	b.hotKey()
	for _, name := range program.Servers[:scale(1, len(program.Servers))] {
		b.logIn(name)
	}
}

// burst is the sum of row 30.
type burst struct {
	*testing.T
	*record
	server *redistest.Server

	ways   int
	excess int64
	total  tally
}

// connect returns a limiter with a client of its own, which ends with the test.
func (b *burst) connect(addr string, options ...core.Option) *core.Limiter {
	rdb := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true, DialerRetries: 1})
	l := core.New(redisstream.New(rdb), options...)
	b.Cleanup(func() {
		l.Close()
		rdb.Close()
	})
	return l
}

// check checks the results of callers that share a limit of 100.
func (b *burst) check(what string, c *tally, limiters ...*core.Limiter) {
	b.Helper()
	excess := c.admitted.Load() - 100
	c.wantRedis(b.T, what, limiters...)
	if excess != 0 {
		b.Errorf("%s: %v; want 100 admitted", what, c)
	}
	b.ways++
	b.excess += max(excess, 0)
	b.total.plus(c)
}

// allow lets callers decide on one key. Some peek first, which takes nothing.
func (b *burst) allow(p *core.Policy, callers int, mode core.FailureMode, limiters int) {
	var all []*core.Limiter
	for range limiters {
		all = append(all, b.connect(b.server.Addr, core.WithFailureMode(mode)))
	}
	var c tally
	atOnce(callers, func(i int) {
		if i%10 == 0 {
			_, _ = all[i%len(all)].Peek(b.Context(), p, "k")
		}
		c.allow(b.Context(), all[i%len(all)], p, "k")
	})
	b.check(fmt.Sprintf("%s, %d limiters", p.Name(), limiters), &c, all...)
}

// allowAll lets callers decide under two policies at once.
func (b *burst) allowAll(callers int) {
	l := b.connect(b.server.Addr)
	narrow, wide := core.NewPolicy("narrow", core.PerMinute(100)), core.NewPolicy("wide", core.PerMinute(1000))
	var c tally
	atOnce(callers, func(int) {
		c.decide(func() (core.Decision, error) {
			decisions, err := l.AllowAll(b.Context(), core.Charge{Policy: narrow, Key: "k"}, core.Charge{Policy: wide, Key: "k"})
			if err != nil {
				return core.Decision{}, err
			}
			return decisions[0], nil
		})
	})
	b.check("AllowAll", &c, l)
}

// frameworks lets clients send requests to a service on each framework.
func (b *burst) frameworks(clients int) {
	apps["net/http"] = httpApp
	defer delete(apps, "net/http")
	for framework := range apps {
		l := b.connect(b.server.Addr)
		p := core.NewPolicy("service", core.PerMinute(100), core.VariableCost(), core.Refundable(0))
		addr, stop := serveApp(b.T, framework, app{limiter: l, policy: p, at: func(string, string) {}})
		transport := &http.Transport{}
		client := &http.Client{Transport: transport, Timeout: program.Timeout}
		var c tally
		atOnce(clients, func(int) {
			c.decide(func() (core.Decision, error) { return b.get(client, "http://"+addr, framework) })
		})
		b.check(framework, &c, l)
		if h := l.Health(); h.Local+h.Open > 0 {
			b.Errorf("%s: %+v, want no decision without Redis", framework, h)
		}
		transport.CloseIdleConnections()
		stop()
	}
}

// get sends a request to a service, and returns the decision in the response.
func (b *burst) get(client *http.Client, url, user string) (core.Decision, error) {
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return core.Decision{}, err
	}
	req.Header.Set("User", user)
	resp, err := client.Do(req)
	if err != nil {
		return core.Decision{}, err
	}
	resp.Body.Close()
	return answerOf(resp)
}

// answerOf returns the decision in an HTTP response.
func answerOf(resp *http.Response) (core.Decision, error) {
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		return core.Decision{Source: core.SourceRedis}, nil
	case resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
		return core.Decision{}, core.ErrOverloaded
	case resp.StatusCode == http.StatusOK, resp.StatusCode == http.StatusUnauthorized:
		return core.Decision{Source: core.SourceRedis, Allowed: true}, nil
	}
	return core.Decision{}, fmt.Errorf("status %d", resp.StatusCode)
}

func httpApp(a app) (func(net.Listener) error, func(context.Context) error) {
	limit := httplimit.New(a.limiter, a.policy, httplimit.WithKey(httplimit.ByHeader("User")))
	server := &http.Server{Handler: limit(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})), ReadTimeout: time.Minute}
	return server.Serve, server.Shutdown
}

// manyKeys lets callers decide on many keys. Some keys have several callers.
func (b *burst) manyKeys() {
	const keys, callers = 20_000, 30_000
	l := b.connect(b.server.Addr)
	p := core.NewPolicy("keys", core.PerHour(1), core.Refundable(0))
	var c tally
	admitted := make([]atomic.Int64, keys)
	atOnce(callers, func(i int) {
		c.decide(func() (core.Decision, error) {
			d, err := l.Allow(b.Context(), p, fmt.Sprint(i%keys))
			if d.Allowed {
				admitted[i%keys].Add(1)
			}
			return d, err
		})
	})
	c.wantRedis(b.T, "many keys", l)
	b.Figure("%d keys: excess %d, %d overloaded of %d", keys, b.exceeded("many keys", admitted, 1), c.overloaded.Load(), callers)
}

// warm sends the first requests to a service with a slow server. After the first response
// the store reads the server's settings.
func (b *burst) warm(l *core.Limiter, p *core.Policy) {
	for range 3 {
		_, _ = l.Allow(b.Context(), p, "first")
		time.Sleep(200 * time.Millisecond)
	}
}

// exceeded returns the units admitted above the limit, for all keys together.
func (b *burst) exceeded(what string, admitted []atomic.Int64, limit int64) (excess int64) {
	b.Helper()
	for i := range admitted {
		if n := admitted[i].Load() - limit; n > 0 {
			excess += n
		}
	}
	if excess != 0 {
		b.Errorf("%s: %d admitted too many", what, excess)
	}
	return excess
}

// oneByOne makes a server respond to one script after the other, each in 95 ms. The
// script itself takes 3 ms of this time.
func oneByOne(proxy *redistest.Proxy) {
	var one sync.Mutex
	proxy.Rule(func(words []string) redistest.Fate {
		if strings.HasPrefix(words[0], "eval") {
			one.Lock()
			defer one.Unlock()
			time.Sleep(92 * time.Millisecond)
		}
		return redistest.Fate{}
	})
}

// slowServer sends 2,000 requests a second to a slow server, whatever the responses. A
// request that would wait for too long gets an error at once.
func (b *burst) slowServer(what string, slow func(*redistest.Proxy)) {
	const keys, rate = 100, 2000
	length := scale(1500*time.Millisecond, 30*time.Second)
	limit := int64(length.Seconds() * rate / keys / 2)
	proxy := redistest.NewProxy(b, b.server.Addr)
	l := b.connect(proxy.Addr)
	p := core.NewPolicy("slow", core.PerHour(limit), core.VariableCost())
	slow(proxy)
	b.warm(l, p)
	var c tally
	admitted := make([]atomic.Int64, keys)
	end := lateness()
	came := steadily(rate, length, func(i int) {
		c.decide(func() (core.Decision, error) {
			key := i % keys
			d, err := l.Allow(b.Context(), p, fmt.Sprint(what, key))
			if d.Allowed {
				admitted[key].Add(1)
			}
			return d, err
		})
	})
	late := end()
	c.wantRedis(b.T, what, l)
	middle := c.admission.of(0.5)
	if c.admitted.Load() == 0 || middle > 300*time.Millisecond+2*late {
		b.Errorf("%s: %v, p50 of the admitted %v, want at most 300ms with the machine late by %v", what, &c, ms(middle), ms(late))
	}
	c.took.within(b.T, what, tail(), longestWait, late)
	b.Figure("%s: excess %d, %d of %d decided, p50 of the admitted %v", what, b.exceeded(what, admitted, limit), c.byRedis(), came, ms(middle))
}

// hotKey sends most requests for one key, to a slow server. Requests for other keys are
// still decided.
func (b *burst) hotKey() {
	const keys, rate = 50, 2000
	length := scale(1500*time.Millisecond, 30*time.Second)
	proxy := redistest.NewProxy(b, b.server.Addr)
	l := b.connect(proxy.Addr)
	p := core.NewPolicy("beside", core.PerHour(1_000_000), core.Refundable(0))
	oneByOne(proxy)
	b.warm(l, p)
	var hot, others tally
	steadily(rate, length, func(i int) {
		if i%10 == 0 {
			others.allow(b.Context(), l, p, fmt.Sprint("key ", i/10%keys))
		} else {
			hot.allow(b.Context(), l, p, "hot")
		}
	})
	hot.wantRedis(b.T, "a hot key", l)
	others.wantRedis(b.T, "beside a hot key", l)
	share := float64(others.byRedis()) / float64(others.all())
	if share < scale(0.9, 0.95) { // some come before the hot key's share is known
		b.Errorf("beside a hot key: %v; want nearly all decided", &others)
	}
	b.Figure("beside a hot key (%d of %d decided) %.1f %% of the others decided, p50 %v",
		hot.byRedis(), hot.all(), 100*share, ms(others.took.of(0.5)))
}

// logIn tries passwords on many connections to an example server.
func (b *burst) logIn(name string) {
	const connections = 3000
	site := program.Start(b, name, "REDIS_URL=redis://"+b.server.Addr, "TRUSTED_PROXIES=127.0.0.0/8")
	transport := &http.Transport{MaxIdleConnsPerHost: connections}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: program.Timeout}
	visitor := newVisitor()
	var c tally
	begun := time.Now()
	atOnce(connections, func(int) {
		for range scale(2, 5) {
			c.decide(func() (core.Decision, error) {
				req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, site.URL+"/login", strings.NewReader(`{"user":"demo","password":"wrong"}`))
				if err != nil {
					return core.Decision{}, err
				}
				req.Header.Set("X-Forwarded-For", visitor)
				resp, err := client.Do(req)
				if err != nil {
					return core.Decision{}, err
				}
				resp.Body.Close()
				return answerOf(resp)
			})
		}
	})
	if took := time.Since(begun); took > 50*time.Second {
		b.Fatalf("%s: passwords tried for %v, which is as long as the window", name, took)
	}
	c.wantRedis(b.T, name)
	if c.admitted.Load() != 5 {
		b.Errorf("%s: %v; want 5 admitted\n%s", name, &c, site.Log())
	}
	b.Figure("%s, wrong passwords by %d connections: %d of 5 admitted, %d denied, %d overloaded",
		name, connections, c.admitted.Load(), c.denied.Load(), c.overloaded.Load())
}
