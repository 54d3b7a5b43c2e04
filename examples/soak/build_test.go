package soak

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/streamlimit/streamlimit/examples/internal/program"
)

// TestMain builds the servers with one more file, which reports their figures. Otherwise
// they are unchanged.
func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "streamlimit-soak-")
		if err == nil {
			defer func() { _ = os.RemoveAll(dir) }()
			err = addFigures(filepath.Join(dir, "overlay.json"))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return program.Main(m)
	}())
}

// addFigures adds the file to the build of each server.
func addFigures(overlay string) error {
	figures, err := filepath.Abs(filepath.Join("testdata", "figures.go"))
	if err != nil {
		return err
	}
	replace := make(map[string]string)
	for _, name := range program.Servers {
		file, err := filepath.Abs(filepath.Join("..", name, "figures.go"))
		if err != nil {
			return err
		}
		replace[file] = figures
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		return err
	}
	return os.Setenv("GOFLAGS", os.Getenv("GOFLAGS")+" '-overlay="+overlay+"'")
}
