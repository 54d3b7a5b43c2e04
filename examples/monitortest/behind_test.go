package monitortest

import (
	"encoding/json"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/examples/internal/program"
)

// TestNginx: behind a real nginx, in all configurations, no hostile request gets access,
// and requests with the secret always do.
func TestNginx(t *testing.T) {
	t.Parallel()
	if len(hostile) < 40 {
		t.Fatalf("%d hostile requests", len(hostile))
	}
	for _, framework := range program.Servers {
		for _, password := range []string{"", "correct horse battery"} {
			t.Run(framework+map[bool]string{true: "/token", false: "/password"}[password == ""], func(t *testing.T) {
				t.Parallel()
				settings := []string{"TRUSTED_PROXIES=127.0.0.0/8", "POLICY_STRICT=1000/hour"}
				if password != "" {
					settings = append(settings, "MONITOR_PASSWORD="+password)
				}
				server := program.Start(t, framework, settings...)
				v := visitor{t: t, server: server, password: password}
				n := startNginx(t, server.Addr())
				for i, p := range proxies {
					v.proxy, v.host = p, n.hosts[i]
					v.attack()
					v.enter()
				}
				v.attack() // once more, after the pages might be in the cache
				v.logs(n)
			})
		}
	}
}

// visitor is a client behind a proxy.
type visitor struct {
	t        *testing.T
	server   *program.Process
	password string
	proxy    proxied
	host     string // of the proxy
}

func (v *visitor) token() string {
	_, token, _ := strings.Cut(v.server.Link, "?token=")
	return token
}

// login gives a request the secret.
func (v *visitor) login(r *http.Request) {
	if v.password != "" {
		r.SetBasicAuth("ann", v.password)
		return
	}
	r.Header.Set("Authorization", "Bearer "+v.token())
}

// attack sends all hostile requests, and checks that none got access or changed anything.
func (v *visitor) attack() {
	v.t.Helper()
	s := secrets{token: v.token(), cookie: "Cookie: streamlimit-monitor-=" + v.token()}
	if v.password != "" {
		r := newRequest(v.t, "GET", "http://x", "")
		v.login(r)
		s.cookie = "Authorization: " + r.Header.Get("Authorization") // browsers send it for other sites, too
	}
	for name, request := range hostile {
		a := s.send(v.t, v.host, v.server.Addr(), v.proxy.mount, request)
		wrong := a.status < 400 || a.status >= 500 && a.status != 501 || len(a.header.Values("Set-Cookie")) > 0 ||
			len(a.header.Values("Access-Control-Allow-Origin")) > 0 || strings.Contains(a.body, `"policies"`) || a.header.Get("X-Cache") == "HIT"
		if wrong {
			v.t.Errorf("%s: %s: status %d, %v\n%.300s", v.proxy.name, name, a.status, a.header, a.body)
		}
	}
	r := newRequest(v.t, "GET", v.server.URL+"/ratelimit/api/state", "")
	v.login(r)
	var state struct{ Rules []any }
	if a := v.do(client, r); a.status != 200 || json.Unmarshal([]byte(a.body), &state) != nil || len(state.Rules) > 0 {
		v.t.Errorf("%s: status %d, rules %v", v.proxy.name, a.status, state.Rules)
	}
	if a := v.do(client, newRequest(v.t, "GET", v.server.URL+"/strict", "")); a.status != 200 {
		v.t.Errorf("%s: the service refuses: status %d, %s", v.proxy.name, a.status, a.body)
	}
}

// enter logs in like a browser, after all those guesses, and sends an action.
func (v *visitor) enter() {
	v.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		v.t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, Timeout: patience, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		r.Header.Del("Referer") // which browsers don't send: the response says no-referrer
		return nil
	}}
	at := "http://" + v.host + v.proxy.mount
	ask := func(method, path, body string, status int, fields ...string) string {
		v.t.Helper()
		r := newRequest(v.t, method, at+path, body)
		for _, f := range fields {
			name, value, _ := strings.Cut(f, ": ")
			r.Header.Set(name, value)
		}
		if v.password != "" {
			v.login(r)
		}
		a := v.do(browser, r)
		if a.status != status || a.header.Get("Cache-Control") != "no-store" || a.header.Get("X-Cache") == "HIT" {
			v.t.Errorf("%s: %s %s: status %d, want %d, %v\n%.300s", v.proxy.name, method, path, a.status, status, a.header, a.body)
		}
		if v.token() != "" && strings.Contains(a.body, v.token()) {
			v.t.Errorf("%s: %s has the token", v.proxy.name, path)
		}
		return a.at
	}
	if v.password == "" {
		if to := ask("GET", "?token="+v.token(), "", 200); to != at {
			v.t.Errorf("%s: the link leads to %s", v.proxy.name, to)
		}
		host := &url.URL{Scheme: "http", Host: v.host, Path: "/"}
		if len(jar.Cookies(host)) > 0 {
			v.t.Errorf("%s: the cookie is not only for the monitor", v.proxy.name)
		}
	}
	for range 2 { // no cache serves the second one
		for _, path := range []string{"", "app.js", "style.css", "api/state", "api/live?poll=1", "api/key?policy=strict&key=127.0.0.1"} {
			ask("GET", path, "", 200)
		}
	}
	ask("GET", "api/none", "", 404)
	same := []string{asJSON, "Sec-Fetch-Site: same-origin", "Origin: http://" + v.host}
	ask("POST", "api/ban", ban, 204, same...)
	ask("POST", "api/unban", `{"key":"127.0.0.1"}`, 204, same...)
	ask("POST", "api/unban", `{"key":"127.0.0.1"}`, 404, same...)

	if v.proxy.name == "cache" { // which works, for what may be kept
		for _, want := range []string{"MISS", "HIT"} {
			if a := v.do(browser, newRequest(v.t, "GET", "http://"+v.host+"/?x", "")); a.header.Get("X-Cache") != want {
				v.t.Errorf("a page that may be kept: %s, want %s", a.header.Get("X-Cache"), want)
			}
		}
	}

	// Without the slash nobody is led out of the monitor.
	r := newRequest(v.t, "GET", strings.TrimSuffix(at, "/"), "")
	if v.password != "" {
		v.login(r)
	}
	if a := v.do(browser, r); a.status != 200 || !strings.HasPrefix(a.at+"/", at) || !strings.Contains(a.body, "Rate limits") {
		v.t.Errorf("%s: without the slash: status %d at %s", v.proxy.name, a.status, a.at)
	}
}

// logs checks that only the log lines about the link have the token.
func (v *visitor) logs(n *nginx) {
	v.t.Helper()
	access, err := os.ReadFile(n.access)
	if err != nil {
		v.t.Fatal(err)
	}
	if got := strings.Count(string(access), v.token()); v.password == "" && got != len(proxies) {
		v.t.Errorf("the token is in nginx's log %d times, want once for each use of the link", got)
	}
	for _, secret := range []string{v.token(), v.password} {
		if secret != "" && strings.Contains(v.server.Log(), secret) {
			v.t.Errorf("the secret is in the service's log:\n%s", v.server.Log())
		}
	}
}

func (v *visitor) do(client *http.Client, r *http.Request) seen {
	v.t.Helper()
	resp, err := client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	return read(v.t, resp)
}

func newRequest(t *testing.T, method, address, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestPageBehindNginx: the page works where nginx changes its path, also from a link
// without the slash.
func TestPageBehindNginx(t *testing.T) {
	t.Parallel()
	here := newProcess(t, redistest.Start(t))
	at, query, _ := strings.Cut(here.page(), "?")
	upstream, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	n := startNginx(t, upstream.Host)
	here.ask(core.NewPolicy("strict", core.PerHour(2)), "192.0.2.1", 3)
	for i, p := range proxies {
		if p.name != "prefix" && p.name != "prefix without slash" {
			continue
		}
		address := "http://" + n.hosts[i] + strings.TrimSuffix(p.mount, "/")
		b := open(t, address+"?"+query)
		b.live()
		if href := eval[string](b, "location.href"); href != address+"/" {
			t.Errorf("%s: at %s", p.name, href)
		}
		b.await("the policy", `document.querySelector("[data-policy=strict]")`)
		b.goTo("strict", "192.0.2.1")
		b.press("Ban…")
		b.confirm("Ban", "is banned")
		b.press("Unban…")
		b.confirm("Unban", "is not banned any more")
	}
}
