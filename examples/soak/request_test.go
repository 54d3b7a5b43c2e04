package soak

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// request is a request, and its allowed response statuses, which are never 5xx.
type request struct {
	line    string // "GET /path"
	body    string
	header  map[string]string
	want    []int
	garbage bool // any 4xx may answer it, too
}

// clients are so few that all their logs exist soon. Half of the requests are from the
// first few, which are denied most of the time.
const (
	clients = 200
	eager   = 3
)

// anyRequest returns a request of any client on any route, one of ten of them garbage.
func anyRequest() request {
	r := pick(routes)()
	n := rand.IntN(clients)
	if rand.IntN(2) == 0 {
		n = rand.IntN(eager)
	}
	header := map[string]string{
		"X-Forwarded-For": fmt.Sprintf("10.0.%d.%d", n/250, n%250+1),
		"X-API-Key":       fmt.Sprintf("key-%d", n),
	}
	if n%5 == 0 {
		header["X-Forwarded-For"] = fmt.Sprintf("2001:db8:0:%x::%x", n, rand.IntN(1<<16))
	}
	if strings.HasPrefix(r.line, "POST") {
		header["Content-Type"] = "application/json"
	}
	for name, value := range r.header {
		header[name] = value
	}
	r.header = header
	if rand.IntN(10) == 0 {
		r.spoil()
	}
	return r
}

// routes has requests of all routes of the servers, right ones and slightly wrong ones.
var routes = []func() request{
	get("/", 200), get("/healthz", 200), get("/whoami", 200), get("/none", 404),
	get("/protected", 200, 429), get("/strict", 200, 429), get("/search?q=a", 200, 429), get("/search", 200, 429),
	get("/stocks/AAPL/history", 200, 429), get("/stocks/NONE/history", 404, 429),
	func() request {
		return request{line: "GET /stocks/AAPL/history", header: map[string]string{"X-API-Key": ""}, want: []int{401}}
	},
	post("/login", `{"user":"demo","password":"demo"}`, 200, 429),
	post("/login", `{"user":"demo","password":"guess"}`, 401, 429),
	post("/login", `{"user":"","password":""}`, 401),
	func() request {
		return request{line: "POST /complete", body: fmt.Sprintf(`{"tokens": %d}`, 1+rand.IntN(2000)), want: []int{200, 429}}
	},
	post("/complete", `{"tokens": 0}`, 400), post("/complete", `{"tokens": 10001}`, 400), post("/complete", `{"tokens": -1}`, 400),
	post("/complete", `{"tokens": "1"}`, 400), post("/complete", `{`, 400), post("/complete", strings.Repeat(" ", 5000), 413),
}

func get(path string, want ...int) func() request {
	return func() request { return request{line: "GET " + path, want: want} }
}

func post(path, body string, want ...int) func() request {
	return func() request { return request{line: "POST " + path, body: body, want: want} }
}

// spoil makes a part of the request invalid.
func (r *request) spoil() {
	r.garbage = true
	r.want = append([]int{200}, r.want...)
	switch rand.IntN(5) {
	case 0:
		r.header["X-Forwarded-For"] = pick([]string{"unknown", `"`, ",,,", "<script>", "1.2.3.4:99999", "::ffff:1.2.3.4", strings.Repeat("1.2.3.4,", 200), printable(50)})
	case 1:
		r.header["X-API-Key"] = printable(1 + rand.IntN(3000))
	case 2:
		r.body = noise(rand.IntN(6000))
	case 3:
		r.line += "?" + strings.ReplaceAll(printable(100), " ", "+") + "%zz"
	case 4:
		r.body = fmt.Sprintf(`{"user": %q, "password": {}, "tokens": 1e%d}`, printable(20), rand.IntN(400))
	}
}

func noise(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.IntN(256))
	}
	return string(b)
}

func printable(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = ' ' + byte(rand.IntN(95))
	}
	return strings.NewReplacer("#", "", "?", "").Replace(string(b))
}
