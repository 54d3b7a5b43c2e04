package adaptertest

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/streamlimit/streamlimit/core"
)

// site is a served app and its client.
type site struct {
	t      *testing.T
	url    string
	client *http.Client

	mu     sync.Mutex
	passed [][]core.Decision // of each request that reached a handler
	errs   []error           // that the framework handled
}

// open serves an app. Its routes without a handler respond with "ok".
func (s suite) open(t *testing.T, a app) *site {
	t.Helper()
	transport := &http.Transport{}
	w := &site{t: t, client: &http.Client{Transport: transport}}
	for _, g := range a.groups {
		for i := range g.routes {
			if g.routes[i].handler == nil {
				g.routes[i].handler = w.pass
			}
		}
	}
	a.onError = func(err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.errs = append(w.errs, err)
	}
	w.url = s.serve(t, a)
	// This runs before the server's shutdown, which may wait for connections.
	t.Cleanup(transport.CloseIdleConnections)
	return w
}

// openRoute serves one route, "/:id", behind the limits.
func (s suite) openRoute(t *testing.T, limits ...limit) *site {
	t.Helper()
	return s.open(t, app{groups: []group{{routes: []route{{path: "/:id", limits: limits}}}}})
}

func (w *site) pass(v visit) error {
	decisions := v.decisions()
	w.mu.Lock()
	w.passed = append(w.passed, decisions)
	w.mu.Unlock()
	return v.answer(http.StatusOK, "ok")
}

// handled returns the number of requests that reached a handler.
func (w *site) handled() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.passed)
}

// newest returns the newest decision of the last request that reached a handler.
func (w *site) newest() core.Decision {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.passed) == 0 || len(w.passed[len(w.passed)-1]) == 0 {
		w.t.Fatal("no request with a decision came to the handler")
	}
	last := w.passed[len(w.passed)-1]
	return last[len(last)-1]
}

// lastError returns the last error that the framework handled.
func (w *site) lastError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.errs) == 0 {
		return nil
	}
	return w.errs[len(w.errs)-1]
}

// response is a response with its body.
type response struct {
	t      *testing.T
	status int
	header http.Header
	body   string
}

// get requests a path with fields "name: value". A name may have several lines.
func (w *site) get(path string, fields ...string) response {
	w.t.Helper()
	return w.do(http.MethodGet, path, fields...)
}

func (w *site) do(method, path string, fields ...string) response {
	w.t.Helper()
	r, err := w.ask(method, path, fields...)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// ask is do for goroutines other than the test's.
func (w *site) ask(method, path string, fields ...string) (response, error) {
	return w.askIn(w.t.Context(), method, path, fields...)
}

func (w *site) askIn(ctx context.Context, method, path string, fields ...string) (response, error) {
	req, err := http.NewRequestWithContext(ctx, method, w.url+path, http.NoBody)
	if err != nil {
		return response{}, err
	}
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ":")
		req.Header[name] = append(req.Header[name], strings.TrimPrefix(value, " "))
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return response{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return response{t: w.t, status: resp.StatusCode, header: resp.Header, body: string(body)}, err
}

// raw sends a request as written, since http.Client changes fields.
func (w *site) raw(request string) response {
	w.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return response{t: w.t, status: resp.StatusCode, header: resp.Header, body: string(body)}
}

// want checks the status.
func (r response) want(status int) response {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("status %d, want %d; fields %v, body %s", r.status, status, r.header, r.body)
	}
	return r
}

// wantField checks that a field has one line with the value, or no line for "".
func (r response) wantField(name, value string) response {
	r.t.Helper()
	lines := r.header.Values(name)
	if value == "" && len(lines) > 0 || value != "" && (len(lines) != 1 || lines[0] != value) {
		r.t.Errorf("%s: %q, want %q", name, lines, value)
	}
	return r
}

// wantProblem checks that the body is a problem document, byte for byte.
func (r response) wantProblem(body string) response {
	r.t.Helper()
	r.wantField("Content-Type", "application/problem+json")
	if r.body != body {
		r.t.Errorf("body\n%s, want\n%s", r.body, body)
	}
	return r
}

// wantDeniedBy checks that the policies of these names denied a request.
func (r response) wantDeniedBy(names ...string) response {
	r.t.Helper()
	r.want(http.StatusTooManyRequests)
	var problem struct {
		Violated []string `json:"violated-policies"`
	}
	if err := json.Unmarshal([]byte(r.body), &problem); err != nil {
		r.t.Fatalf("body %s: %v", r.body, err)
	}
	if got, want := strings.Join(problem.Violated, ", "), strings.Join(names, ", "); got != want {
		r.t.Errorf("denied by %s, want %s", got, want)
	}
	return r
}

// wantNowhere checks that the response does not contain text.
func (r response) wantNowhere(text string) response {
	r.t.Helper()
	if strings.Contains(r.body, text) {
		r.t.Errorf("the body shows %q: %s", text, r.body)
	}
	for name, lines := range r.header {
		if strings.Contains(strings.Join(lines, "\n"), text) {
			r.t.Errorf("the field %s shows %q: %q", name, text, lines)
		}
	}
	return r
}
