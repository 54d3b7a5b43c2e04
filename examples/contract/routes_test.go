package contract

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/streamlimit/streamlimit/core/redistest"
)

// rows are the rows of the contract, with one test each. Each test has clients of its
// own.
var rows = []struct {
	name string
	test func(t *testing.T, s *server)
}{
	{"front page has a message and no limit", func(t *testing.T, s *server) {
		for range 20 {
			a := newClient().want(t, s, 200, "GET /")
			if message, _ := a.decode(t)["message"].(string); message == "" {
				t.Fatalf("body %s, want a message", a.body)
			}
			noFields(t, a)
		}
	}},
	{"healthz says which store and whether it answers", func(t *testing.T, s *server) {
		a := newClient().want(t, s, 200, "GET /healthz")
		want := map[string]any{"status": "ok", "store": s.store, "store_answers": true}
		if got := a.decode(t); !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}},
	{"protected is 10 per 60 s by address", func(t *testing.T, s *server) {
		c := newClient()
		for i := range 10 {
			a := c.want(t, s, 200, "GET /protected")
			if got := a.decode(t)["remaining"]; got != float64(9-i) {
				t.Fatalf("remaining %v, want %d", got, 9-i)
			}
			field(t, a, "RateLimit-Policy", `"protected";q=10;w=60`)
		}
		denied(t, c.do(t, s, "GET /protected"), "protected", 60)
		newClient().want(t, s, 200, "GET /protected")
	}},
	{"strict is 5 per 10 s by address", func(t *testing.T, s *server) {
		c := newClient()
		for range 5 {
			field(t, c.want(t, s, 200, "GET /strict"), "RateLimit-Policy", `"strict";q=5;w=10`)
		}
		denied(t, c.do(t, s, "GET /strict"), "strict", 10)
		newClient().want(t, s, 200, "GET /strict")
	}},
	{"search is 10 per second and 100 per minute together", func(t *testing.T, s *server) {
		c := newClient()
		a := c.want(t, s, 200, "GET /search?q=apple")
		field(t, a, "RateLimit-Policy", `"search";q=10;w=1, "search-minute";q=100;w=60`)
		if results, _ := a.decode(t)["results"].([]any); len(results) != 1 {
			t.Errorf("body %s, want one result", a.body)
		}
		admitted := 1
		for range 200 {
			if a = c.do(t, s, "GET /search?q=a"); a.status != 200 {
				break
			}
			admitted++
		}
		if admitted < 10 || admitted > 100 {
			t.Fatalf("%d admitted in a row", admitted)
		}
		if admitted < 100 { // else the machine was too slow to meet the first limit
			denied(t, a, "search", 1)
		}
	}},
	{"stocks answer with prices, 404 and 401", func(t *testing.T, s *server) {
		c := newClient()
		stock := c.want(t, s, 200, "GET /stocks/AAPL/history").decode(t)
		if prices, _ := stock["prices"].([]any); stock["symbol"] != "AAPL" || len(prices) == 0 {
			t.Errorf("got %v, want the prices of AAPL", stock)
		}
		c.want(t, s, 404, "GET /stocks/NONE/history")
		problem(t, client{address: c.address}.do(t, s, "GET /stocks/AAPL/history"), 401)
	}},
	{"stocks are 100 per minute by API key", func(t *testing.T, s *server) {
		c := newClient()
		for range 100 {
			c.want(t, s, 200, "GET /stocks/MSFT/history")
		}
		denied(t, c.do(t, s, "GET /stocks/MSFT/history"), "stocks", 60)
		client{address: c.address, key: newClient().key}.want(t, s, 200, "GET /stocks/MSFT/history")
		denied(t, client{address: newClient().address, key: c.key}.do(t, s, "GET /stocks/AAPL/history"), "stocks", 60)
	}},
	{"login is 5 failed tries per minute by address and user", func(t *testing.T, s *server) {
		c := newClient()
		const right, wrong = `{"user":"demo","password":"demo"}`, `{"user":"demo","password":"guess"}`
		for range 7 {
			c.want(t, s, 200, "POST /login", right)
		}
		for range 4 {
			c.want(t, s, 401, "POST /login", wrong)
			c.want(t, s, 200, "POST /login", right)
		}
		c.want(t, s, 401, "POST /login", wrong)
		denied(t, c.do(t, s, "POST /login", wrong), "login", 60)
		denied(t, c.do(t, s, "POST /login", right), "login", 60)
		c.want(t, s, 401, "POST /login", `{"user":"other","password":"demo"}`)
		newClient().want(t, s, 200, "POST /login", right)
	}},
	{"of 40 guesses at once 5 are tried", func(t *testing.T, s *server) {
		c := newClient()
		var tried, denied atomic.Int64
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() {
				switch a, err := c.try(s, "POST /login", fmt.Sprintf(`{"user":"demo","password":"guess-%d"}`, i)); {
				case err != nil:
					t.Error(err)
				case a.status == 401:
					tried.Add(1)
				case a.status == 429:
					denied.Add(1)
				}
			})
		}
		all.Wait()
		if tried.Load() != 5 || denied.Load() != 35 {
			t.Errorf("%d tried and %d denied, want 5 and 35", tried.Load(), denied.Load())
		}
	}},
	{"a malformed login is 400 and not counted", func(t *testing.T, s *server) {
		c := newClient()
		for range 3 {
			for _, body := range []string{``, `{`, `[]`, `"demo"`, `{"user":1}`, `{"user":"demo"} x`} {
				c.want(t, s, 400, "POST /login", body)
			}
		}
		c.want(t, s, 200, "POST /login", `{"user":"demo","password":"demo"}`)
	}},
	{"complete costs its tokens, 10,000 per minute by API key", func(t *testing.T, s *server) {
		c := newClient()
		a := c.want(t, s, 200, "POST /complete", `{"tokens": 6000}`)
		if got, want := a.decode(t), (map[string]any{"tokens": 6000.0, "remaining": 4000.0}); !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		denied(t, c.do(t, s, "POST /complete", `{"tokens": 4001}`), "tokens", 60)
		c.want(t, s, 200, "POST /complete", `{"tokens": 4000}`)
		denied(t, c.do(t, s, "POST /complete", `{"tokens": 1}`), "tokens", 60)
		newClient().want(t, s, 200, "POST /complete", `{"tokens": 10000}`)
	}},
	{"complete refuses what can never be admitted", func(t *testing.T, s *server) {
		c := newClient()
		for _, body := range []string{
			`{"tokens": 10001}`, `{"tokens": 0}`, `{"tokens": -5}`, `{}`, `{"tokens": 1.5}`, `{"tokens": "1"}`,
			`{"tokens": 99999999999999999999}`, `{`, ``,
		} {
			c.want(t, s, 400, "POST /complete", body)
		}
		problem(t, client{address: c.address}.do(t, s, "POST /complete", `{"tokens": 1}`), 401)
		c.want(t, s, 200, "POST /complete", `{"tokens": 10000}`)
	}},
	{"whoami peeks at protected", func(t *testing.T, s *server) {
		c := newClient()
		for range 12 {
			whoami(t, s, c, 10)
		}
		for range 4 {
			c.want(t, s, 200, "GET /protected")
		}
		budget := whoami(t, s, c, 6)
		between(t, budget, "reset_after", 1, 60)
		between(t, budget, "retry_after", 0, 0)
		for range 6 {
			c.want(t, s, 200, "GET /protected")
		}
		budget = whoami(t, s, c, 0)
		between(t, budget, "reset_after", 1, 60)
		between(t, budget, "retry_after", 1, 60)
	}},
	{"the client is the last address that no trusted proxy has", func(t *testing.T, s *server) {
		real := newClient()
		for i := range 5 {
			forged := client{address: fmt.Sprintf("1.2.3.%d, 127.0.0.9, %s, 127.0.0.8", i, real.address)}
			forged.want(t, s, 200, "GET /strict")
		}
		denied(t, real.do(t, s, "GET /strict"), "strict", 10)
	}},
	{"an IPv6 client is its /64", func(t *testing.T, s *server) {
		one := client{address: "2001:db8:0:" + strconv.Itoa(int(clients.Add(1))) + "::1"}
		other := client{address: one.address + "2"}
		one.want(t, s, 200, "GET /protected")
		whoami(t, s, other, 9)
	}},
	{"a compressed body is not decompressed", func(t *testing.T, s *server) {
		var body bytes.Buffer
		w := gzip.NewWriter(&body)
		_, _ = w.Write([]byte(`{"tokens":5}`))
		_ = w.Close()
		c := newClient()
		c.encoding = "gzip"
		c.want(t, s, 400, "POST /complete", body.String())
	}},
	{"an unknown route is 404", func(t *testing.T, s *server) {
		newClient().want(t, s, 404, "GET /nothing")
		for _, path := range []string{"/protected/", "/PROTECTED", "/stocks/AAPL/History"} {
			newClient().want(t, s, 404, "GET "+path)
		}
	}},
}

func TestContract(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, s *server) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) { row.test(t, s) })
		}
	})
}

func TestForwardedForOfAStrangerIsNotBelieved(t *testing.T) {
	t.Parallel()
	for _, framework := range frameworks {
		t.Run(framework, func(t *testing.T) {
			s := start(t, framework)
			for range 10 {
				newClient().want(t, s, 200, "GET /protected")
			}
			denied(t, newClient().do(t, s, "GET /protected"), "protected", 60)
			if key := newClient().want(t, s, 200, "GET /whoami").decode(t)["key"]; key != "127.0.0.1" {
				t.Errorf("key %v, want the peer's address", key)
			}
		})
	}
}

// TestServersAnswerAlike sends the same requests to all servers, and compares the
// responses.
func TestServersAnswerAlike(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	requests := []struct{ line, body string }{
		{"GET /", ""},
		{"GET /healthz", ""},
		{"GET /search?q=a", ""},
		{"GET /search", ""},
		{"GET /search?q=%C3%A9%26x", ""},
		{"GET /stocks/NVDA/history", ""},
		{"GET /stocks/none/history", ""},
		{"POST /login", `{"user":"demo","password":"demo"}`},
		{"POST /login", `{"user":"demo","password":"x"}`},
		{"POST /login", `{"user":"","password":"x"}`},
		{"POST /login", `[1]`},
		{"POST /login", `{"user":"` + string(make([]byte, 5000)) + `"}`},
		{"POST /complete", `{"tokens":10}`},
		{"POST /complete", `{"tokens":-1}`},
		{"POST /complete", `{"tokens":"many"}`},
		{"GET /whoami", ""},
		{"GET /protected", ""},
		{"GET /strict", ""},
	}
	var first []answer
	for i, framework := range frameworks {
		// Each server gets the same client, on empty logs.
		if err := redis.Client().FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		s := start(t, framework, trustUs, "REDIS_URL=redis://"+redis.Addr)
		c := client{address: "203.0.113.9", key: "k"}
		for j, r := range requests {
			a := c.do(t, s, r.line, r.body)
			if i == 0 {
				first = append(first, a)
				continue
			}
			want := first[j]
			if a.status != want.status || mediaType(t, a) != mediaType(t, want) {
				t.Errorf("%s %s: %s answers %d %s, %s answers %d %s", r.line, r.body,
					framework, a.status, mediaType(t, a), frameworks[0], want.status, mediaType(t, want))
			}
			if got, want := a.decode(t), want.decode(t); !reflect.DeepEqual(got, want) {
				t.Errorf("%s %s: %s answers %v, %s answers %v", r.line, r.body, framework, got, frameworks[0], want)
			}
			for _, name := range []string{"RateLimit-Policy", "RateLimit", "Retry-After"} {
				got, _, _ := strings.Cut(a.header.Get(name), ";t=") // seconds pass
				want, _, _ := strings.Cut(want.header.Get(name), ";t=")
				if got != want {
					t.Errorf("%s: %s: %s sends %q, %s sends %q", r.line, name, framework, got, frameworks[0], want)
				}
			}
		}
	}
}

func mediaType(t *testing.T, a answer) string {
	t.Helper()
	media, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil {
		t.Errorf("Content-Type %q: %v", a.header.Get("Content-Type"), err)
	}
	return media
}

// denied checks the response to a request over the limit of a policy with a window of
// that many seconds.
func denied(t *testing.T, a answer, policy string, window int64) {
	t.Helper()
	problem(t, a, 429)
	seconds, err := strconv.ParseInt(a.header.Get("Retry-After"), 10, 64)
	if err != nil || seconds < 1 || seconds > window {
		t.Errorf("Retry-After %q, want 1 to %d", a.header.Get("Retry-After"), window)
	}
	if a.header.Get("RateLimit") == "" || a.header.Get("RateLimit-Policy") == "" {
		t.Errorf("header %v, want RateLimit and RateLimit-Policy", a.header)
	}
	body := a.decode(t)
	if violated, _ := body["violated-policies"].([]any); len(violated) != 1 || violated[0] != policy {
		t.Errorf("violated-policies %v, want %s", body["violated-policies"], policy)
	}
	if body["type"] != "https://iana.org/assignments/http-problem-types#quota-exceeded" {
		t.Errorf("type %v", body["type"])
	}
}

// problem checks the problem document of a limit.
func problem(t *testing.T, a answer, status int) {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d; body %s", a.status, status, a.body)
	}
	field(t, a, "Content-Type", "application/problem+json")
	if got := a.decode(t)["status"]; got != float64(status) {
		t.Errorf("status in the body %v, want %d", got, status)
	}
}

func field(t *testing.T, a answer, name, want string) {
	t.Helper()
	if got := a.header.Values(name); len(got) != 1 || got[0] != want {
		t.Errorf("%s %q, want %q", name, got, want)
	}
}

func noFields(t *testing.T, a answer) {
	t.Helper()
	for _, name := range []string{"RateLimit", "RateLimit-Policy", "Retry-After"} {
		if value := a.header.Get(name); value != "" {
			t.Errorf("%s: %s on a route without limit", name, value)
		}
	}
}

// whoami checks the rest of a client's budget, and that the response has only the fields
// of the contract.
func whoami(t *testing.T, s *server, c client, remaining int64) map[string]any {
	t.Helper()
	a := c.want(t, s, http.StatusOK, "GET /whoami")
	noFields(t, a)
	budget := a.decode(t)
	want := map[string]any{"policy": "protected", "limit": 10.0, "remaining": float64(remaining), "source": s.store}
	for name, value := range want {
		if budget[name] != value {
			t.Fatalf("%s: %s is %v, want %v; body %s", s.framework, name, budget[name], value, a.body)
		}
	}
	if key, _ := budget["key"].(string); key == "" || len(budget) != 7 {
		t.Errorf("body %s, want key, policy, limit, remaining, retry_after, reset_after, source", a.body)
	}
	return budget
}

// between checks a number of whole seconds.
func between(t *testing.T, object map[string]any, name string, least, most int64) {
	t.Helper()
	value, ok := object[name].(float64)
	if !ok || value != float64(int64(value)) || value < float64(least) || value > float64(most) {
		text, _ := json.Marshal(object)
		t.Errorf("%s in %s: want a whole number from %d to %d", name, text, least, most)
	}
}
