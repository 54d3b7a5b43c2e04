package contract

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/examples/internal/program"
)

// timeout bounds the waits of a test. It delays only tests that fail.
const timeout = program.Timeout

var frameworks = program.Servers

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

// server is a running example.
type server struct {
	*program.Process
	framework, store string
}

// start starts an example and waits until it is ready. When the test ends, the example
// gets SIGTERM and must end by itself with exit code 0.
func start(t *testing.T, framework string, settings ...string) *server {
	t.Helper()
	s := &server{Process: program.Start(t, framework, settings...), framework: framework, store: "memory"}
	for _, setting := range settings {
		if strings.HasPrefix(setting, "REDIS_URL=") {
			s.store = "redis"
		}
	}
	t.Cleanup(transport.CloseIdleConnections)
	return s
}

// stop ends the server like a supervisor.
func (s *server) stop(t *testing.T) {
	t.Helper()
	transport.CloseIdleConnections()
	s.Stop(t)
}

// trustUs lets the tests act as clients of any address.
const trustUs = "TRUSTED_PROXIES=127.0.0.0/8"

// everywhere runs a test against each framework on each store.
func everywhere(t *testing.T, test func(t *testing.T, s *server)) {
	t.Helper()
	redis := redistest.Start(t)
	for _, framework := range frameworks {
		t.Run(framework+"/memory", func(t *testing.T) {
			test(t, start(t, framework, trustUs))
		})
		t.Run(framework+"/redis", func(t *testing.T) {
			test(t, start(t, framework, trustUs, "REDIS_URL=redis://"+redis.Addr))
		})
	}
}

// client is one client of the service.
type client struct {
	address, key string
	encoding     string // the Content-Encoding that it gives bodies; none when empty
	cookie       string // for the monitor
}

var clients atomic.Int64

// newClient returns a new client.
func newClient() client {
	n := clients.Add(1)
	return client{
		address: fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255),
		key:     fmt.Sprintf("key-of-client-%d", n),
	}
}

// answer is a response with its body.
type answer struct {
	status int
	header http.Header
	body   []byte
}

var transport = &http.Client{
	Timeout:   timeout,
	Transport: &http.Transport{MaxIdleConnsPerHost: 128},
}

// do sends a request, "GET /path" or "POST /path" with a body.
func (c client) do(t *testing.T, s *server, line string, body ...string) answer {
	t.Helper()
	a, err := c.try(s, line, body...)
	if err != nil {
		t.Fatalf("%s: %s: %v\n%s", s.framework, line, err, s.Log())
	}
	return a
}

func (c client) try(s *server, line string, body ...string) (answer, error) {
	method, path, _ := strings.Cut(line, " ")
	req, err := http.NewRequest(method, s.URL+path, strings.NewReader(strings.Join(body, "")))
	if err != nil {
		return answer{}, err
	}
	if c.address != "" {
		req.Header.Set("X-Forwarded-For", c.address)
	}
	if c.key != "" {
		req.Header.Set("X-API-Key", c.key)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.encoding != "" {
		req.Header.Set("Content-Encoding", c.encoding)
	}
	if c.cookie != "" {
		req.Header.Set("Cookie", c.cookie)
	}
	resp, err := transport.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, text}, err
}

// want sends a request and checks the status.
func (c client) want(t *testing.T, s *server, status int, line string, body ...string) answer {
	t.Helper()
	a := c.do(t, s, line, body...)
	if a.status != status {
		t.Fatalf("%s: %s %s: status %d, want %d; body %s\n%s", s.framework, line, body, a.status, status, a.body, s.Log())
	}
	return a
}

// decode reads the JSON object of a response.
func (a answer) decode(t *testing.T) map[string]any {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal(a.body, &object); err != nil {
		t.Fatalf("body %q: %v", a.body, err)
	}
	return object
}
