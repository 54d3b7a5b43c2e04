package monitor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
)

// newPage returns a page without a server, and the limiter's log.
func newPage(t testing.TB, options ...monitor.Option) (http.Handler, *lines) {
	t.Helper()
	log := new(lines)
	store := core.NewMemory()
	recorder := monitor.NewRecorder(store)
	limiter := core.New(store, core.WithObserver(recorder), core.WithTrustedProxies(netip.MustParsePrefix("10.0.0.0/8")),
		core.WithLogger(slog.New(slog.NewTextHandler(log, nil))))
	limiter.Register(api)
	t.Cleanup(func() {
		_ = recorder.Close()
		_ = limiter.Close()
	})
	return monitor.New(limiter, recorder, options...), log
}

// newTokenPage returns a page without a password, and its token.
func newTokenPage(t testing.TB, options ...monitor.Option) (page http.Handler, token string, log *lines) {
	t.Helper()
	page, log = newPage(t, append(options, monitor.WithLink(func(query string) { token, _ = strings.CutPrefix(query, "?token=") }))...)
	return page, token, log
}

// try requests the page from a peer, for a host.
func try(page http.Handler, method, path, peer, host string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(context.Background(), method, "/mount"+path, strings.NewReader(`{"key":"k","seconds":1}`))
	r.RemoteAddr, r.Host = peer, host
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	http.StripPrefix("/mount", page).ServeHTTP(w, r)
	return w
}

const (
	here      = "127.0.0.1:5000"
	elsewhere = "203.0.113.7:5000"
)

var paths = []string{"/", "/app.js", "/api/state", "/api/key?policy=api&key=k", "/api/live", "/api", "/none", "", "//", "/index.html", "/../"}

// Without a password or WithAuthorize the token is the only way in, for every peer and
// all header fields.
func TestTokenOnly(t *testing.T) {
	page, token, log := newTokenPage(t)
	if len(token) < 22 { // 128 bits in base64; rand.Text has 130 in 26
		t.Fatalf("the token is %q", token)
	}
	for _, c := range []struct {
		peer, host string
		header     []string
	}{
		{here, "localhost:8080", nil},
		{here, "127.0.0.1:8080", nil},
		{"[::1]:5000", "[::1]:8080", nil},
		{"[::ffff:127.0.0.1]:5000", "localhost", nil},
		{here, "[::1%25eth0]", nil},
		{elsewhere, "localhost", nil},
		{"@", "localhost", nil},
		{"", "", nil},
		{here, "attacker.example", nil},
		{elsewhere, "localhost", []string{"X-Forwarded-For", "127.0.0.1"}},
		{here, "localhost", []string{"Forwarded", "for=127.0.0.1"}},
		{here, "localhost", []string{"Cookie", "token=" + token}},
		{here, "localhost", []string{"Cookie", "streamlimit-monitor-="}},
		{here, "localhost", []string{"Cookie", "streamlimit-monitor-8080=" + token[1:]}},
		{here, "localhost", []string{"Cookie", "streamlimit-monitor-8080=" + strings.ToLower(token)}},
		{here, "localhost", []string{"Authorization", basic(token)}},
		{here, "localhost", []string{"Authorization", "Bearer"}},
		{here, "localhost", []string{"Authorization", "Bearer " + token + "x"}},
		{here, "localhost", []string{"Authorization", "token " + token}},
		{here, "localhost", []string{"Referer", "http://localhost/?token=" + token}},
	} {
		for _, path := range paths {
			w := try(page, "GET", path, c.peer, c.host, c.header...)
			if w.Code != 401 && w.Code != 429 || len(w.Header().Values("Set-Cookie")) > 0 || w.Code == 401 && w.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("%s from %q for %q with %v: status %d, %v", path, c.peer, c.host, c.header, w.Code, w.Header())
			}
		}
	}
	for _, request := range []string{"GET /?token=", "GET /?token=" + token[1:], "GET /?Token=" + token, "POST /api/ban?token=" + token, "PUT /?token=" + token, "GET /?x=token%3D" + token} {
		method, path, _ := strings.Cut(request, " ")
		if w := try(page, method, path, "192.0.2.9:1", "localhost", "Content-Type", "application/json"); w.Code != 401 || len(w.Header().Values("Set-Cookie")) > 0 {
			t.Errorf("%s: status %d, %v", request, w.Code, w.Header())
		}
	}
	for _, how := range [][]string{{"Authorization", "Bearer " + token}, {"Authorization", "bearer  " + token}, {"Cookie", "streamlimit-monitor-8080=old; a=b; streamlimit-monitor-=" + token}} {
		if w := try(page, "GET", "/api/state", elsewhere, "any.example", how...); w.Code != 200 {
			t.Errorf("%v: status %d", how, w.Code)
		}
	}
	if strings.Contains(log.String(), token) {
		t.Errorf("the log has the token: %s", log)
	}
}

// The link is logged once. The token is in no other log line or response.
func TestLinkIsLogged(t *testing.T) {
	page, log := newPage(t)
	_, query, ok := strings.Cut(log.String(), `link="?token=`)
	token, _, _ := strings.Cut(query, `"`)
	if !ok || token == "" {
		t.Fatalf("log %q", log)
	}
	for _, path := range append(paths, "/?token="+token, "/?token=wrong") {
		w := try(page, "GET", strings.Replace(path, "/api/live", "/api/live?poll=1", 1), here, "localhost", "Authorization", "Bearer "+token)
		w.Header().Del("Set-Cookie")
		if all := fmt.Sprint(w.Header(), w.Body); strings.Contains(all, token) {
			t.Errorf("%s: %s", path, all)
		}
	}
	try(page, "POST", "/api/ban?token="+token, here, "localhost", "Authorization", "Bearer "+token, "Content-Type", "application/json")
	if n := strings.Count(log.String(), token); n != 1 {
		t.Errorf("the token is in the log %d times: %s", n, log)
	}
	for _, o := range []monitor.Option{monitor.WithPassword("pw"), monitor.WithAuthorize(anyone)} {
		if _, log := newPage(t, o); log.String() != "" {
			t.Errorf("log %q", log)
		}
	}
	_, first, _ := newTokenPage(t)
	if _, second, log := newTokenPage(t); first == second || log.String() != "" {
		t.Errorf("tokens %q and %q, log %q", first, second, log)
	}
}

// The link sets a cookie for the path of the request. It redirects with a relative
// address without the token.
func TestLink(t *testing.T) {
	page, token, _ := newTokenPage(t)
	for _, c := range []struct {
		path, host string
		header     []string
		location   string
		cookie     string
	}{
		{"/?token=" + token, "localhost", nil, "./", "streamlimit-monitor-=TOKEN; HttpOnly; SameSite=Strict"},
		{"/?token=" + token, "localhost:8080", nil, "./", "streamlimit-monitor-8080=TOKEN; HttpOnly; SameSite=Strict"},
		{"/?token=" + token, "[::1]:8080", nil, "./", "streamlimit-monitor-8080=TOKEN; HttpOnly; SameSite=Strict"},
		{"/?token=" + token, "evil:80;x", nil, "./", "streamlimit-monitor-=TOKEN; HttpOnly; SameSite=Strict"},
		{"/?token=" + token, "a.example", []string{"X-Forwarded-Proto", "https"}, "./", "streamlimit-monitor-=TOKEN; HttpOnly; Secure; SameSite=Strict"},
		{"/?token=" + token, "a.example", []string{"Forwarded", "for=192.0.2.1;Proto=HTTPS"}, "./", "streamlimit-monitor-=TOKEN; HttpOnly; Secure; SameSite=Strict"},
		{"/?token=" + token, "a.example", []string{"X-Forwarded-Proto", "http"}, "./", "streamlimit-monitor-=TOKEN; HttpOnly; SameSite=Strict"},
		{"/api/key?key=a%26b&token=" + token + "&policy=p", "a.example", nil, "./key?key=a%26b&policy=p", "streamlimit-monitor-=TOKEN; HttpOnly; SameSite=Strict"},
		{"/a//evil.example?token=" + token, "a.example", nil, "./evil.example", "streamlimit-monitor-=TOKEN; HttpOnly; SameSite=Strict"},
	} {
		w := try(page, "GET", c.path, elsewhere, c.host, c.header...)
		cookie := strings.ReplaceAll(w.Header().Get("Set-Cookie"), token, "TOKEN")
		if w.Code != 303 || w.Header().Get("Location") != c.location || cookie != c.cookie || w.Body.Len() > 0 {
			t.Errorf("%s: status %d, Location %q, Set-Cookie %q", c.path, w.Code, w.Header().Get("Location"), cookie)
		}
	}
	// A redirect from another site would not send the cookie, so a script moves on.
	w := try(page, "GET", "/?token="+token, elsewhere, "a.example", "Sec-Fetch-Site", "cross-site")
	if w.Code != 200 || !strings.Contains(w.Header().Get("Set-Cookie"), token) || !strings.Contains(w.Body.String(), "location.replace(location.pathname + location.hash)") {
		t.Errorf("status %d, %v, %s", w.Code, w.Header(), w.Body)
	}
	// The script also adds the slash, and keeps the token. The cookie would be for the
	// directory above.
	w = try(http.StripPrefix("/a/b", page), "GET", "/a/b?token="+token, elsewhere, "a.example")
	if w.Code != 200 || w.Header().Get("Set-Cookie") != "" || !strings.Contains(w.Body.String(), `location.pathname + "/" + location.search`) {
		t.Errorf("status %d, %v, %s", w.Code, w.Header(), w.Body)
	}
}

func basic(password string) string {
	r := http.Request{Header: make(http.Header)}
	r.SetBasicAuth("anyone", password)
	return r.Header.Get("Authorization")
}

// The password is accepted from any peer.
func TestPassword(t *testing.T) {
	page, log := newPage(t, monitor.WithPassword("secret"))
	for range 50 { // the right one is not limited
		if w := try(page, "GET", "/api/state", elsewhere, "monitor.example", "Authorization", basic("secret"), "X-Forwarded-For", "192.0.2.1"); w.Code != 200 {
			t.Fatalf("status %d with the password", w.Code)
		}
	}
	for _, path := range paths {
		w := try(page, "GET", path, here, "localhost")
		if w.Code != 401 || !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("%s without: status %d, header %v", path, w.Code, w.Header())
		}
	}
	for _, header := range [][]string{nil, {"Authorization", "Bearer secret"}, {"Cookie", "streamlimit-monitor-=secret"}} {
		if w := try(page, "POST", "/api/ban?token=secret", here, "localhost", append(header, "Content-Type", "application/json")...); w.Code != 401 {
			t.Errorf("an action with %v: status %d", header, w.Code)
		}
	}
	if w := try(page, "GET", "/?token=secret", here, "localhost"); w.Code != 401 || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("the password as a token: status %d, %v", w.Code, w.Header())
	}
	for _, wrong := range []string{"", "Secret", "secret ", "secretsecret", "secret\x00"} {
		if w := try(page, "GET", "/", elsewhere, "x", "Authorization", basic(wrong)); w.Code != 401 {
			t.Errorf("password %q: status %d", wrong, w.Code)
		}
	}
	if strings.Contains(log.String(), "secret") {
		t.Errorf("log %s", log)
	}
}

// Guesses are counted by client. Guesses of others never keep out a client with the
// secret.
func TestGuesses(t *testing.T) {
	password, log := newPage(t, monitor.WithPassword("secret"))
	byToken, token, _ := newTokenPage(t)
	for _, c := range []struct {
		page         http.Handler
		right, wrong string
	}{{password, basic("secret"), basic("guess")}, {byToken, "Bearer " + token, "Bearer guess"}} {
		guess := func(peer string, header ...string) int {
			return try(c.page, "GET", "/api/state", peer, "x", append(header, "Authorization", c.wrong)...).Code
		}
		enter := func(peer string, header ...string) {
			t.Helper()
			w := try(c.page, "GET", "/api/state", peer, "x", append(header, "Authorization", c.right)...)
			if w.Code != 200 {
				t.Errorf("%s %v: status %d with the right one", peer, header, w.Code)
			}
		}
		for i := range 30 { // all of one client: IPv6 is counted by /64
			peer, want := fmt.Sprintf("[2001:db8::%x]:%d", i+1, i+1), 401
			if i >= 20 {
				want = 429
			}
			if status := guess(peer); status != want {
				t.Errorf("guess %d: status %d, want %d", i, status, want)
			}
			enter(peer)
		}
		if status := guess("[2001:db8:0:1::1]:1"); status != 401 {
			t.Errorf("another /64: status %d", status)
		}
		for i := range 25 { // behind a trusted proxy
			want := 401
			if i >= 20 {
				want = 429
			}
			if status := guess("10.0.0.1:1", "X-Forwarded-For", "127.0.0.1, 203.0.113.9"); status != want {
				t.Errorf("guess %d: status %d, want %d", i, status, want)
			}
		}
		enter("10.0.0.1:1", "X-Forwarded-For", "203.0.113.9")
		if status := guess("10.0.0.1:1", "X-Forwarded-For", "203.0.113.10"); status != 401 {
			t.Errorf("another client of the proxy: status %d", status)
		}
		for i := range 25 { // a peer that is not a proxy can't change its address
			if status := guess(elsewhere, "X-Forwarded-For", fmt.Sprintf("192.0.2.%d", i)); (status == 429) != (i >= 20) {
				t.Errorf("guess %d: status %d", i, status)
			}
		}
		for i := range 10_001 { // more clients than are counted
			if status := guess(fmt.Sprintf("[2001:db9:0:%x::1]:1", i)); status != 401 {
				t.Fatalf("guess %d: status %d", i, status)
			}
		}
		enter("[2001:db9:ffff::1]:1")
		enter("[2001:db9::1]:1")
	}
	if n := strings.Count(log.String(), "many wrong passwords"); n != 1 || strings.Contains(log.String(), "guess ") {
		t.Errorf("%d lines of guesses: %s", n, log)
	}
}

// BenchmarkGuess measures how many guesses a core checks.
func BenchmarkGuess(b *testing.B) {
	page, _ := newPage(b, monitor.WithPassword("secret"))
	r := httptest.NewRequest("GET", "/api/state", nil)
	r.SetBasicAuth("any", "guess")
	for b.Loop() {
		page.ServeHTTP(httptest.NewRecorder(), r)
	}
}

func TestAuthorize(t *testing.T) {
	page, _ := newPage(t, monitor.WithAuthorize(func(r *http.Request) bool { return r.Header.Get("User") == "ann" }))
	if w := try(page, "GET", "/", elsewhere, "x", "User", "ann"); w.Code != 200 {
		t.Errorf("status %d", w.Code)
	}
	if w := try(page, "GET", "/", here, "localhost"); w.Code != 403 {
		t.Errorf("status %d without the user", w.Code)
	}
}

// Only the page itself can act, and only with access to it.
func TestActionsAreGuarded(t *testing.T) {
	page, _ := newPage(t, monitor.WithAuthorize(anyone))
	readOnly, _ := newPage(t, monitor.WithAuthorize(anyone), monitor.WithReadOnly())
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

// Responses can't be framed, cached, or read as another type. Their links are relative.
func TestFieldsOfResponses(t *testing.T) {
	page, _ := newPage(t, monitor.WithAuthorize(anyone))
	mounted := http.StripPrefix("/a/b", page)
	for path, status := range map[string]int{
		"/": 200, "/index.html": 200, "/app.js": 200, "/style.css": 200, "/api/state": 200, "/api/history?minutes=5": 200, "/api/live?poll=1": 200,
		"/api": 404, "/api/": 404, "/api/none": 404, "/none": 404, "/app.js/": 404, "//": 404, "//api/state": 404, "/./": 404, "/api/../": 404, "/..": 404,
		"/%2e%2e/": 404, "/%2F%2Fevil.example/": 404, "//evil.example/%2e%2e": 404, "": 200, "?x=1": 200, "/assets/": 404, "/.": 404,
	} {
		for _, ranges := range []string{"", "bytes=99999999-", "bytes=0-1"} {
			w := try(mounted, "GET", "/a/b"+path, here, "localhost", "Range", ranges, "If-None-Match", "*", "If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT")
			h := w.Header()
			if w.Code != status || !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'; script-src 's") ||
				h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" || h.Get("Referrer-Policy") != "no-referrer" ||
				h.Get("Cache-Control") != "no-store" || h.Get("ETag")+h.Get("Last-Modified") != "" || h.Get("Access-Control-Allow-Origin") != "" || h.Get("Location") != "" {
				t.Errorf("%s %s: status %d, header %v", path, ranges, w.Code, h)
			}
		}
	}
	if w := try(page, "POST", "/", here, "localhost"); w.Code != 405 {
		t.Errorf("POST /: status %d", w.Code)
	}
}

// The page uses only relative addresses.
func TestRelativeAddresses(t *testing.T) {
	page, _ := newPage(t, monitor.WithAuthorize(anyone))
	absolute := regexp.MustCompile(`(href|src|action)=["']?(/|\w+:)|["'\x60]/[a-z]|url\(`)
	for _, path := range []string{"/", "/app.js", "/live.js", "/actions.js", "/key.js", "/dom.js", "/chart.js", "/replay.js", "/format.js", "/style.css"} {
		w := try(page, "GET", path, here, "localhost")
		for _, found := range absolute.FindAllString(w.Body.String(), -1) {
			if found != `href="data:` { // the icon
				t.Errorf("%s: %s", path, found)
			}
		}
	}
}
