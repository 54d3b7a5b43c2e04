package main

import (
	"io"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/hinshun/vt10x"
	"golang.org/x/term"

	"github.com/streamlimit/streamlimit/core/redistest"
)

// console is a terminal that runs the tool.
type console struct {
	t      *testing.T
	pty    *os.File
	tty    *os.File
	screen vt10x.Terminal
	before *term.State
	tool   *exec.Cmd
	ended  chan error
}

const shell = "$ streamlimit top"

func newConsole(t *testing.T, server *redistest.Server, args ...string) *console {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &console{t: t, screen: vt10x.New(), ended: make(chan error, 1)}
	if c.pty, c.tty, err = pty.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.tty.Close()
		c.pty.Close()
	})
	c.resize(80, 24)
	c.write(shell)
	if c.before, err = term.GetState(int(c.tty.Fd())); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(c.screen, c.pty) }()

	c.tool = exec.CommandContext(t.Context(), program, append([]string{"top", "-redis", "redis://" + server.Addr}, args...)...)
	c.tool.Env = append(os.Environ(), asTool+"=1")
	c.tool.Stdin, c.tool.Stdout, c.tool.Stderr = c.tty, c.tty, c.tty
	if err := c.tool.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { c.ended <- c.tool.Wait() }()
	return c
}

// write makes the terminal show text, like a program's output.
func (c *console) write(text string) {
	if _, err := c.screen.Write([]byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *console) resize(columns, rows uint16) {
	c.t.Helper()
	c.screen.Resize(int(columns), int(rows))
	if err := pty.Setsize(c.pty, &pty.Winsize{Cols: columns, Rows: rows}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *console) press(keys string) {
	c.t.Helper()
	if _, err := c.pty.WriteString(keys); err != nil {
		c.t.Fatal(err)
	}
}

// await waits until ok accepts the screen.
func (c *console) await(what string, is func(screen string) bool) {
	c.t.Helper()
	for start := time.Now(); !is(c.screen.String()); time.Sleep(20 * time.Millisecond) {
		if time.Since(start) > patience {
			c.t.Fatalf("no %s in %v; the screen is\n%s", what, patience, c.screen.String())
		}
	}
}

func (c *console) awaitText(parts ...string) {
	c.t.Helper()
	for _, part := range parts {
		c.await("\""+part+"\"", func(screen string) bool { return strings.Contains(screen, part) })
	}
}

// wantRestored waits for the tool's end, and checks that the terminal is restored.
func (c *console) wantRestored() {
	c.t.Helper()
	select {
	case err := <-c.ended:
		if err != nil {
			c.t.Errorf("ended with %v", err)
		}
	case <-time.After(patience):
		c.t.Fatal("goes on")
	}
	c.await("shell", func(string) bool { return c.screen.Mode()&vt10x.ModeAltScreen == 0 && c.screen.CursorVisible() })
	if text := strings.TrimSpace(c.screen.String()); text != shell {
		c.t.Errorf("the screen is %q, want %q", text, shell)
	}
	if after, err := term.GetState(int(c.tty.Fd())); err != nil || !reflect.DeepEqual(after, c.before) {
		c.t.Errorf("the terminal is %v, %v; want %v", after, err, c.before)
	}
}

func TestTopShowsWhatProcessesDecide(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := newConsole(t, server)
	c.awaitText("No process has published a policy")
	if c.screen.Mode()&vt10x.ModeAltScreen == 0 {
		t.Error("not on the alternate screen")
	}

	s := newService(t, server)
	s.ask(t, api, "192.0.2.7", 20)
	c.awaitText("api", "5/minute", "75 % denied", "1 process", "█")

	c.press("\t")
	c.awaitText("DENIED MOST", "192.0.2.7", " 15 ")
	c.press("\x1b[C")
	c.awaitText("HOST", "redis", "P99 MS")
	if err := s.Ban(t.Context(), "192.0.2.9", time.Hour); err != nil {
		t.Fatal(err)
	}
	c.press("4")
	c.awaitText("ENDS IN", "192.0.2.9", " 59m")
	c.press("\x1b[C")
	c.awaitText("LIMITS")

	c.press("p")
	c.awaitText("PAUSED")
	s.ask(t, costs, "192.0.2.8", 3)
	time.Sleep(2500 * time.Millisecond) // longer than a change needs to show
	if strings.Contains(c.screen.String(), "costs") {
		t.Errorf("a picture that is held changes\n%s", c.screen.String())
	}
	c.press("p")
	c.awaitText("costs")

	c.resize(120, 40)
	c.awaitText("LAST 55 SECONDS")
	c.resize(40, 40)
	c.await("narrow picture", func(screen string) bool {
		return strings.Contains(screen, "POLICY") && !strings.Contains(screen, "SECONDS")
	})
	c.press("q")
	c.wantRestored()
}

func TestTopEndsBySignal(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for name, end := range map[string]func(c *console) error{
		"Ctrl-C":  func(c *console) error { c.press("\x03"); return nil },
		"SIGINT":  func(c *console) error { return c.tool.Process.Signal(os.Interrupt) },
		"SIGTERM": func(c *console) error { return c.tool.Process.Signal(syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newConsole(t, server)
			c.awaitText("No process")
			if err := end(c); err != nil {
				t.Fatal(err)
			}
			c.wantRestored()
		})
	}
}

func TestTopSaysThatRedisDoesNotAnswer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := newService(t, server)
	s.ask(t, api, client, 1)
	c := newConsole(t, server)
	c.awaitText("5/minute")
	server.Kill()
	c.awaitText("no answer from Redis at "+server.Addr, "5/minute")
	server.Restart()
	c.await("end of it", func(screen string) bool { return !strings.Contains(screen, "no answer") })
	server.Freeze()
	c.awaitText("no answer from Redis at " + server.Addr)
	c.press("q")
	c.wantRestored()
	server.Thaw()
}

func TestTopIsInert(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := newConsole(t, server)
	c.awaitText("No process")
	newService(t, server).ask(t, api, "a\x1b]0;x\x07b\u202e\r\nc", 1)
	c.press("2")
	c.awaitText("a?]0;x?b???c")
	c.press("q")
	c.wantRestored()
}
