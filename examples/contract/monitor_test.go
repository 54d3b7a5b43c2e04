package contract

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core/redistest"
)

// The monitor is at /ratelimit/ on each framework and store. It shows the service's
// decisions in its state, its events and a key's log.
func TestMonitor(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	for _, framework := range frameworks {
		t.Run(framework+"/memory", func(t *testing.T) {
			t.Parallel()
			monitor(t, start(t, framework))
		})
		t.Run(framework+"/redis", func(t *testing.T) {
			if err := redis.Client().FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			monitor(t, start(t, framework, "REDIS_URL=redis://"+redis.Addr))
		})
	}
}

func monitor(t *testing.T, s *server) {
	t.Helper()
	c := client{cookie: follow(t, s)}
	for path, kind := range map[string]string{"": "text/html", "style.css": "text/css", "app.js": "text/javascript"} {
		if a := c.want(t, s, 200, "GET /ratelimit/"+path); mediaType(t, a) != kind || len(a.body) == 0 {
			t.Errorf("/ratelimit/%s is %s", path, mediaType(t, a))
		}
	}
	if a := c.want(t, s, 200, "GET /ratelimit"); mediaType(t, a) != "text/html" {
		t.Errorf("/ratelimit leads to %s", mediaType(t, a))
	}
	for range 7 {
		c.do(t, s, "GET /strict")
	}
	for end := time.Now().Add(timeout); ; time.Sleep(100 * time.Millisecond) {
		a := c.want(t, s, 200, "GET /ratelimit/api/state")
		state := a.decode(t)
		if state["source"] != s.store {
			t.Fatalf("source %v, want %s", state["source"], s.store)
		}
		strict := find(state["policies"], "strict")
		if strict["allowed"] == 5.0 && strict["denied"] == 2.0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("strict is %v in %s", strict, a.body)
		}
	}
	key := c.want(t, s, 200, "GET /ratelimit/api/key?policy=strict&key=127.0.0.1").decode(t)
	if entries, _ := key["entries"].([]any); len(entries) == 0 || key["allowed"] != false {
		t.Errorf("key %v", key)
	}
	live(t, s, c)
	c.want(t, s, http.StatusNoContent, "POST /ratelimit/api/reset", `{"policy":"strict","key":"127.0.0.1"}`)
	c.want(t, s, 200, "GET /strict")
	for _, c := range []client{{}, {address: "127.0.0.1"}, {cookie: c.cookie[:len(c.cookie)-1]}, newClient()} {
		for _, path := range []string{"", "/", "/app.js", "/api/state", "/api/live", "/?token=", "/?token=wrong"} {
			if a := c.do(t, s, "GET /ratelimit"+path); a.status != 401 || strings.Contains(mediaType(t, a), "html") || a.header.Get("Set-Cookie") != "" {
				t.Errorf("/ratelimit%s: status %d, %v", path, a.status, a.header)
			}
		}
		c.want(t, s, 401, "POST /ratelimit/api/ban", `{"key":"127.0.0.1","seconds":60}`)
	}
	c.want(t, s, 200, "GET /strict")
}

// follow requests the link that the server has printed, up to the redirect, and returns
// the cookie. The cookie's path is the path of the monitor.
func follow(t *testing.T, s *server) (cookie string) {
	t.Helper()
	client := &http.Client{
		Transport:     transport.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Get(s.Link)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	at, token, _ := strings.Cut(s.Link, "?token=")
	cookies := resp.Cookies()
	if at != s.URL+"/ratelimit/" || len(token) < 22 || resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "./" || len(cookies) != 1 {
		t.Fatalf("%s: status %d, %v", s.Link, resp.StatusCode, resp.Header)
	}
	if c := cookies[0]; c.Value != token || c.Path != "" || c.Domain != "" || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode {
		t.Errorf("cookie %+v", c)
	}
	if strings.Contains(s.Log(), token) {
		t.Error("the token is in the log")
	}
	return cookies[0].Name + "=" + cookies[0].Value
}

// find returns the element of that name.
func find(list any, name string) map[string]any {
	elements, _ := list.([]any)
	for _, e := range elements {
		if object, _ := e.(map[string]any); object["name"] == name {
			return object
		}
	}
	return nil
}

// live checks the events for longer than the server's timeout to read a request. They
// come as a stream, which ends with the server. If the framework can't stream, the client
// polls each second.
func live(t *testing.T, s *server, c client) {
	t.Helper()
	if strings.HasPrefix(s.framework, "fiber") {
		c.want(t, s, http.StatusNotImplemented, "GET /ratelimit/api/live")
		lines := strings.Split(strings.TrimSpace(string(c.want(t, s, 200, "GET /ratelimit/api/live?poll=1").body)), "\n")
		for i, line := range lines {
			var e struct {
				Event string
				Data  map[string]any
			}
			want := "second"
			if i == 0 {
				want = "state"
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil || e.Event != want || len(e.Data) == 0 {
				t.Errorf("line %d: %v: %s", i, err, line)
			}
		}
		if len(lines) < 2 {
			t.Errorf("%d events", len(lines))
		}
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/ratelimit/api/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", c.cookie)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || kind != "text/event-stream" {
		t.Fatalf("status %d, %s", resp.StatusCode, kind)
	}
	seconds, states := 0, 0
	begun := time.Now()
	for lines := bufio.NewScanner(resp.Body); time.Since(begun) < 7*time.Second && lines.Scan(); {
		switch lines.Text() {
		case "event: second":
			seconds++
		case "event: state":
			states++
		}
	}
	if seconds < 5 || states < 2 {
		t.Errorf("%d seconds and %d states in %v", seconds, states, time.Since(begun))
	}
}

// With a password, only requests with the password get to the monitor.
func TestMonitorPassword(t *testing.T) {
	t.Parallel()
	for _, framework := range frameworks {
		t.Run(framework, func(t *testing.T) {
			s := start(t, framework, "MONITOR_PASSWORD=pw")
			status := func(password string) int {
				t.Helper()
				req, err := http.NewRequest(http.MethodGet, s.URL+"/ratelimit/api/state", nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("X-Forwarded-For", "192.0.2.1")
				if password != "" {
					req.SetBasicAuth("any", password)
				}
				resp, err := transport.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				return resp.StatusCode
			}
			for i := range 40 { // guesses never keep out who has the password
				want := 401
				if i >= 20 {
					want = 429
				}
				if got := status("wrong"); got != want {
					t.Errorf("guess %d: status %d, want %d", i, got, want)
				}
				if got := status("pw"); got != 200 {
					t.Errorf("status %d with the password", got)
				}
			}
			if got := status(""); got != 401 {
				t.Errorf("status %d without the password", got)
			}
			if s.Link != "" || strings.Contains(s.Log(), "pw") {
				t.Errorf("link %q, log %s", s.Link, s.Log())
			}
		})
	}
}

// An open page does not delay the server's shutdown.
func TestMonitorAtTheEnd(t *testing.T) {
	t.Parallel()
	for _, framework := range []string{"gin", "echo", "echo5"} {
		t.Run(framework, func(t *testing.T) {
			s := start(t, framework)
			req, err := http.NewRequest(http.MethodGet, s.URL+"/ratelimit/api/live", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Cookie", follow(t, s))
			resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Fatalf("status %d", resp.StatusCode)
			}
			begun := time.Now()
			s.stop(t)
			if took := time.Since(begun); took > 8*time.Second { // of the ten that a shutdown may take
				t.Errorf("the server took %v to end", took)
			}
		})
	}
}
