package redisstream

import (
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core/redistest"
)

// The script cache is emptied all the time: no error, and no unit too many or
// too few.
func TestScriptFlushUnderLoad(t *testing.T) {
	rdb := redistest.Start(t).Client()
	l := startLoad(t, New(rdb, patient), 3, loadPolicies(400)...)
	flushes, full := 0, make(chan struct{})
	l.running.Go(func() {
		for {
			select {
			case <-full:
				return
			case <-time.After(time.Millisecond):
			}
			if rdb.ScriptFlush(t.Context()).Err() == nil {
				flushes++
			}
		}
	})
	l.awaitAll(t, "all logs are full", func(a *account) bool { return a.denied > 2 || len(a.errors) > 0 })
	close(full)
	l.end()
	for _, a := range l.accounts {
		a.exact(t)
	}
	if flushes < 100 {
		t.Errorf("%d flushes: too few to tell", flushes)
	}
	t.Logf("figure: flushes=%d %s", flushes, l.figures())
}
