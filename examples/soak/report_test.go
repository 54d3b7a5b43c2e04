package soak

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"testing"
	"text/tabwriter"
	"time"
)

// report is the result of a soak.
type report struct {
	Passed   bool           `json:"passed"`
	Seconds  float64        `json:"seconds"`
	Requests int64          `json:"requests"`
	Denied   int64          `json:"denied"`
	Aborted  int64          `json:"aborted"`
	Slowest  float64        `json:"slowest_ms"`
	Stall    float64        `json:"longest_stall_ms"` // of the machine
	Excused  int64          `json:"excused"`          // requests that failed during one
	Overload int64          `json:"overloaded"`       // requests refused since the process had no time
	Answers  map[int]int    `json:"answers"`          // by status
	Faults   map[string]int `json:"faults"`
	Servers  []figures      `json:"servers"`
}

// figures are the figures of one server. Slopes are of the second half.
type figures struct {
	Name            string  `json:"name"`
	Goroutines      float64 `json:"goroutines"`
	GoroutinesSlope float64 `json:"goroutines_per_hour"`
	Heap            float64 `json:"heap_bytes"`
	HeapSlope       float64 `json:"heap_bytes_per_hour"`
}

func newReport(d time.Duration, l *load, injected map[string]int, servers []*watched) *report {
	r := &report{
		Seconds: d.Seconds(), Requests: l.requests.Load(), Denied: l.denied.Load(), Aborted: l.aborted.Load(),
		Slowest: float64(l.slowest.Load()) / 1e6, Stall: float64(l.stalls.worst.Load()) / 1e6, Excused: l.excused.Load(), Overload: l.overloaded.Load(),
		Answers: l.answers, Faults: injected,
	}
	for _, w := range servers {
		half := w.secondHalf()
		last := half[len(half)-1]
		r.Servers = append(r.Servers, figures{w.Name, last.Goroutines, slope(half, goroutines), last.Heap, slope(half, heap)})
	}
	return r
}

func (r *report) print(to io.Writer) {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	defer func() { _ = w.Flush() }()
	fmt.Fprintf(w, "\n%.0f s, %d requests: %d denied, %d aborted, the slowest answer after %.0f ms; the machine stood still for up to %.0f ms, which cut off %d requests; %d were refused for overload\n",
		r.Seconds, r.Requests, r.Denied, r.Aborted, r.Slowest, r.Stall, r.Excused, r.Overload)
	fmt.Fprintf(w, "statuses %v\nfaults %v\n\n", r.Answers, r.Faults)
	fmt.Fprintln(w, "server\tgoroutines\tmore in an hour\theap, MB\tmore in an hour, MB")
	for _, f := range r.Servers {
		fmt.Fprintf(w, "%s\t%.0f\t%+.1f\t%.2f\t%+.2f\n", f.Name, f.Goroutines, f.GoroutinesSlope, f.Heap/(1<<20), f.HeapSlope/(1<<20))
	}
}

// append adds the report to a file, unless that is "".
func (r *report) append(t *testing.T, file string) {
	t.Helper()
	if file == "" {
		return
	}
	line, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Write(append(line, '\n')); err != nil {
		t.Error(err)
	}
}
