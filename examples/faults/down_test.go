package faults

import (
	"net/http"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// recovery bounds the time until decisions come from Redis again.
const recovery = 3 * time.Second

func TestRow04_DownAtStart(t *testing.T) {
	r := row(t, 4)
	redis := redistest.Start(t)
	redis.Kill() // which leaves a port that is closed
	build(t)
	store, err := redisstream.Open("redis://" + redis.Addr)
	if err != nil {
		t.Fatal(err)
	}
	limiter := core.New(store)
	t.Cleanup(func() { limiter.Close() })
	sites := newSites(t, redis)
	for _, s := range sites {
		if status, body := s.get("10.0.0.1", "/healthz"); status != http.StatusOK {
			t.Errorf("%s: /healthz: %d %s", s.Name, status, body)
		}
		for range 2 {
			s.wantStrict()
		}
		s.awaitSource("fallback")
	}
	traffic := newTraffic(sites)
	p := core.NewPolicy("p", core.PerHour(1_000_000))
	// The outage is long enough for clients to back off.
	for end := time.Now().Add(scale(2*time.Second, 10*time.Second)); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if d, err := limiter.Allow(t.Context(), p, "k"); err != nil || d.Source != core.SourceFallback {
			t.Fatalf("%+v, %v", d, err)
		}
	}
	redis.Restart()
	start := time.Now()
	for d := (core.Decision{}); d.Source != core.SourceRedis && time.Since(start) < recovery; time.Sleep(time.Millisecond) {
		if d, err = limiter.Allow(t.Context(), p, "k"); err != nil {
			t.Fatal(err)
		}
	}
	slowest := time.Since(start)
	for _, s := range sites {
		s.awaitSource("redis")
		slowest = max(slowest, time.Since(start))
		s.wantStrict()
	}
	figure := traffic.end(t)
	for _, s := range sites {
		s.wantLines(1, 1)
	}
	if slowest > recovery {
		t.Errorf("back after %v, want at most %v", slowest, recovery)
	}
	r.Figure("limited from the start; %s; back in %.1f s", figure, slowest.Seconds())
}

func TestRow05_KilledUnderLoad(t *testing.T) {
	r := row(t, 5)
	redis := redistest.Start(t)
	sites := newSites(t, redis)
	for _, s := range sites {
		s.awaitSource("redis")
	}
	traffic := newTraffic(sites)
	times := scale(1, 3)
	var slowest time.Duration
	for range times {
		time.Sleep(time.Second)
		redis.Kill()
		for _, s := range sites {
			s.awaitSource("fallback")
			s.wantStrict()
		}
		time.Sleep(scale(2*time.Second, 5*time.Second))
		redis.Restart()
		start := time.Now()
		for _, s := range sites {
			s.awaitSource("redis")
			slowest = max(slowest, time.Since(start))
			s.wantStrict()
		}
	}
	figure := traffic.end(t)
	for _, s := range sites {
		s.wantLines(times, times)
	}
	if slowest > recovery {
		t.Errorf("back after %v, want at most %v", slowest, recovery)
	}
	r.Figure("%s; back in %.1f s", figure, slowest.Seconds())
}
