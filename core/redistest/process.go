package redistest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// startTimeout bounds every wait for a server. It is far longer than a loaded machine
// needs, since it only delays tests that fail.
const startTimeout = 20 * time.Second

// program returns the server program.
func program(t testing.TB) string {
	t.Helper()
	path, err := findProgram(os.Getenv("REDIS_SERVER"))
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
	return path
}

func findProgram(named string) (string, error) {
	if named != "" {
		path, err := exec.LookPath(named)
		if err != nil {
			return "", fmt.Errorf("REDIS_SERVER: %w", err)
		}
		return path, nil
	}
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("these tests need a redis-server in the PATH: run `make redis` at the root of the repository, " +
		"or install it with `apt-get install redis-server` or `brew install redis`")
}

// process is a running server program.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed after it has ended
}

// run starts the program, with its output in the file log.
func run(path string, args []string, log string) (*process, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = dieWithParent()
	p := &process{cmd: cmd, log: log, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The thread must live as long as the process: see dieWithParent.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		_ = out.Close()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails only if the process has ended
	<-p.done
}

// processID returns the server's process ID, as the server reports it.
func processID(ctx context.Context, client *redis.Client) (int, error) {
	info, err := client.Info(ctx, "server").Result()
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(infoField(info, "process_id"))
}

// infoField returns the value of a line "name:value" in a reply to INFO or CLUSTER INFO,
// or "".
func infoField(info, name string) string {
	for line := range bytes.Lines([]byte(info)) {
		if value, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte(name+":")); ok {
			return string(value)
		}
	}
	return ""
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }
