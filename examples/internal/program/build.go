// Package program builds the example servers and runs them as processes, for
// tests.
//
//	func TestMain(m *testing.M) { os.Exit(program.Main(m)) }
//
//	func TestX(t *testing.T) {
//		server := program.Start(t, "gin", "TRUSTED_PROXIES=127.0.0.0/8")
//		resp, err := http.Get(server.URL)
//		...
//	}
package program

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Servers are the names of the example servers, which do the same.
var Servers = []string{"gin", "echo", "echo5", "fiber", "fiber3"}

// path is the import path of the programs, without their names.
const path = "github.com/streamlimit/streamlimit/examples/"

var binaries struct {
	sync.Mutex
	dir   string
	built map[string]string // the files, by name
}

// Main runs the tests, and removes the programs that were built for them.
func Main(m *testing.M) int {
	defer func() {
		binaries.Lock()
		defer binaries.Unlock()
		if binaries.dir != "" {
			_ = os.RemoveAll(binaries.dir)
		}
	}()
	return m.Run()
}

// Build builds an example once, and returns its file.
func Build(t testing.TB, name string) string {
	t.Helper()
	b := &binaries
	b.Lock()
	defer b.Unlock()
	if file, ok := b.built[name]; ok {
		return file
	}
	if b.dir == "" {
		dir, err := os.MkdirTemp("", "streamlimit-examples-")
		if err != nil {
			t.Fatal(err)
		}
		b.dir, b.built = dir, make(map[string]string)
	}
	file := filepath.Join(b.dir, name)
	args := append([]string{"build"}, BuildFlags...)
	build := exec.Command("go", append(args, "-o", file, path+name)...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	b.built[name] = file
	return file
}

// Command returns the command of an example with only these settings ("NAME=value"). It
// does not pass on settings from the environment of the tests.
func Command(t testing.TB, name string, settings ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(Build(t, name))
	cmd.Env = append([]string{"ADDR=127.0.0.1:0"}, settings...)
	return cmd
}
