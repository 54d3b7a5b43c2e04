package soak

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/examples/internal/program"
)

// sample has the figures of an idle server.
type sample struct {
	at         time.Duration // since the start
	Goroutines float64
	Heap       float64 // bytes, after garbage collection
}

// watched is a server with its samples.
type watched struct {
	*program.Process
	figures string // URL
	samples []sample
	dump    string // of its goroutines at the end
}

func watch(t *testing.T, p *program.Process) *watched {
	t.Helper()
	_, after, _ := strings.Cut(p.Log(), "figures on ")
	url, _, ok := strings.Cut(after, "\n")
	if !ok {
		t.Fatalf("%s does not say where its figures are\n%s", p.Name, p.Log())
	}
	return &watched{Process: p, figures: url}
}

// sample adds a sample after the requests' goroutines have ended: when the number of
// goroutines stays the same for a moment.
func (w *watched) sample(t *testing.T, start time.Time) {
	t.Helper()
	last, same := w.read(t), 0
	for deadline := time.Now().Add(5 * time.Second); same < 3 && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
		next := w.read(t)
		if same++; next.Goroutines != last.Goroutines {
			same = 0
		}
		last = next
	}
	last.at = time.Since(start)
	w.samples = append(w.samples, last)
}

func (w *watched) read(t *testing.T) (s sample) {
	t.Helper()
	if err := json.Unmarshal([]byte(w.get(t, "")), &s); err != nil {
		t.Fatalf("%s: figures: %v", w.Name, err)
	}
	return s
}

func (w *watched) get(t *testing.T, path string) string {
	t.Helper()
	client := http.Client{Timeout: program.Timeout, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(w.figures + path)
	if err != nil {
		t.Fatalf("%s: figures: %v\n%s", w.Name, err, w.Log())
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: figures: %v", w.Name, err)
	}
	return string(text)
}

func goroutines(s sample) float64 { return s.Goroutines }
func heap(s sample) float64       { return s.Heap }

// secondHalf returns the samples of a server after all clients and all faults.
func (w *watched) secondHalf() []sample { return w.samples[len(w.samples)/2:] }

// slope returns the growth of a figure in an hour, by least squares.
func slope(samples []sample, figure func(sample) float64) float64 {
	n := float64(len(samples))
	var x, y float64 // the means
	for _, s := range samples {
		x += s.at.Hours() / n
		y += figure(s) / n
	}
	var xy, xx float64
	for _, s := range samples {
		xy += (s.at.Hours() - x) * (figure(s) - y)
		xx += (s.at.Hours() - x) * (s.at.Hours() - x)
	}
	if xx == 0 {
		return 0
	}
	return xy / xx
}

// growth returns that growth from the first to the last sample.
func growth(samples []sample, figure func(sample) float64) float64 {
	return slope(samples, figure) * (samples[len(samples)-1].at - samples[0].at).Hours()
}
