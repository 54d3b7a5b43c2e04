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
	tls  *tls.Config // of clients; nil without TLS

	mu      sync.Mutex // guards what follows
	process *process
	client  *redis.Client
}

// Start starts a server and waits until it answers. Arguments are those of
// redis-server, for example "--maxmemory", "10mb" or "--appendonly", "yes";
// they stand after, and so override, the ones that turn persistence off.
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

// launch starts a server on a free port. Between finding a port and the
// server's taking it, another process may take it: then there is another try.
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

// Client is a client of this server, the same at each call, closed when the
// test ends. It sends nothing but what it is asked to, so that a test may count
// the server's commands.
func (s *Server) Client() *redis.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		s.client = redis.NewClient(s.Options())
	}
	return s.client
}

// Options are those of Client, for clients with settings of their own.
func (s *Server) Options() *redis.Options {
	o := &redis.Options{Addr: s.Addr, DisableIdentity: true, ContextTimeoutEnabled: true, TLSConfig: s.tls.Clone()}
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	if i := slices.Index(s.args, "--requirepass"); i >= 0 && i+1 < len(s.args) {
		o.Password = s.args[i+1]
	}
	return o
}

// Freeze stops the process where it stands (SIGSTOP): connections stay open
// and new ones are accepted by the system, but nothing is answered until Thaw.
func (s *Server) Freeze() {
	s.t.Helper()
	if err := s.running().freeze(); err != nil {
		s.t.Fatalf("redistest: freeze: %v", err)
	}
}

// Thaw lets a frozen process go on.
func (s *Server) Thaw() {
	s.t.Helper()
	if err := s.running().thaw(); err != nil {
		s.t.Fatalf("redistest: thaw: %v", err)
	}
}

// Kill ends the process at once (SIGKILL) and waits until it is gone. Killing
// a server that is not running does nothing.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		s.process.kill()
		s.process = nil
	}
}

// Restart kills the process if it runs and starts it again at the same
// address, with the same arguments and directory. What it had not persisted is
// lost.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	// The port was free for a moment: whoever took it may give it back.
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

// start runs the program and waits until it answers.
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

// await waits until p answers at the server's address. Who answers is asked
// too: another test's server may have taken the port, and it answers as well.
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
