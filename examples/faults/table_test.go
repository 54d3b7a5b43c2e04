package faults

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/examples/internal/program"
)

// full reports whether the rows run in their full form and make the table.
var full = os.Getenv("FAULTS") == "full"

// scale returns a size: its value in the short form or in the full form.
func scale[T any](short, long T) T {
	if full {
		return long
	}
	return short
}

func TestMain(m *testing.M) {
	if worker, ok := workers[os.Getenv("FAULTS_WORKER")]; ok {
		worker()
		return
	}
	code := program.Main(m)
	if full {
		code = max(code, table())
	}
	os.Exit(code)
}

// record is the result of a row.
type record struct {
	number  int
	mu      sync.Mutex
	figures []string
	failed  bool
}

var records struct {
	sync.Mutex
	of map[int]*record
}

// row starts a row. The row must have a figure at the end of its test.
func row(t *testing.T, number int) *record {
	t.Helper()
	r := &record{number: number}
	records.Lock()
	defer records.Unlock()
	if records.of == nil {
		records.of = make(map[int]*record)
	}
	if records.of[number] != nil {
		t.Fatalf("row %d is there already", number)
	}
	records.of[number] = r
	start := time.Now()
	progress("row %2d  begins: %s", number, faults[number-1].name)
	t.Cleanup(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.figures) == 0 && !t.Failed() {
			t.Errorf("row %d has no figure", number)
		}
		r.failed = t.Failed()
		t.Logf("row %d: %s", number, r)
		progress("row %2d  %s (%v)", number, r, time.Since(start).Round(100*time.Millisecond))
	})
	return r
}

// Figure adds a measured value.
func (r *record) Figure(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.figures = append(r.figures, fmt.Sprintf(format, args...))
}

// String returns the row's figures, if the row passed.
func (r *record) String() string {
	figures := strings.Join(r.figures, "; ")
	if r.failed {
		return strings.TrimSpace("**FAILED** " + figures)
	}
	return figures
}

func progress(format string, args ...any) {
	if full {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}
}

// table prints the table, and writes it if all rows were selected. It returns 1 if a row
// is missing or failed.
func table() (code int) {
	var b strings.Builder
	fmt.Fprintf(&b, "# Faults\n\nMade by `make faults`: %s.\n\n", conditions())
	b.WriteString("| # | fault | must hold | figure |\n| --- | --- | --- | --- |\n")
	records.Lock()
	defer records.Unlock()
	for i, f := range faults {
		figure := "**MISSING**"
		if r := records.of[i+1]; r != nil {
			figure = r.String()
		}
		if strings.HasPrefix(figure, "**") {
			code = 1
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s |\n", i+1, f.name, f.holds, strings.ReplaceAll(figure, "|", `\|`))
	}
	fmt.Print(b.String())
	if flag.Lookup("test.run").Value.String() == "" {
		if err := os.WriteFile("TABLE.md", []byte(b.String()), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// conditions returns the date and the machine of the table.
func conditions() string {
	parts := []string{
		time.Now().UTC().Format(time.DateOnly),
		fmt.Sprintf("%s/%s, %d cores", runtime.GOOS, runtime.GOARCH, runtime.NumCPU()),
		runtime.Version(),
		"Redis " + redisVersion(),
	}
	if commit, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		parts = append(parts, "streamlimit "+strings.TrimSpace(string(commit)))
	}
	list := exec.Command("go", "list", "-m", "github.com/redis/go-redis/v9", "github.com/gin-gonic/gin",
		"github.com/labstack/echo/v4", "github.com/labstack/echo/v5", "github.com/gofiber/fiber/v2", "github.com/gofiber/fiber/v3")
	if modules, err := list.Output(); err == nil {
		for module := range strings.Lines(string(modules)) {
			parts = append(parts, strings.TrimPrefix(strings.TrimSpace(module), "github.com/"))
		}
	}
	return strings.Join(parts, ", ")
}

// redisVersion returns the version of the tests' server.
func redisVersion() string {
	server := os.Getenv("REDIS_SERVER")
	if server == "" {
		server = "redis-server"
	}
	out, _ := exec.Command(server, "--version").Output()
	for word := range strings.FieldsSeq(string(out)) {
		if version, ok := strings.CutPrefix(word, "v="); ok {
			return version
		}
	}
	return "of unknown version"
}
