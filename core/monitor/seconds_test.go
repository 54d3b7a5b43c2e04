package monitor_test

import (
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
	"github.com/streamlimit/streamlimit/core/redistest"
)

func TestSecondsHaveEachDecisionOnce(t *testing.T) {
	t.Parallel()
	store := redisStore(t, redistest.Start(t))
	recorder := monitor.NewRecorder(store)
	limiter := core.New(store, core.WithObserver(recorder))
	defer limiter.Close()
	for range 7 {
		if _, err := limiter.Allow(t.Context(), api, "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
	}
	_ = recorder.Close()
	reader, err := monitor.NewReader(store)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := time.Now().Add(2 * time.Second) // after the current second has ended
	seconds := reader.Seconds(now, 1000)["api"]
	var allowed, denied int64
	for _, s := range seconds {
		allowed += s.Allowed
		denied += s.Denied
	}
	if len(seconds) != 300 || allowed != 5 || denied != 2 {
		t.Errorf("%d seconds with %d allowed and %d denied; want 300, 5 and 2", len(seconds), allowed, denied)
	}
	if early := reader.Seconds(now.Add(-time.Minute), 10); len(early) != 0 {
		t.Errorf("%v before there was any", early)
	}
}
