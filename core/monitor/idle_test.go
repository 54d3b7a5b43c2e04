package monitor_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/redistest"
)

// commandCalls returns the number of commands that the server has run, without those of
// tests.
func commandCalls(t *testing.T, rdb *redis.Client) (n int) {
	t.Helper()
	for line := range strings.Lines(rdb.Info(t.Context(), "commandstats").Val()) {
		name, stats, ok := strings.Cut(line, ":calls=")
		calls, _, _ := strings.Cut(stats, ",")
		if k, err := strconv.Atoi(calls); ok && err == nil && name != "cmdstat_info" {
			n += k
		}
	}
	return n
}

// An idle process whose monitor is not open sends only the details of its last ten
// seconds.
func TestIdleMonitorSendsNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := newSite(t, redisStore(t, server))
	rdb := server.Client()
	s.allow(t, api, "k", 3)
	time.Sleep(2500 * time.Millisecond) // the process publishes them
	before := commandCalls(t, rdb)
	const window = 12 * time.Second // contains one entry with details, of two commands
	time.Sleep(window)
	if n := commandCalls(t, rdb) - before; n > 2 {
		t.Errorf("%d commands in %v, want at most 2", n, window)
	}
	before = commandCalls(t, rdb)
	time.Sleep(3 * time.Second)
	if n := commandCalls(t, rdb) - before; n != 0 {
		t.Errorf("%d commands later", n)
	}
}
