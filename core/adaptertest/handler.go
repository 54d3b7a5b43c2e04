package adaptertest

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/core"
)

// The following checks are for several adapters. They need handlers that the suite can't
// write.

// Get sends a request for a path to a handler without a network. fields are names and
// values of header fields.
func Get(h http.Handler, path string, fields ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i+1 < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// CheckBodies checks that a client's mistake gets a 4xx when a function for
// WithCost reads the body by the framework's own means. serve returns the URL of a service
// that limits POST / by the policy, accepts bodies of at most 100 bytes, and takes the cost
// from the number "units" of a JSON object.
func CheckBodies(t *testing.T, serve func(*testing.T, *core.Limiter, *core.Policy) (url string)) {
	policy := core.NewPolicy("tokens", core.PerHour(9), core.VariableCost())
	for name, c := range map[string]struct {
		body string
		want int
	}{
		"good":      {`{"units":2}`, http.StatusOK},
		"syntax":    {`{"units"}`, http.StatusBadRequest},
		"type":      {`{"units":"two"}`, http.StatusBadRequest},
		"cut off":   {`{"units":`, http.StatusBadRequest},
		"too large": {`{"units":2,"note":"` + strings.Repeat("x", 200) + `"}`, http.StatusRequestEntityTooLarge},
		"empty":     {``, http.StatusBadRequest},
		"too few":   {`{"units":-1}`, http.StatusBadRequest},
		"too many":  {`{"units":70}`, http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			limiter, _ := newLimiter(t)
			resp, err := http.Post(serve(t, limiter, policy), "application/json", strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != c.want {
				t.Errorf("answered %d, want %d", resp.StatusCode, c.want)
			}
		})
	}
}

// CheckClone checks that a request which a handler has made is counted as a new
// request. serve makes a service that limits all by the policy, whose handler of GET
// /old passes a clone of the request to the router as GET /new.
func CheckClone(t *testing.T, serve func(*core.Limiter, *core.Policy) http.Handler) {
	var requests requestCount
	limiter := core.New(core.NewMemory(), core.WithLogger(slog.New(slog.DiscardHandler)), core.WithObserver(&requests))
	defer limiter.Close()
	w := Get(serve(limiter, core.NewPolicy("api", core.PerHour(9))), "/old")
	if w.Code != http.StatusOK || w.Header().Get("RateLimit") != `"api";r=7;t=3600` {
		t.Errorf("answered %d, RateLimit %s", w.Code, w.Header().Get("RateLimit"))
	}
	if requests != 2 {
		t.Errorf("%d requests counted, want 2", requests)
	}
}

// requestCount observes how many requests there are.
type requestCount int

func (n *requestCount) Observe(o core.Observation) {
	if o.Before == 0 {
		*n++
	}
}

// CheckForm checks that a form parsed by a handler of POST is visible outside of its
// limits. A server removes the files of its own request.
func CheckForm(t *testing.T, h http.Handler, paths ...string) {
	for _, path := range paths {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader("--x\r\nContent-Disposition: form-data; name=a; filename=a\r\n\r\n1\r\n--x--\r\n"))
		r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
		h.ServeHTTP(httptest.NewRecorder(), r)
		if r.MultipartForm == nil || len(r.MultipartForm.File["a"]) != 1 {
			t.Errorf("%s: the form outside is %v", path, r.MultipartForm)
		}
	}
}

// CheckTooLarge checks that a request which is too large closes its connection, as
// without a limit. The handler of POST / accepts bodies of at most 10 bytes.
func CheckTooLarge(t *testing.T, h http.Handler) {
	server := httptest.NewServer(h)
	defer server.Close()
	for body, want := range map[string]int{"short": http.StatusOK, "longer than that": http.StatusRequestEntityTooLarge} {
		resp, err := http.Post(server.URL, "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want || resp.Close != (want == http.StatusRequestEntityTooLarge) {
			t.Errorf("%q: status %d, connection closed: %v", body, resp.StatusCode, resp.Close)
		}
	}
}
