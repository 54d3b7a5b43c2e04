package redistest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Server is one running Redis server.
type Server struct {
	Addr string // host:port, the same after Restart

	t    testing.TB
	dir  string
	args []string
	tls  *tls.Config // for clients; nil without TLS

	mu      sync.Mutex // guards the fields below
	process *process
	client  *redis.Client
}

// Start starts a server and waits until it responds. The arguments are those of
// redis-server, such as "--maxmemory", "10mb" or "--appendonly", "yes". They follow the
// arguments that turn persistence off, and so override them.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	dir := t.TempDir()
	return launch(t, dir, nil, func(port int) []string {
		return append([]string{
			"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir,
			"--save", "", "--appendonly", "no",
		}, args...)
	})
}

// launch starts a server on a free port. If another process takes the port first, it
// tries another one.
func launch(t testing.TB, dir string, clients *tls.Config, arguments func(port int) []string) *Server {
	t.Helper()
	var err error
	for range 10 {
		port := freePort(t)
		s := &Server{
			Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
			t:    t, dir: dir, args: arguments(port), tls: clients,
		}
		if err = s.start(); err == nil {
			t.Cleanup(s.close)
			return s
		}
	}
	t.Fatalf("redistest: the server does not start: %v", err)
	return nil
}

// Client returns a client of this server, the same at each call. It is closed when the
// test ends. It sends no commands of its own, so a test can count the server's commands.
func (s *Server) Client() *redis.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		s.client = redis.NewClient(s.Options())
	}
	return s.client
}

// Options returns the options of Client, for clients with settings of their own.
func (s *Server) Options() *redis.Options {
	o := &redis.Options{Addr: s.Addr, DisableIdentity: true, ContextTimeoutEnabled: true, TLSConfig: s.tls.Clone()}
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	if i := slices.Index(s.args, "--requirepass"); i >= 0 && i+1 < len(s.args) {
		o.Password = s.args[i+1]
	}
	return o
}

// Freeze stops the process (SIGSTOP). Connections stay open and the system accepts new
// ones, but no request gets a reply until Thaw.
func (s *Server) Freeze() {
	s.t.Helper()
	if err := s.running().freeze(); err != nil {
		s.t.Fatalf("redistest: freeze: %v", err)
	}
}

// Thaw continues a frozen process.
func (s *Server) Thaw() {
	s.t.Helper()
	if err := s.running().thaw(); err != nil {
		s.t.Fatalf("redistest: thaw: %v", err)
	}
}

// Kill ends the process at once (SIGKILL) and waits for its end. It does nothing if the
// server is not running.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		s.process.kill()
		s.process = nil
	}
}

// Restart kills the process if it is running, and starts it again at the same address,
// with the same arguments and directory. Data that was not persisted is lost.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	// The port was free for a moment. Another process that took it may release it.
	var err error
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = s.start(); err == nil {
			return
		}
	}
	s.t.Fatalf("redistest: the server does not restart: %v", err)
}

// alive reports whether the server was started and not killed.
func (s *Server) alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process != nil
}

func (s *Server) running() *process {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		s.t.Fatal("redistest: the server was killed: Restart it first")
	}
	return s.process
}

// start runs the program and waits until it responds.
func (s *Server) start() error {
	s.t.Helper()
	p, err := run(program(s.t), s.args, filepath.Join(s.dir, "redis.log"))
	if err != nil {
		return err
	}
	if err := s.await(p); err != nil {
		p.kill()
		log, _ := os.ReadFile(p.log)
		return fmt.Errorf("%w; its log ends with:\n%s", err, tail(log, 2000))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process = p
	return nil
}

// await waits until p responds at the server's address. It also checks the process ID: a
// server of another test may have taken the port.
func (s *Server) await(p *process) error {
	client := redis.NewClient(s.Options())
	defer func() { _ = client.Close() }()
	var err error
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		select {
		case <-p.done:
			return fmt.Errorf("%s: exited: %v", s.Addr, p.cmd.ProcessState)
		default:
		}
		// The client would log each refused connection.
		var conn net.Conn
		if conn, err = net.DialTimeout("tcp", s.Addr, time.Second); err != nil {
			continue
		}
		_ = conn.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		var pid int
		if err = client.Ping(ctx).Err(); err == nil {
			pid, err = processID(ctx, client)
		}
		cancel()
		if err != nil {
			continue
		}
		if pid != p.cmd.Process.Pid {
			return fmt.Errorf("%s: another server has this port", s.Addr)
		}
		return nil
	}
	return fmt.Errorf("%s: no answer within %v: %w", s.Addr, startTimeout, err)
}

func (s *Server) close() {
	s.mu.Lock()
	client := s.client
	s.mu.Unlock()
	if client != nil {
		_ = client.Close()
	}
	s.Kill()
}
