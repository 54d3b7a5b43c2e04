package main

import (
	"bufio"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// site is the service on a server.
type site struct {
	*testing.T
	url string
}

func serve(t *testing.T, store core.Store) site {
	t.Helper()
	s, err := newService(store, core.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		server.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return site{t, server.URL}
}

func (s site) get(path string) (status int, body string) {
	s.Helper()
	resp, err := http.Get(s.url + path)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// scrape returns the samples by their names and labels as written.
func (s site) scrape() map[string]float64 {
	s.Helper()
	status, text := s.get("/metrics")
	if status != http.StatusOK {
		s.Fatalf("/metrics: %d: %s", status, text)
	}
	samples := map[string]float64{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(line[i+1:], 64)
		if err != nil {
			s.Fatalf("%q: %v", line, err)
		}
		samples[line[:i]] = value
	}
	return samples
}

func (s site) want(samples map[string]float64, want map[string]float64) {
	s.Helper()
	for name, value := range want {
		if got, ok := samples[name]; !ok || got != value {
			s.Errorf("%s is %v (there: %v), want %v", name, got, ok, value)
		}
	}
}

// traffic is 16 requests under api, of which 6 are under strict, and 3 under
// trial.
func (s site) traffic() {
	s.Helper()
	for path, n := range map[string]int{"/": 7, "/strict": 6, "/trial": 3} {
		for range n {
			s.get(path)
		}
	}
}

func TestScrape(t *testing.T) {
	s := serve(t, core.NewMemory())
	s.traffic()
	samples := s.scrape()
	s.want(samples, map[string]float64{
		`streamlimit_requests_total{policy="api",result="allowed",source="memory"}`:         16,
		`streamlimit_requests_total{policy="api",result="denied",source="memory"}`:          0,
		`streamlimit_requests_total{policy="strict",result="allowed",source="memory"}`:      5,
		`streamlimit_requests_total{policy="strict",result="denied",source="memory"}`:       1,
		`streamlimit_requests_total{policy="trial",result="allowed",source="memory"}`:       2,
		`streamlimit_requests_total{policy="trial",result="shadow_denied",source="memory"}`: 1,
		`streamlimit_requests_total{policy="api",result="denied",source="fallback"}`:        0,
		`streamlimit_requests_total{policy="api",result="error",source="none"}`:             0,
		`streamlimit_units_total{policy="api",result="allowed",source="memory"}`:            16,

		`streamlimit_decision_duration_seconds_count{policy="api",result="allowed",source="memory"}`:            16,
		`streamlimit_decision_duration_seconds_bucket{policy="api",result="allowed",source="memory",le="+Inf"}`: 16,
		`streamlimit_store_down`:       0,
		`streamlimit_slots_lost_total`: 0,
	})
	for name := range samples {
		if strings.Contains(name, "127.0.0.1") {
			t.Errorf("a client's address is in %s", name)
		}
	}
}

// Without Redis the metrics match the clients' responses, and show that processes decide
// alone.
func TestRedisDown(t *testing.T) {
	server := redistest.Start(t)
	store, err := redisstream.Open("redis://"+server.Addr, redisstream.WithTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, store)
	s.get("/")
	s.want(s.scrape(), map[string]float64{
		`streamlimit_requests_total{policy="api",result="allowed",source="redis"}`: 1,
		`streamlimit_store_down`: 0,
	})
	server.Kill()
	got := map[int]float64{}
	s.await("a server down", func(samples map[string]float64) bool {
		status, _ := s.get("/strict")
		got[status]++
		return samples["streamlimit_store_down"] == 1
	})
	for got[http.StatusTooManyRequests] < 2 { // what the limit of strict denies
		status, _ := s.get("/strict")
		got[status]++
	}
	s.want(s.scrape(), map[string]float64{
		`streamlimit_requests_total{policy="strict",result="allowed",source="fallback"}`: got[http.StatusOK],
		`streamlimit_requests_total{policy="strict",result="denied",source="fallback"}`:  got[http.StatusTooManyRequests],
		`streamlimit_requests_total{policy="strict",result="error",source="none"}`:       0,
	})
	if len(got) != 2 {
		t.Errorf("statuses %v without Redis", got)
	}
	server.Restart()
	s.await("none down", func(samples map[string]float64) bool { return samples["streamlimit_store_down"] == 0 })
}

func (s site) await(what string, is func(map[string]float64) bool) {
	s.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(s.scrape()); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("not within 30 s: %s", what)
		}
	}
}
