package documents

import (
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestQuickStart runs the program at the top of the README, and compares its third
// response with the one that the README shows.
func TestQuickStart(t *testing.T) {
	all := blocks("README.md", documents(t)["README.md"])
	shown := slices.IndexFunc(all, func(b block) bool { return b.language == "console" })
	if shown < 0 || len(all[0].fragments) > 0 {
		t.Fatal("README.md does not begin with a program, or does not show its responses")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	code := strings.Replace(all[0].code, `":8080"`, `"`+address+`"`, 1)

	first := source{all[0].name, code}
	flag, pkg := overlaid(t, first)
	file := filepath.Join(t.TempDir(), "readme")
	run(t, first, "go", "build", flag, "-o", file, pkg)
	program := exec.Command(file)
	program.Env = append(os.Environ(), "GIN_MODE=release")
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Process.Kill(); _ = program.Wait() })
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			break
		}
		if time.Since(begun) > 10*time.Second {
			t.Fatal("the program does not listen")
		}
	}

	var got []string // the lines of the third response, in no order
	for range 3 {
		resp, err := http.Get("http://" + address + "/search")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		got = append(strings.Split(string(body), "\n"), resp.Proto+" "+resp.Status)
		for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
			got = append(got, name+": "+resp.Header.Get(name))
		}
	}
	lines := strings.Split(strings.TrimSpace(all[shown].code), "\n")[1:]
	if len(lines) < 4 {
		t.Fatalf("README.md shows %d lines of a response", len(lines))
	}
	for _, line := range lines {
		if !slices.Contains(got, line) {
			t.Errorf("README.md shows %q, and the response is\n%s", line, strings.Join(got, "\n"))
		}
	}
}
