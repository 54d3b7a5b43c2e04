package core_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// A health check can answer with it.
func TestHealthAsJSON(t *testing.T) {
	since := time.Date(2026, 1, 2, 15, 4, 5, 678e6, time.UTC)
	for want, h := range map[string]core.Health{
		`{"failures":0,"closed":0,"open":0,"local":0,"overloaded":0}`: {},
		`{"down":[{"server":"10.0.0.7:6379","since":"2026-01-02T15:04:05.678Z","error":"i/o \"timeout\""},` +
			`{"since":"2026-01-02T15:04:05.678Z","error":""}],"failures":5,"closed":1,"open":2,"local":3,"overloaded":0}`: {
			Down:     []core.Down{{Server: "10.0.0.7:6379", Since: since, Error: `i/o "timeout"`}, {Since: since}},
			Failures: 5, Closed: 1, Open: 2, Local: 3,
		},
	} {
		if got, err := json.Marshal(h); err != nil || string(got) != want {
			t.Errorf("%s, %v\nwant %s", got, err, want)
		}
	}
}
