package main

import (
	"context"
	"os"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if os.Getenv(workerVariable) != "" {
		if err := work(os.Stdin, os.Stdout, testPeers); err != nil {
			fail(err)
		}
		return
	}
	os.Exit(m.Run())
}

// testPeers are streamlimit, and a limiter that looks first and counts later.
var testPeers = []peer{peers[0], {name: "broken", make: func(l *link, q quota) (allow, error) {
	return func(ctx context.Context, key string) (bool, error) {
		n, err := l.rdb.Incr(ctx, "looks:"+key).Result()
		if err != nil {
			return false, err
		}
		used, _ := l.rdb.Get(ctx, "broken:"+key).Int64()
		if used >= q.max {
			return false, nil
		}
		if n < 20 {
			time.Sleep(50 * time.Millisecond)
		}
		return true, l.rdb.Incr(ctx, "broken:"+key).Err()
	}, nil
}}}

func testStage(t *testing.T) *stage {
	s := newStage()
	t.Cleanup(s.close)
	return s
}
