package faults

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/examples/internal/program"
)

// The policies of the servers, by what they do without the store.
const (
	slotsClosed = "closed" // FailClosed
	slotsLocal  = "local"  // FailLocal
)

// slotsMax is the limit of both.
const slotsMax = 100

// slotFrameworks has the framework of each server.
var slotFrameworks = []string{"net/http", "gin", "echo", "echo5", "fiber", "fiber3"}

// flights are the requests of one policy that are in flight at the upstream.
type flights struct {
	now, peak, came int
	of              map[string]int // now, by server
	finish          chan struct{}  // closed to end the long ones
}

// fleet has servers and the one upstream that all of them call.
type fleet struct {
	*testing.T
	servers []*slotServer
	hold    time.Duration
	client  *http.Client
	calls   sync.WaitGroup

	mu      sync.Mutex
	flights map[string]*flights
}

// startFleet starts a server of each framework. settings returns the settings of a server
// by its number.
func startFleet(t *testing.T, hold time.Duration, settings func(i int) []string) *fleet {
	t.Helper()
	f := &fleet{T: t, hold: hold, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 20_000}}, flights: make(map[string]*flights)}
	for _, policy := range []string{slotsClosed, slotsLocal} {
		f.flights[policy] = &flights{of: make(map[string]int), finish: make(chan struct{})}
	}
	upstream := httptest.NewServer(http.HandlerFunc(f.upstream))
	for i, framework := range slotFrameworks {
		f.servers = append(f.servers, startSlotServer(t, framework, append(settings(i),
			"FAULTS_UPSTREAM="+upstream.URL, "FAULTS_HOLD="+hold.String(), fmt.Sprint("FAULTS_MAX=", slotsMax))...))
	}
	for _, s := range f.servers {
		s.url = s.line(t)
	}
	t.Cleanup(func() {
		f.end(slotsClosed)
		f.end(slotsLocal)
		f.calls.Wait()
		f.client.CloseIdleConnections()
		for _, s := range f.servers {
			s.kill()
		}
		upstream.Close()
		if t.Failed() {
			for _, s := range f.servers {
				t.Logf("%s wrote:\n%s", s.name, &s.log)
			}
		}
	})
	return f
}

// upstream counts the requests in flight. A long one lasts until end is called, or its
// server closes the connection.
func (f *fleet) upstream(_ http.ResponseWriter, r *http.Request) {
	server := r.Header.Get("Server")
	f.mu.Lock()
	p := f.flights[r.URL.Path[1:]]
	p.now++
	p.came++
	p.of[server]++
	p.peak = max(p.peak, p.now)
	finish := p.finish
	f.mu.Unlock()
	// The client has its response after this has returned.
	defer func() {
		f.mu.Lock()
		p.now--
		p.of[server]--
		f.mu.Unlock()
	}()
	var done <-chan time.Time
	if r.URL.RawQuery != "long" {
		done = time.After(100*time.Millisecond + rand.N(200*time.Millisecond))
	}
	select {
	case <-done:
	case <-finish:
	case <-r.Context().Done():
	}
}

// end ends the long requests of a policy, and waits until none is in flight.
func (f *fleet) end(policy string) {
	f.mu.Lock()
	p := f.flights[policy]
	close(p.finish)
	p.finish = make(chan struct{})
	f.mu.Unlock()
	f.await(program.Timeout, "the end of requests", func() bool { return f.now(policy) == 0 })
}

// now returns how many requests of a policy are in flight at the upstream: all, or those
// of some servers.
func (f *fleet) now(policy string, servers ...*slotServer) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(servers) == 0 {
		return f.flights[policy].now
	}
	for _, s := range servers {
		n += f.flights[policy].of[s.name]
	}
	return n
}

// peak returns the most requests that were in flight, and starts anew.
func (f *fleet) peak(policy string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.flights[policy]
	peak := p.peak
	p.peak = p.now
	return peak
}

// get sends a request and returns the status, or 0 without a response.
func (f *fleet) get(s *slotServer, target string) int {
	resp, err := f.client.Get(s.url + "/" + target)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// send sends long requests to the servers in turn. It returns how many of them have
// reached the upstream, and how many were refused, by status.
func (f *fleet) send(policy string, n int, servers ...*slotServer) (reached int, refused map[int]int) {
	f.mu.Lock()
	p := f.flights[policy]
	before := p.came
	f.mu.Unlock()
	statuses := make(chan int, n)
	for i := range n {
		f.calls.Go(func() { statuses <- f.get(servers[i%len(servers)], policy+"?long") })
	}
	refused = make(map[int]int)
	f.await(program.Timeout, "the answers", func() bool {
		for len(statuses) > 0 {
			if status := <-statuses; status != http.StatusOK && status != http.StatusBadGateway {
				refused[status]++
				n--
			}
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		reached = p.came - before
		return reached >= n
	})
	return reached, refused
}

// wants checks the outcome of send: how many reached the upstream, and that the others
// were refused with the status.
func (f *fleet) wants(reached, refused, status int) func(int, map[int]int) {
	return func(gotReached int, got map[int]int) {
		f.Helper()
		if gotReached != reached || got[status] != refused || len(got) > 1 {
			f.Errorf("%d reached the upstream, refused by status: %v; want %d, and %d with %d", gotReached, got, reached, refused, status)
		}
	}
}

// fill sends long requests until a number of them was admitted. It returns the times at
// which the first and the last were admitted.
func (f *fleet) fill(policy string, n int, servers ...*slotServer) (first, last time.Time) {
	for end := time.Now().Add(program.Timeout); n > 0; time.Sleep(10 * time.Millisecond) {
		try := n
		if first.IsZero() {
			try = min(n, len(servers))
		}
		reached, _ := f.send(policy, try, servers...)
		n -= reached
		last = time.Now()
		if first.IsZero() && reached > 0 {
			first = last
		}
		if last.After(end) {
			f.Errorf("%d requests were not admitted", n)
			return first, last
		}
	}
	return first, last
}

// health returns the sum of what the limiters report.
func (f *fleet) health(servers ...*slotServer) (sum slotHealth) {
	for _, s := range servers {
		h := s.health(f.T)
		sum.lost, sum.local = sum.lost+h.lost, sum.local+h.local
		sum.failures, sum.down = sum.failures+h.failures, sum.down+h.down
	}
	return sum
}

// await waits until something is true, and returns how long that took.
func (f *fleet) await(most time.Duration, what string, is func() bool) time.Duration {
	f.Helper()
	begun := time.Now()
	for !is() {
		if time.Since(begun) > most {
			f.Errorf("%s: not after %v", what, most)
			break
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(begun)
}

// without returns all servers but one.
func (f *fleet) without(one *slotServer) []*slotServer {
	return slices.DeleteFunc(slices.Clone(f.servers), func(s *slotServer) bool { return s == one })
}
