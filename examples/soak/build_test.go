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

// TestMain has the servers built with a file more, which tells their figures:
// they are otherwise what they always are.
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

// addFigures lets go build take the file as one of each server's.
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
