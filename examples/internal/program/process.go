package program

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Timeout bounds what must happen soon; it only delays tests that fail.
const Timeout = 30 * time.Second

// Process is a running example server.
type Process struct {
	Name string
	URL  string        // http://host:port
	Link string        // to the monitor, with its token; "" with a password
	Done chan struct{} // closed when it has ended

	cmd  *exec.Cmd
	term sync.Once
	log  buffer
}

// Start starts an example server and waits until it is ready. When the test
// ends it is stopped, as Stop does.
func Start(t testing.TB, name string, settings ...string) *Process {
	t.Helper()
	p := &Process{Name: name, Done: make(chan struct{}), cmd: Command(t, name, settings...)}
	p.cmd.Stderr = &p.log
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The link comes next to the address, or not at all.
	withLink := !slices.ContainsFunc(settings, func(s string) bool { return strings.HasPrefix(s, "MONITOR_PASSWORD=") })
	ready := make(chan struct{})
	go func() {
		defer close(p.Done)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if url, ok := strings.CutPrefix(lines.Text(), "listening on "); ok {
				p.URL = url
			} else if link, ok := strings.CutPrefix(lines.Text(), "monitor: "); ok {
				p.Link = link
			} else {
				continue
			}
			if p.URL != "" && (p.Link != "") == withLink {
				close(ready)
			}
		}
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() { p.Stop(t) })
	select {
	case <-ready:
	case <-p.Done:
		t.Fatalf("%s ended at once: %v\n%s", name, p.cmd.ProcessState, p.Log())
	case <-time.After(Timeout):
		t.Fatalf("%s is not ready after %v\n%s", name, Timeout, p.Log())
	}
	return p
}

// Addr is the host:port that it listens on.
func (p *Process) Addr() string { return strings.TrimPrefix(p.URL, "http://") }

// Log is what it has written to standard error.
func (p *Process) Log() string { return p.log.String() }

// Signal sends it a signal.
func (p *Process) Signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Errorf("%s: %v: %v", p.Name, s, err)
	}
}

// Terminate sends SIGTERM, once: a second one would end it at once.
func (p *Process) Terminate(t testing.TB) {
	t.Helper()
	p.term.Do(func() { p.Signal(t, syscall.SIGTERM) })
}

// Stop ends it as a supervisor does: with SIGTERM, after which it must end by
// itself with exit code 0. It keeps waiting for clients' connections that no
// request was sent on: close those first.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	select {
	case <-p.Done:
	default:
		p.Terminate(t)
	}
	select {
	case <-p.Done:
	case <-time.After(Timeout):
		_ = p.cmd.Process.Kill()
		<-p.Done
		t.Errorf("%s does not end after SIGTERM\n%s", p.Name, p.Log())
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("%s: exit code %d, want 0\n%s", p.Name, code, p.Log())
	}
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
