package faults

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/examples/internal/program"
)

// Package soak itself checks the requirements.
func TestRow29_Soak(t *testing.T) {
	r := row(t, 29)
	file := filepath.Join(t.TempDir(), "figures.json")
	args := append([]string{"test", "-count=1", "-vet=off", "-timeout=20m"}, scale(program.BuildFlags, []string{"-race"})...)
	run := exec.Command("go", append(args, "../soak", "-args", "-json", file, "-soak", scale("5s", "3m"))...)
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", run, err, out)
	}
	line, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var soak struct {
		Passed   bool
		Seconds  float64
		Requests int
		Faults   map[string]int
		Servers  []struct {
			Heap       float64 `json:"heap_bytes_per_hour"`
			Goroutines float64 `json:"goroutines_per_hour"`
		}
	}
	if err := json.Unmarshal(line, &soak); err != nil {
		t.Fatal(err)
	}
	faults, heap, goroutines := 0, math.Inf(-1), math.Inf(-1)
	for _, n := range soak.Faults {
		faults += n
	}
	for _, server := range soak.Servers {
		heap, goroutines = max(heap, server.Heap), max(goroutines, server.Goroutines)
	}
	if !soak.Passed || soak.Requests == 0 || faults == 0 || len(soak.Servers) != len(program.Servers) {
		t.Errorf("figures %s", line)
	}
	// In a short time the slope is mostly chance, so the figure is the growth in that
	// time.
	hours := soak.Seconds / 2 / time.Hour.Seconds()
	r.Figure("%d requests and %d faults in %.0f s, 0 races; in the second half the heap grew by %+.2f MB and goroutines by %+.0f, at most; "+
		"`make soak` runs for 10 minutes", soak.Requests, faults, soak.Seconds, heap*hours/(1<<20), goroutines*hours)
}
