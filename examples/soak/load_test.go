package soak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/streamlimit/streamlimit/examples/internal/program"
)

// users is the number of concurrent clients.
const users = 24

// tooLate bounds every response time, whatever Redis does. A decision takes at most a
// second. The rest is for busy machines.
const tooLate = 10 * time.Second

// load is a group of clients of the servers, of all kinds.
type load struct {
	servers []*program.Process
	client  *http.Client
	stop    context.CancelFunc
	running sync.WaitGroup

	resting sync.RWMutex // held by each request, and for a rest
	stalls  stalls

	requests, denied, aborted atomic.Int64
	excused                   atomic.Int64 // failures during a stall
	overloaded                atomic.Int64 // answers of a server that had no time to read its Redis's replies
	slowest                   atomic.Int64 // nanoseconds

	mu      sync.Mutex
	wrong   map[string]int // what must not be, and how often
	answers map[int]int    // by status
}

func newLoad(servers []*program.Process) *load {
	return &load{
		servers: servers,
		client: &http.Client{Timeout: program.Timeout, Transport: &http.Transport{
			MaxIdleConnsPerHost: users,
			IdleConnTimeout:     time.Second, // before the servers', which could cut off a request that comes just then
		}},
		wrong: make(map[string]int), answers: make(map[int]int),
	}
}

func (l *load) start() {
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.stalls.start = time.Now()
	l.running.Go(func() { l.stalls.watch(ctx) })
	for range users {
		l.running.Go(func() {
			for ctx.Err() == nil {
				l.resting.RLock()
				l.one()
				l.resting.RUnlock()
				time.Sleep(rand.N(20 * time.Millisecond))
			}
		})
	}
}

func (l *load) end() {
	l.stop()
	l.running.Wait()
	l.client.CloseIdleConnections()
}

// rest calls f while no request is in flight and no connection is open.
func (l *load) rest(f func()) {
	l.resting.Lock()
	defer l.resting.Unlock()
	l.client.CloseIdleConnections()
	f()
}

// one sends one request of one client to one server.
func (l *load) one() {
	server := pick(l.servers)
	l.requests.Add(1)
	switch n := rand.IntN(100); {
	case n < 3:
		l.aborted.Add(1)
		cutOff(server)
	case n < 10:
		l.aborted.Add(1)
		ctx, cancel := context.WithTimeout(context.Background(), rand.N(20*time.Millisecond))
		defer cancel()
		l.send(ctx, server, anyRequest())
	default:
		l.send(context.Background(), server, anyRequest())
	}
}

// cutOff sends a part of a request, or an invalid request, and disconnects.
func cutOff(server *program.Process) {
	conn, err := net.Dial("tcp", server.Addr())
	if err != nil {
		return // the server's backlog is full of others like this
	}
	defer func() { _ = conn.Close() }()
	text := "POST /complete HTTP/1.1\r\nHost: x\r\nX-API-Key: cut\r\nContent-Length: 30\r\n\r\n{\"tokens\": 1"
	if rand.IntN(2) == 0 {
		text = noise(len(text))
	}
	_, _ = io.WriteString(conn, text[:1+rand.IntN(len(text)-1)])
}

// send sends a request and checks the response. A client whose ctx ends may get none.
func (l *load) send(ctx context.Context, server *program.Process, r request) {
	method, path, _ := strings.Cut(r.line, " ")
	req, err := http.NewRequestWithContext(ctx, method, server.URL+path, strings.NewReader(r.body))
	if err != nil {
		l.fail("%s: %v", r.line, err)
		return
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	began := time.Now()
	resp, err := l.client.Do(req)
	if err == nil {
		defer func() { _ = resp.Body.Close() }()
		var body []byte
		if body, err = io.ReadAll(resp.Body); err == nil {
			l.judge(server.Name, r, resp, body)
		}
	}
	took := time.Since(began)
	switch {
	case ctx.Err() != nil:
	case err != nil && r.garbage: // what is no HTTP may be hung up on
	case (err != nil || took > tooLate) && l.stalls.since(began):
		l.excused.Add(1)
	case err != nil:
		l.fail("%s: %s: %v", server.Name, r.line, unwrapped(err))
	case took > tooLate:
		l.fail("%s: %s: answered after more than %v", server.Name, r.line, tooLate)
	default:
		for slowest := l.slowest.Load(); took.Nanoseconds() > slowest && !l.slowest.CompareAndSwap(slowest, took.Nanoseconds()); slowest = l.slowest.Load() {
		}
	}
}

// unwrapped returns the error without the port, which differs each time.
func unwrapped(err error) error {
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return err
}

func (l *load) judge(name string, r request, resp *http.Response, body []byte) {
	status := resp.StatusCode
	l.mu.Lock()
	l.answers[status]++
	l.mu.Unlock()
	if status == http.StatusTooManyRequests {
		l.denied.Add(1)
		if wait, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil || wait < 1 || resp.Header.Get("RateLimit") == "" {
			l.fail("%s: %s: 429 with Retry-After %q and RateLimit %q", name, r.line, resp.Header.Get("Retry-After"), resp.Header.Get("RateLimit"))
		}
	}
	switch {
	case slices.Contains(r.want, status):
	case status == http.StatusServiceUnavailable && bytes.Contains(body, []byte("#temporary-reduced-capacity")):
		l.overloaded.Add(1)
		if wait, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil || wait < 1 || wait > 3 {
			l.fail("%s: %s: overloaded with Retry-After %q", name, r.line, resp.Header.Get("Retry-After"))
		}
	case r.garbage && status >= 400 && status < 500:
	default:
		l.fail("%s: %s: %d, want one of %v; %s", name, r.line, status, r.want, bytes.TrimSpace(body[:min(len(body), 200)]))
	}
}

func (l *load) fail(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong[fmt.Sprintf(format, args...)]++
}

// failures returns the failures so far, the most frequent first.
func (l *load) failures() (all []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for what, n := range l.wrong {
		all = append(all, fmt.Sprintf("%5d times: %s", n, what))
	}
	slices.Sort(all)
	slices.Reverse(all)
	return all[:min(len(all), 20)]
}

func pick[T any](all []T) T { return all[rand.IntN(len(all))] }
