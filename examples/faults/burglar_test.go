package faults

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/core/monitor"
	"github.com/streamlimit/streamlimit/examples/internal/program"
)

// burglar tries to get access to a monitor.
type burglar struct {
	*testing.T
	client             *http.Client
	base               string
	login              func(*http.Request) // as who may
	attempts, bypasses int
}

// newBurglar starts an example server, and returns a burglar of its monitor.
func newBurglar(t *testing.T, client *http.Client, framework string, settings ...string) *burglar {
	t.Helper()
	server := program.Start(t, framework, settings...)
	b := &burglar{T: t, client: client, base: server.URL, login: func(r *http.Request) { r.SetBasicAuth("any", password) }}
	if _, token, ok := strings.Cut(server.Link, "?token="); ok {
		b.login = func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "streamlimit-monitor-", Value: token}) }
	}
	return b
}

// actions are the monitor's actions, with their bodies.
var actions = map[string]string{
	"reset":    fmt.Sprintf(`{"policy":"protected","key":%q}`, victim),
	"ban":      fmt.Sprintf(`{"key":%q,"seconds":600}`, victim),
	"unban":    fmt.Sprintf(`{"key":%q}`, victim),
	"override": `{"policy":"protected","limits":["1000000/second"]}`,
	"restore":  `{"policy":"protected"}`,
}

// views are the pages and data of the monitor.
var views = []string{
	"", "app.js", "api/state", "api/history?minutes=5", "api/live", "api/live?poll=1", "api/search?q=", "api/none",
	"api/key?policy=protected&key=" + victim,
}

func (b *burglar) view(path string) *http.Request {
	return newRequest(b.Context(), "GET", b.base+"/ratelimit/"+path, "")
}

func (b *burglar) action(name string) *http.Request {
	r := newRequest(b.Context(), "POST", b.base+"/ratelimit/api/"+name, actions[name])
	r.Header.Set("Content-Type", "application/json")
	return r
}

// all returns requests for all views and actions.
func (b *burglar) all() (all []*http.Request) {
	for _, path := range views {
		all = append(all, b.view(path))
	}
	for name := range actions {
		all = append(all, b.action(name))
	}
	return all
}

// try sends a request, and checks that the response has one of the statuses.
func (b *burglar) try(what string, r *http.Request, want ...int) {
	b.Helper()
	resp, err := b.client.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	b.note(what, r, resp, want...)
}

func (b *burglar) note(what string, r *http.Request, resp *http.Response, want ...int) {
	b.Helper()
	b.attempts++
	if !slices.Contains(want, resp.StatusCode) || len(resp.Header.Values("Access-Control-Allow-Origin")) > 0 {
		b.bypasses++
		b.Errorf("%s: %s %s: status %d, want %d; header %v", what, r.Method, r.URL, resp.StatusCode, want, resp.Header)
	}
}

// fromElsewhere are requests that a proxy has forwarded, or that claim it. Others are for
// another host: a site can make a browser on this machine send them through a name of its
// own. None has the password or the token.
func (b *burglar) fromElsewhere() {
	b.Helper()
	for name, values := range map[string][]string{
		"X-Forwarded-For": {"127.0.0.1", "::1", "198.51.100.1, 127.0.0.1", ""}, "Forwarded": {"for=127.0.0.1", `for="[::1]"`},
		"X-Real-Ip": {"127.0.0.1"}, "X-Forwarded-Host": {"localhost"}, "Via": {"1.1 localhost"},
	} {
		for _, value := range values {
			for _, r := range b.all() {
				r.Header.Set(name, value)
				b.try(name+": "+value, r, 401)
			}
		}
	}
	_, port, _ := strings.Cut(strings.TrimPrefix(b.base, "http://"), ":")
	for _, host := range []string{"attacker.example", "localhost.attacker.example", "127.0.0.1.attacker.example", "192.0.2.1", "[2001:db8::1]", "0.0.0.0", "localhost.", "localhost", "127.0.0.1", "[::1]", "[::1%25eth0]"} {
		for _, r := range b.all() {
			r.Host = host + ":" + port
			b.try("Host: "+r.Host, r, 401)
		}
	}
}

// fromOtherSites are requests that a browser with access to the monitor sends for another
// site.
func (b *burglar) fromOtherSites() {
	b.Helper()
	for name := range actions {
		send := func(what string, change func(*http.Request), want ...int) {
			b.Helper()
			r := b.action(name)
			b.login(r)
			change(r)
			b.try(what, r, want...)
		}
		for _, site := range []string{"cross-site", "same-site"} {
			send(site, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", site) }, 403)
		}
		for _, origin := range []string{"https://attacker.example", "null", "http://localhost:1", "file://"} {
			send("Origin: "+origin, func(r *http.Request) { r.Header.Set("Origin", origin) }, 403)
		}
		for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain; application/json"} {
			send("a form, "+kind, func(r *http.Request) { r.Header.Set("Content-Type", kind) }, 415, 400)
		}
		for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE"} {
			send(method, func(r *http.Request) {
				r.Method = method
				r.Header.Set("X-HTTP-Method-Override", "POST")
				r.URL.RawQuery = "policy=protected&seconds=600&key=" + victim
			}, 405)
		}
	}
}

// guess tries passwords and tokens, with any claimed address.
func (b *burglar) guess() {
	b.Helper()
	for _, r := range b.all() {
		b.try("no password", r, 401)
	}
	r := b.view("api/state")
	r.Header.Set("Authorization", "Bearer "+password)
	b.try("no password", r, 401)
	for i := range 100 {
		guess := []string{"", "admin", password[1:], password + "\x00", strings.ToUpper(password)}[i%5]
		for _, send := range []func(*http.Request){
			func(r *http.Request) { r.SetBasicAuth("any", guess) },
			func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+url.QueryEscape(guess)) },
			func(r *http.Request) {
				r.AddCookie(&http.Cookie{Name: "streamlimit-monitor-", Value: url.QueryEscape(guess)})
			},
			func(r *http.Request) { r.URL.RawQuery = "token=" + url.QueryEscape(guess) },
		} {
			r := b.view("")
			r.Header.Set("X-Forwarded-For", fmt.Sprintf("198.51.100.%d", i%4))
			send(r)
			b.try("guess", r, 401, 429)
		}
	}
}

// fromAnywhere are requests from other machines and from this one.
func (b *burglar) fromAnywhere() {
	b.Helper()
	handler := newMonitor(b.T)
	b.base = "http://localhost"
	for _, peer := range []string{"192.0.2.1:5", "10.0.0.1:5", "[2001:db8::1]:5", "[fe80::1%lo]:5", "169.254.0.1:5", "", "@", "localhost:5", "127.0.0.1:5", "[::1]:5"} {
		for _, r := range b.all() {
			r.RemoteAddr, r.URL.Path = peer, strings.TrimPrefix(r.URL.Path, "/ratelimit")
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			b.note("from "+peer, r, w.Result(), 401)
		}
	}
}

// onReadOnly has access to a read-only monitor.
func (b *burglar) onReadOnly() {
	b.Helper()
	server := httptest.NewServer(http.StripPrefix("/ratelimit", newMonitor(b.T, monitor.WithReadOnly(), monitor.WithAuthorize(func(*http.Request) bool { return true }))))
	defer server.Close()
	b.base, b.client = server.URL, server.Client()
	for name := range actions {
		b.try("read-only", b.action(name), 403)
	}
	b.unchanged()
}
