package faults

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// Contexts of callers end at random, and clients disconnect at random, next to others
// that stay. Callers that stay must not be affected. The limiter must not count this as a
// failure of Redis, and nothing may leak. After its deadline a caller gets the result of
// the failure mode, and a canceled caller gets an error.
func TestRow23_ClientsGone(t *testing.T) {
	r := row(t, 23)
	server := redistest.Start(t)
	first := newGone(t, server)
	first.serve(16)
	first.close()
	before := goroutines(0) // with what frameworks start once and keep
	a := newGone(t, server)
	a.call(scale(2_000, 50_000))
	a.serve(scale(500, 10_000))
	if h := a.limiter.Health(); h.Open > a.gone.Load() || h.Closed+h.Local+h.Overloaded > 0 || len(h.Down) > 0 {
		t.Errorf("health %+v with %d gone: taken for failures of Redis", h, a.gone.Load())
	}
	a.close()
	after := goroutines(before)
	if after > before {
		buf := make([]byte, 1<<20)
		t.Errorf("%d goroutines before, %d after\n%s", before, after, buf[:runtime.Stack(buf, true)])
	}
	if a.gone.Load() == 0 || a.stayed.Load() == 0 {
		t.Errorf("%d gone, %d stayed: want some of each", a.gone.Load(), a.stayed.Load())
	}
	r.Figure("%d of %d gone, 0 failures; goroutines %d before, %d after", a.gone.Load(), a.gone.Load()+a.stayed.Load(), before, after)
}

// goroutines returns the number of goroutines, after it is at most most or some time has
// passed.
func goroutines(most int) int {
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > most && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
		if most == 0 { // those that end now are to have ended
			end = end.Add(-500 * time.Millisecond)
		}
	}
	return runtime.NumGoroutine()
}

// gone is a limiter with clients, of which many leave early.
type gone struct {
	*testing.T
	limiter      *core.Limiter
	policy       *core.Policy
	close        func()
	gone, stayed atomic.Int64
}

func newGone(t *testing.T, server *redistest.Server) *gone {
	t.Helper()
	rdb := patient(server.Options())
	limiter := core.New(redisstream.New(rdb, redisstream.WithTimeout(patience)), core.WithFailureMode(core.FailOpen))
	return &gone{
		T: t, limiter: limiter,
		policy: core.NewPolicy("gone", core.PerHour(1_000_000), core.VariableCost(), core.Refundable(0)),
		close: func() {
			limiter.Close()
			rdb.Close()
		},
	}
}

// soon returns a context that ends during a request or shortly after it: by a deadline,
// or canceled.
func soon(ctx context.Context) (context.Context, context.CancelFunc) {
	after := rand.N(3 * time.Millisecond)
	if rand.N(2) == 0 {
		return context.WithTimeout(ctx, after)
	}
	ctx, cancel := context.WithCancel(ctx)
	timer := time.AfterFunc(after, cancel)
	return ctx, func() {
		timer.Stop()
		cancel()
	}
}

// call calls the limiter itself.
func (g *gone) call(times int) {
	var group sync.WaitGroup
	for caller := range 16 {
		group.Go(func() {
			for range times / 16 {
				ctx, cancel := g.Context(), context.CancelFunc(func() {})
				if caller%2 == 0 {
					ctx, cancel = soon(ctx)
				}
				d, err := g.limiter.Allow(ctx, g.policy, "called")
				switch {
				case err == nil && d.Source == core.SourceRedis && d.Allowed:
					g.stayed.Add(1)
				case caller%2 == 0 && (err == nil && d.Source == core.SourceNone || errors.Is(err, ctx.Err())):
					g.gone.Add(1) // after the deadline, canceled, or over before the question
				default:
					g.Errorf("allowed %v by %v, %v", d.Allowed, d.Source, err)
				}
				cancel()
			}
		})
	}
	group.Wait()
}

// serve uses the limiter in a service on each framework.
func (g *gone) serve(times int) {
	var group sync.WaitGroup
	for framework := range apps {
		group.Go(func() { g.serveOn(framework, times) })
	}
	group.Wait()
}

func (g *gone) serveOn(framework string, times int) {
	addr, stop := serveApp(g.T, framework, app{limiter: g.limiter, policy: g.policy, at: func(string, string) {}})
	defer stop()
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	client := &http.Client{Transport: transport}
	defer transport.CloseIdleConnections()
	var group sync.WaitGroup
	for caller := range 16 {
		group.Go(func() {
			for range times / 16 {
				ctx, cancel := g.Context(), context.CancelFunc(func() {})
				if caller%2 == 0 {
					ctx, cancel = soon(ctx)
				}
				status, err := g.get(ctx, client, "http://"+addr+"/")
				switch {
				case err == nil && status == http.StatusOK:
					g.stayed.Add(1)
				case caller%2 == 0 && err != nil:
					g.gone.Add(1)
				default:
					g.Errorf("%s: status %d, %v", framework, status, err)
				}
				cancel()
			}
		})
	}
	group.Wait()
}

func (g *gone) get(ctx context.Context, client *http.Client, url string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, strings.NewReader(""))
	if err != nil {
		return 0, err
	}
	req.Header.Set("User", "served")
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}
