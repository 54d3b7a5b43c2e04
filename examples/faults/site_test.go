package faults

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/examples/internal/program"
)

// site is an example server that keeps its limits in a Redis.
type site struct {
	*program.Process
	t      *testing.T
	client *http.Client
}

// answerTime bounds the response time of an example, whatever happens to Redis. A request
// waits in the process, and then for the store's timeout, which is 200 ms there.
const answerTime = redisstream.DefaultWaitBound + 250*time.Millisecond

// build builds the examples, so that they start without delay.
func build(t *testing.T) {
	t.Helper()
	for _, name := range program.Servers {
		program.Build(t, name)
	}
}

// newSites starts the examples.
func newSites(t *testing.T, redis *redistest.Server) []*site {
	t.Helper()
	sites := make([]*site, len(program.Servers))
	for i, name := range program.Servers {
		s := &site{t: t, client: &http.Client{
			Timeout: program.Timeout, Transport: &http.Transport{MaxIdleConnsPerHost: 64},
		}}
		s.Process = program.Start(t, name, "REDIS_URL=redis://"+redis.Addr, "TRUSTED_PROXIES=127.0.0.0/8")
		t.Cleanup(s.client.CloseIdleConnections)
		sites[i] = s
	}
	return sites
}

var visitors atomic.Int64

// newVisitor returns the address of a new client.
func newVisitor() string {
	n := visitors.Add(1)
	return fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255)
}

// get sends a request of a client, and returns the status and the body.
func (s *site) get(visitor, path string) (int, string) {
	req, err := http.NewRequest(http.MethodGet, s.URL+path, nil)
	if err != nil {
		s.t.Error(err)
		return 0, ""
	}
	req.Header.Set("X-Forwarded-For", visitor)
	req.Header.Set("X-API-Key", "key of "+visitor)
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Errorf("%s: %s: %v", s.Name, path, err)
		return 0, ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Errorf("%s: %s: %v", s.Name, path, err)
	}
	return resp.StatusCode, string(body)
}

// source returns the source of decisions.
func (s *site) source() string {
	_, body := s.get(newVisitor(), "/whoami")
	var budget struct{ Source string }
	_ = json.Unmarshal([]byte(body), &budget)
	return budget.Source
}

// awaitSource returns the time until decisions have that source.
func (s *site) awaitSource(want string) time.Duration {
	s.t.Helper()
	start := time.Now()
	for s.source() != want {
		if time.Since(start) > program.Timeout {
			s.t.Fatalf("%s: decisions don't come from %s\n%s", s.Name, want, s.Log())
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(start)
}

// wantStrict checks that a new client gets the limit of /strict, 5 in 10 s.
func (s *site) wantStrict() {
	s.t.Helper()
	visitor, start, admitted := newVisitor(), time.Now(), 0
	for range 12 {
		if status, _ := s.get(visitor, "/strict"); status == http.StatusOK {
			admitted++
		}
	}
	if time.Since(start) < 10*time.Second && admitted != 5 {
		s.t.Errorf("%s: %d requests were admitted, want 5\n%s", s.Name, admitted, s.Log())
	}
}

// wantLines checks how often the limiter has logged failures and their ends. It may also
// log a short failure once a minute, and an absent Redis at the start.
func (s *site) wantLines(failures, ends int) {
	s.t.Helper()
	log := s.Log()
	lines := func(text string) int { return strings.Count(log, "streamlimit: "+text) }
	down, up := lines("the store does not answer"), lines("the store answers again")
	others := lines("") - down - up - min(1, lines("the store has failed to answer")) - min(1, lines("Redis does not answer; the limiter tries again"))
	if down != failures || up != ends || others != 0 {
		s.t.Errorf("%s: log with %d lines of failures, %d of their ends and %d others; want %d, %d and 0\n%s", s.Name, down, up, others, failures, ends, log)
	}
}

// traffic is a group of clients of the sites.
type traffic struct {
	limited, control latencies // of routes with a limit, and of one without
	late             func() time.Duration
	errors           atomic.Int64
	stop             chan struct{}
	once             sync.Once
	running          sync.WaitGroup
}

func newTraffic(sites []*site) *traffic {
	r := &traffic{stop: make(chan struct{}), late: lateness()}
	sites[0].t.Cleanup(r.leave)
	for _, s := range sites {
		for _, path := range []string{"/protected", "/strict", "/search?q=a", "/stocks/AAPL/history", "/whoami"} {
			r.running.Go(func() { r.visit(s, path, &r.limited) })
		}
		for range 2 {
			r.running.Go(func() { r.visit(s, "/", &r.control) })
		}
	}
	return r
}

func (r *traffic) visit(s *site, path string, took *latencies) {
	visitor := newVisitor()
	for i := 0; ; i++ {
		select {
		case <-r.stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
		if i%20 == 0 {
			visitor = newVisitor()
		}
		took.time(func() {
			if status, body := s.get(visitor, path); status != http.StatusOK && status != http.StatusTooManyRequests {
				if r.errors.Add(1) == 1 {
					s.t.Errorf("%s: %s: status %d, body %s\n%s", s.Name, path, status, body, s.Log())
				}
			}
		})
	}
}

// leave makes the clients leave.
func (r *traffic) leave() {
	r.once.Do(func() { close(r.stop) })
	r.running.Wait()
}

// end ends the traffic, checks that all responses came in time, and describes them.
func (r *traffic) end(t *testing.T) string {
	t.Helper()
	r.leave()
	slowest, control, late := r.limited.of(1), r.control.of(1), r.late()
	if slowest > answerTime+control+late {
		t.Errorf("the slowest answer took %v, want at most %v, with %v for one without a limit and the machine late by %v",
			ms(slowest), answerTime, ms(control), ms(late))
	}
	return fmt.Sprintf("%d requests, %d errors, p99 %v, slowest %v (without a limit %v, machine late by %v)",
		r.limited.count(), r.errors.Load(), ms(r.limited.of(0.99)), ms(slowest), ms(control), ms(late))
}
