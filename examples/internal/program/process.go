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

// Timeout bounds the waits of a test. It delays only tests that fail.
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

// Start starts an example server and waits until it is ready. At the end of the test it
// calls Stop.
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
	// The link follows the address, or there is none.
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

// Addr returns the host:port that the server listens on.
func (p *Process) Addr() string { return strings.TrimPrefix(p.URL, "http://") }

// Log returns the text that the server has written to standard error.
func (p *Process) Log() string { return p.log.String() }

// Signal sends the server a signal.
func (p *Process) Signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Errorf("%s: %v: %v", p.Name, s, err)
	}
}

// Terminate sends SIGTERM once. A second SIGTERM would end the server at once.
func (p *Process) Terminate(t testing.TB) {
	t.Helper()
	p.term.Do(func() { p.Signal(t, syscall.SIGTERM) })
}

// Stop ends the server like a supervisor. After SIGTERM the server must end by itself
// with exit code 0. It waits for clients' connections without a request, so close those
// first.
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
