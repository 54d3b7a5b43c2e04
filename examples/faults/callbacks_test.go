package faults

import (
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// A callback panics for one request. This request gets 500, and the next request of the
// same client is not affected. A request that panics before its decision is not counted.
// A request that panics later is counted once.
func TestRow24_PanickingCallbacks(t *testing.T) {
	r := row(t, 24)
	recovered := 0
	for framework := range apps {
		bothStores(t, func(t *testing.T, l *core.Limiter) {
			p := core.NewPolicy(framework, core.Per(3, time.Hour), core.VariableCost(), core.Refundable(0))
			addr, stop := serveApp(t, framework, app{limiter: l, policy: p, at: func(callback, field string) {
				if callback == field {
					panic("a bug in " + callback)
				}
			}})
			defer stop()
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			get := func(user, at string, want ...int) {
				t.Helper()
				if status := getApp(t, client, addr, user, at); !slices.Contains(want, status) {
					t.Errorf("%s: a panic in %q: status %d, want %d", framework, at, status, want)
				}
			}
			for _, callback := range callbacks {
				uses, statuses := int64(1), []int{500}
				switch callback {
				case "key", "skip", "tier", "cost":
					uses = 0
				case "denied":
					continue // is not called for this one
				case "refund", "settle":
					// These callbacks run after the handler, whose response may be in
					// flight.
					statuses = []int{500, 200}
				}
				get(callback, callback, statuses...)
				d, err := l.Peek(t.Context(), p, "user="+callback)
				if err != nil || d.Remaining != 3-uses {
					t.Errorf("%s: after a panic in %s: %d left, %v; want %d", framework, callback, d.Remaining, err, 3-uses)
				}
				for range 3 - uses {
					get(callback, "", 200)
				}
				get(callback, "", 429)
				get(callback, "denied", 500)
				get(callback, "", 429)
				recovered += 2
			}
		})
	}
	r.Figure("%d panics recovered, every budget intact", recovered)
}

// getApp returns the status of a request to an app.
func getApp(t *testing.T, client *http.Client, addr, user, at string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("User", user)
	req.Header.Set("At", at)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}
