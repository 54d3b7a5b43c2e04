package redistest

import (
	"errors"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

func TestMissingServerGivesAdvice(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := findProgram("")
	if err == nil || !strings.Contains(err.Error(), "make redis") || !strings.Contains(err.Error(), "apt-get install redis-server") {
		t.Errorf("error %v, want advice on how to install it", err)
	}
	if _, err = findProgram("no-such-server"); !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "REDIS_SERVER") {
		t.Errorf("error %v, want one that names REDIS_SERVER", err)
	}
}

func TestTakenPortIsRetried(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	s := launchFirstOn(t, port)
	if err := s.Client().Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
}

// launchFirstOn starts a server that tries a given port first.
func launchFirstOn(t *testing.T, port string) *Server {
	first := true
	dir := t.TempDir()
	return launch(t, dir, nil, func(free int) []string {
		args := []string{"--bind", "127.0.0.1", "--dir", dir, "--save", "", "--port"}
		if first {
			first = false
			return append(args, port)
		}
		return append(args, strconv.Itoa(free))
	})
}
