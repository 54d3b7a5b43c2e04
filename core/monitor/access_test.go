package monitor_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
)

// newPage is a page that is asked without a server.
func newPage(t *testing.T, options ...monitor.Option) http.Handler {
	t.Helper()
	store := core.NewMemory()
	recorder := monitor.NewRecorder(store)
	limiter := core.New(store, core.WithObserver(recorder))
	limiter.Meet(api)
	t.Cleanup(func() {
		_ = recorder.Close()
		_ = limiter.Close()
	})
	return monitor.New(limiter, recorder, options...)
}

// try asks the page from a peer, for a host.
func try(page http.Handler, method, path, peer, host string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(context.Background(), method, path, strings.NewReader(`{"key":"k","seconds":1}`))
	r.RemoteAddr, r.Host = peer, host
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	page.ServeHTTP(w, r)
	return w
}

const (
	here      = "127.0.0.1:5000"
	elsewhere = "203.0.113.7:5000"
)

// Without a password only clients on this machine get in, whatever others claim.
func TestLoopbackOnly(t *testing.T) {
	page := newPage(t)
	for _, c := range []struct {
		peer, host string
		header     []string
		status     int
	}{
		{here, "localhost:8080", nil, 200},
		{here, "LOCALHOST", nil, 200},
		{here, "127.0.0.1:8080", nil, 200},
		{"127.8.9.1:1", "127.0.0.2", nil, 200},
		{"[::1]:5000", "[::1]:8080", nil, 200},
		{"[::1]:5000", "[::1]", nil, 200},
		{"[::ffff:127.0.0.1]:5000", "localhost", nil, 200},
		{elsewhere, "localhost", nil, 403},
		{"[2001:db8::1]:5000", "[::1]", nil, 403},
		{"@", "localhost", nil, 403},
		{"", "localhost", nil, 403},
		{here, "attacker.example", nil, 403},
		{here, "localhost.attacker.example:80", nil, 403},
		{here, "127.0.0.1.attacker.example", nil, 403},
		{here, "10.0.0.1", nil, 403},
		{here, "", nil, 403},
		{elsewhere, "localhost", []string{"X-Forwarded-For", "127.0.0.1"}, 403},
		{here, "localhost", []string{"X-Forwarded-For", "127.0.0.1"}, 403},
		{here, "localhost", []string{"X-Forwarded-For", ""}, 403},
		{here, "localhost", []string{"Forwarded", "for=127.0.0.1"}, 403},
		{here, "localhost", []string{"X-Real-IP", "127.0.0.1"}, 403},
	} {
		for _, path := range []string{"/", "/app.js", "/api/state", "/api/key?policy=api&key=k"} {
			if w := try(page, "GET", path, c.peer, c.host, c.header...); w.Code != c.status {
				t.Errorf("%s from %q for %q with %v: status %d, want %d", path, c.peer, c.host, c.header, w.Code, c.status)
			}
		}
	}
}

func basic(password string) string {
	r := http.Request{Header: make(http.Header)}
	r.SetBasicAuth("anyone", password)
	return r.Header.Get("Authorization")
}

// With a password, whoever has it gets in from anywhere, and guesses are few.
func TestPassword(t *testing.T) {
	page := newPage(t, monitor.WithPassword("secret"))
	for range 50 { // the right one is not limited
		if w := try(page, "GET", "/api/state", elsewhere, "monitor.example", "Authorization", basic("secret"), "X-Forwarded-For", "192.0.2.1"); w.Code != 200 {
			t.Fatalf("status %d with the password", w.Code)
		}
	}
	for _, path := range []string{"/", "/app.js", "/api/state", "/api/live", "/nothing"} {
		w := try(page, "GET", path, here, "localhost")
		if w.Code != 401 || !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("%s without: status %d, header %v", path, w.Code, w.Header())
		}
	}
	if w := try(page, "POST", "/api/ban", here, "localhost", "Content-Type", "application/json"); w.Code != 401 {
		t.Errorf("an action without: status %d", w.Code)
	}
	refused := 0
	for _, wrong := range append(make([]string, 30), "Secret", "secret ", "secretsecret") {
		switch w := try(page, "GET", "/", elsewhere, "x", "Authorization", basic(wrong)); w.Code {
		case 401:
		case 429:
			refused++
		default:
			t.Errorf("password %q: status %d", wrong, w.Code)
		}
	}
	if refused != 13 {
		t.Errorf("%d of 33 guesses were not looked at, want 13", refused)
	}
	if w := try(page, "GET", "/", "198.51.100.1:1", "x", "Authorization", basic("secret")); w.Code != 200 {
		t.Errorf("status %d for another address", w.Code)
	}
}

func TestAuthorize(t *testing.T) {
	page := newPage(t, monitor.WithAuthorize(func(r *http.Request) bool { return r.Header.Get("User") == "ann" }))
	if w := try(page, "GET", "/", elsewhere, "x", "User", "ann"); w.Code != 200 {
		t.Errorf("status %d", w.Code)
	}
	if w := try(page, "GET", "/", here, "localhost"); w.Code != 403 {
		t.Errorf("status %d without the user", w.Code)
	}
}

// Only the page itself can act, and only if it may.
func TestActionsAreGuarded(t *testing.T) {
	page, readOnly := newPage(t), newPage(t, monitor.WithReadOnly())
	for _, c := range []struct {
		page   http.Handler
		method string
		header []string
		status int
	}{
		{page, "POST", []string{"Content-Type", "application/json"}, 204},
		{page, "POST", []string{"Content-Type", "application/json; charset=utf-8", "Origin", "http://localhost", "Sec-Fetch-Site", "same-origin"}, 204},
		{page, "POST", []string{"Content-Type", "application/json", "Origin", "https://attacker.example", "Sec-Fetch-Site", "cross-site"}, 403},
		{page, "POST", []string{"Content-Type", "application/json", "Sec-Fetch-Site", "same-site"}, 403},
		{page, "POST", []string{"Content-Type", "application/json", "Origin", "https://attacker.example"}, 403},
		{page, "POST", []string{"Content-Type", "application/json", "Origin", "null"}, 403},
		{page, "POST", []string{"Content-Type", "text/plain"}, 415},
		{page, "POST", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415},
		{page, "POST", nil, 415},
		{page, "GET", nil, 405},
		{page, "PUT", []string{"Content-Type", "application/json"}, 405},
		{readOnly, "POST", []string{"Content-Type", "application/json"}, 403},
	} {
		if w := try(c.page, c.method, "/api/ban", here, "localhost", c.header...); w.Code != c.status {
			t.Errorf("%s with %v: status %d, want %d: %s", c.method, c.header, w.Code, c.status, w.Body)
		}
	}
	var now state
	if err := json.Unmarshal(try(readOnly, "GET", "/api/state", here, "localhost").Body.Bytes(), &now); err != nil || !now.ReadOnly || len(now.Rules) != 0 {
		t.Errorf("state %+v, %v", now, err)
	}
}

// Answers can't be framed, cached, or taken for anything but what they are.
func TestFieldsOfAnswers(t *testing.T) {
	page := newPage(t)
	for path, status := range map[string]int{"/": 200, "/app.js": 200, "/style.css": 200, "/api/state": 200, "/api/none": 404, "/none": 404} {
		w := try(page, "GET", path, here, "localhost")
		h := w.Header()
		if w.Code != status || !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'; script-src 'self'") ||
			h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" || h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: status %d, header %v", path, w.Code, h)
		}
	}
	if w := try(page, "POST", "/", here, "localhost"); w.Code != 405 {
		t.Errorf("POST /: status %d", w.Code)
	}
	if w := try(http.StripPrefix("/a/b", page), "GET", "/a/b?x=1", here, "localhost"); w.Code != 302 || w.Header().Get("Location") != "./b/?x=1" {
		t.Errorf("status %d, Location %q", w.Code, w.Header().Get("Location"))
	}
}
