package contract

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core/redistest"
)

// timeout bounds what must happen soon; it only delays tests that fail.
const timeout = 30 * time.Second

var frameworks = []string{"gin", "echo", "fiber"}

// binaries is the directory with the three servers, built once.
var binaries string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if binaries, err = os.MkdirTemp("", "streamlimit-examples-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(binaries) }()
		args := append([]string{"build"}, buildFlags...)
		args = append(args, "-o", binaries+string(filepath.Separator))
		for _, f := range frameworks {
			args = append(args, "../"+f)
		}
		build := exec.Command("go", args...)
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v: %v\n%s", build, err, out)
			return 1
		}
		return m.Run()
	}())
}

// command is a server's command with just these settings ("NAME=value"); those
// of the environment that the tests run in don't reach it.
func command(framework string, settings ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(binaries, framework))
	cmd.Env = append([]string{"ADDR=127.0.0.1:0"}, settings...)
	return cmd
}

// server is a running example.
type server struct {
	framework, store, url string

	cmd  *exec.Cmd
	term sync.Once
	done chan struct{} // closed when it has ended
	log  *buffer
}

// start starts an example and waits until it is ready. When the test ends it
// gets SIGTERM, and must then end by itself with exit code 0.
func start(t *testing.T, framework string, settings ...string) *server {
	t.Helper()
	s := &server{framework: framework, store: "memory", done: make(chan struct{}), log: &buffer{}}
	for _, setting := range settings {
		if strings.HasPrefix(setting, "REDIS_URL=") {
			s.store = "redis"
		}
	}
	s.cmd = command(framework, settings...)
	s.cmd.Stderr = s.log
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan string, 1)
	go func() {
		defer close(s.done)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if url, ok := strings.CutPrefix(lines.Text(), "listening on "); ok {
				ready <- url
			}
		}
		_ = s.cmd.Wait()
	}()
	t.Cleanup(func() { s.stop(t) })
	select {
	case s.url = <-ready:
	case <-s.done:
		t.Fatalf("%s ended at once: %v\n%s", framework, s.cmd.ProcessState, s.log)
	case <-time.After(timeout):
		t.Fatalf("%s is not ready after %v\n%s", framework, timeout, s.log)
	}
	return s
}

// terminate sends SIGTERM, once: a second one would end the server at once.
func (s *server) terminate(t *testing.T) {
	t.Helper()
	s.term.Do(func() {
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("%s: SIGTERM: %v", s.framework, err)
		}
	})
}

// stop ends the server as a supervisor does.
func (s *server) stop(t *testing.T) {
	t.Helper()
	// Connections that no request was sent on keep a server waiting for one.
	transport.CloseIdleConnections()
	select {
	case <-s.done:
	default:
		s.terminate(t)
	}
	select {
	case <-s.done:
	case <-time.After(timeout):
		_ = s.cmd.Process.Kill()
		<-s.done
		t.Errorf("%s does not end after SIGTERM\n%s", s.framework, s.log)
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("%s: exit code %d, want 0\n%s", s.framework, code, s.log)
	}
}

// trustUs lets the tests be clients of any address.
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
}

var clients atomic.Int64

// newClient is a client that has not been seen before.
func newClient() client {
	n := clients.Add(1)
	return client{
		address: fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255),
		key:     fmt.Sprintf("key-of-client-%d", n),
	}
}

// answer is a response with its body read.
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
		t.Fatalf("%s: %s: %v\n%s", s.framework, line, err, s.log)
	}
	return a
}

func (c client) try(s *server, line string, body ...string) (answer, error) {
	method, path, _ := strings.Cut(line, " ")
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(strings.Join(body, "")))
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
		t.Fatalf("%s: %s %s: status %d, want %d; body %s\n%s", s.framework, line, body, a.status, status, a.body, s.log)
	}
	return a
}

// decode reads an answer's JSON object.
func (a answer) decode(t *testing.T) map[string]any {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal(a.body, &object); err != nil {
		t.Fatalf("body %q: %v", a.body, err)
	}
	return object
}

// buffer is a bytes.Buffer for a process to write and a test to read.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
