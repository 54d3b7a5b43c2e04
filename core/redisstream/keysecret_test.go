package redisstream

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// While processes with another key secret take over, each client has one budget, and no
// window has more than the limit.
func TestRotationOfKeySecret(t *testing.T) {
	server := redistest.Start(t)
	rotateKeySecret(t, func() redis.UniversalClient { return redis.NewClient(server.Options()) })
}

// On a Cluster the logs of the two keys are on different servers.
func TestRotationOfKeySecretOnCluster(t *testing.T) {
	cluster := redistest.Cluster(t, 3)
	rotateKeySecret(t, func() redis.UniversalClient { return redis.NewClusterClient(cluster.Options()) })
}

// rotating is a process, before, in or after a rotation.
type rotating struct {
	*core.Limiter
	key string // of the client
}

func newRotating(t *testing.T, rdb redis.UniversalClient, secret string, former ...[]byte) rotating {
	t.Helper()
	l := core.New(New(rdb, patient), core.WithFailureMode(core.FailClosed), core.WithKeySecret([]byte(secret), former...))
	t.Cleanup(func() {
		l.Close()
		rdb.Close()
	})
	key, err := adapter.CredentialKey(l, "x-api-key", "ann")
	if err != nil {
		t.Fatal(err)
	}
	return rotating{l, key}
}

// span is when an admitted request was decided on, as its caller saw it.
type span struct{ began, ended time.Time }

func rotateKeySecret(t *testing.T, client func() redis.UniversalClient) {
	const most, window = 20, time.Second
	limit := core.Per(most, window)
	single := []*core.Policy{
		core.NewPolicy("counted", limit),
		core.NewPolicy("refunded", limit, core.VariableCost(), core.Refundable(0)),
		core.NewPolicy("leased", limit, core.Lease(50*time.Millisecond)),
	}
	a, b := core.NewPolicy("a", limit), core.NewPolicy("b", core.Per(2*most, window))
	var mu sync.Mutex
	admitted := make(map[string][]span)

	// run has processes ask until a time.
	run := func(d time.Duration, processes ...rotating) {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		var wg sync.WaitGroup
		for _, p := range processes {
			for range 3 {
				wg.Go(func() {
					for ctx.Err() == nil {
						for _, charges := range [][]core.Charge{
							{{Policy: single[0], Key: p.key}}, {{Policy: single[1], Key: p.key}}, {{Policy: single[2], Key: p.key}},
							{{Policy: a, Key: p.key}, {Policy: b, Key: p.key}},
						} {
							began := time.Now()
							decisions, err := p.AllowAll(t.Context(), charges...)
							if err != nil {
								t.Error(err)
								return
							}
							if core.Denied(decisions) == nil {
								mu.Lock()
								name := charges[0].Policy.Name()
								admitted[name] = append(admitted[name], span{began, time.Now()})
								mu.Unlock()
							}
						}
						time.Sleep(5 * time.Millisecond)
					}
				})
			}
		}
		wg.Wait()
	}
	former := []byte("old")
	before, both, after := newRotating(t, client(), "old"), newRotating(t, client(), "new", former), newRotating(t, client(), "new")
	begin := time.Now()
	run(window/2, before)
	run(window/2, before, both)
	run(window+10*time.Millisecond, both)
	run(window/2, both, after)
	run(window/2, after)
	windows := float64(time.Since(begin)) / float64(window)
	for name, spans := range admitted {
		worst := 0
		for _, first := range spans {
			n := 0
			for _, s := range spans {
				// A window has whole milliseconds of the server's clock.
				if !s.began.Before(first.began) && !s.ended.After(first.began.Add(window-time.Millisecond)) {
					n++
				}
			}
			worst = max(worst, n)
		}
		if worst > most {
			t.Errorf("%s: %d requests in a window, want at most %d", name, worst, most)
		}
		if len(spans) < int(windows)*most/2 {
			t.Errorf("%s: %d requests in %.1f windows: clients get too few", name, len(spans), windows)
		}
		t.Logf("figure: %s: %d requests in %.1f windows, %d in the fullest", name, len(spans), windows, worst)
	}
}

// On one server a decision on two logs is one round trip, and a denial changes neither.
func TestRotationTakesOneRoundTrip(t *testing.T) {
	server := redistest.Start(t)
	p := newRotating(t, redis.NewClient(server.Options()), "new", []byte("old"))
	old := newRotating(t, redis.NewClient(server.Options()), "old")
	policy := core.NewPolicy("p", core.PerHour(12))
	scripts := func() int {
		info := server.Client().Info(t.Context(), "commandstats").Val()
		n, err := strconv.Atoi(regexp.MustCompile(`cmdstat_evalsha:calls=(\d+)`).FindStringSubmatch(info)[1])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	allow := func(p rotating) core.Decision {
		d, err := p.Allow(t.Context(), policy, p.key)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	allow(old)
	allow(p) // loads the scripts
	before := scripts()
	for i := range 10 {
		if d := allow(p); d.Remaining != int64(9-i) {
			t.Errorf("%+v, want %d left", d, 9-i)
		}
	}
	if n := scripts() - before; n < 10 || n > 15 { // some are of other purposes
		t.Errorf("%d scripts for 10 decisions", n)
	}
	for range 3 {
		if d := allow(p); d.Allowed || d.Key != p.key {
			t.Errorf("%+v, want a denial", d)
		}
	}
	names := server.Client().Keys(t.Context(), fmt.Sprint(DefaultPrefix, "*:p:*")).Val()
	entries := map[int64]bool{}
	for _, name := range names {
		entries[server.Client().XLen(t.Context(), name).Val()] = true
	}
	if len(names) != 2 || !entries[11] || !entries[12] {
		t.Errorf("logs %v with %v entries, want 12 and 11", names, entries)
	}
}
