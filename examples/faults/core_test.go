package faults

import (
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/examples/internal/program"
)

// runCore runs tests of module core, for rows that need their internal state, and returns
// their log.
func runCore(t *testing.T, args ...string) string {
	t.Helper()
	before := append([]string{"test", "-count=1", "-v", "-vet=off", "-timeout=20m"}, program.BuildFlags...)
	run := exec.Command("go", append(before, args...)...)
	run.Dir = "../../core"
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", run, err, out)
	}
	return string(out)
}

// figures are the figures in the logs of tests, as lines of name=value.
type figures map[string][]string

var figureLine = regexp.MustCompile(`figure: (.+)`)

func readFigures(out string) figures {
	f := make(figures)
	for _, line := range figureLine.FindAllStringSubmatch(out, -1) {
		for field := range strings.FieldsSeq(line[1]) {
			name, value, _ := strings.Cut(field, "=")
			f[name] = append(f[name], value)
		}
	}
	return f
}

// sum returns the sum of a figure over all tests. A figure that no test has logged is an
// error.
func (f figures) sum(t *testing.T, name string) (sum int) {
	t.Helper()
	for _, value := range f.all(t, name) {
		n, err := strconv.Atoi(value)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// longest returns the longest value of a time.
func (f figures) longest(t *testing.T, name string) (longest time.Duration) {
	t.Helper()
	for _, value := range f.all(t, name) {
		d, err := time.ParseDuration(value)
		if err != nil {
			t.Fatal(err)
		}
		longest = max(longest, d)
	}
	return longest
}

func (f figures) all(t *testing.T, name string) []string {
	t.Helper()
	if len(f[name]) == 0 {
		t.Fatalf("no test has logged %s: %v", name, f)
	}
	return f[name]
}
