package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// counter counts the decisions on the backend, and those of leases among them.
type counter struct{ asked, leased int }

// Observe implements [core.Observer].
func (c *counter) Observe(o core.Observation) {
	if o.Policy.Name() != "backend" {
		return
	}
	c.asked++
	if o.Source == core.SourceLease {
		c.leased++
	}
}

// TestGateway: most requests are decided by a lease, and the client's limit holds.
func TestGateway(t *testing.T) {
	rdb := redistest.Start(t).Client()
	var seen counter
	limiter := core.New(redisstream.New(rdb), core.WithObserver(&seen))
	defer limiter.Close()
	gateway := newGateway(limiter, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	ask := func(client string) int {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = client + ":1234"
		w := httptest.NewRecorder()
		gateway.ServeHTTP(w, r)
		return w.Code
	}
	for i := range 2000 {
		if code := ask(fmt.Sprintf("198.51.100.%d", i%200)); code != http.StatusNoContent {
			t.Fatalf("request %d: status %d", i, code)
		}
	}
	if seen.asked != 2000 || seen.leased < seen.asked*9/10 {
		t.Errorf("%d of %d requests were decided by a lease", seen.leased, seen.asked)
	}
	for range 600 {
		ask("203.0.113.1")
	}
	if code := ask("203.0.113.1"); code != http.StatusTooManyRequests {
		t.Errorf("a client over its limit: status %d", code)
	}
}
