package main

import (
	"strings"
	"testing"
	"time"
)

// All peers must be asked rightly: of four requests under a limit of three,
// one after the other, each admits three.
func TestPeersLimit(t *testing.T) {
	s := testStage(t)
	q := quota{max: 3, window: time.Hour}
	entrants, err := enter(s, peers, q)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entrants {
		for i := range 4 {
			ok, err := e.allow(t.Context(), "client")
			if err != nil || ok != (i < 3) {
				t.Errorf("%s: request %d: %v, %v", e.name, i+1, ok, err)
			}
		}
	}
	for _, p := range memoryPeers {
		allow, end := p.make(q)
		for i := range 4 {
			if ok := allow("client"); ok != (i < 3) {
				t.Errorf("%s in memory: request %d: %v", p.name, i+1, ok)
			}
		}
		end()
	}
}

func TestKnown(t *testing.T) {
	if err := known("peer", split("redis_rate,sorted set"), peerNames()); err != nil {
		t.Error(err)
	}
	if err := known("peer", split("redis_rate,redisrate"), peerNames()); err == nil || !strings.Contains(err.Error(), `no peer "redisrate"`) {
		t.Errorf("a name that no peer has: %v", err)
	}
}

// Rounds go on where the one before ended, so that all keys are asked for.
func TestManyKeys(t *testing.T) {
	const n = 3000
	seen := map[string]int{}
	for round := range 10 {
		for _, key := range manyKeys.keys(round, n) {
			seen[key]++
		}
	}
	if len(seen) != 10_000 {
		t.Fatalf("%d keys", len(seen))
	}
	for key, times := range seen {
		if times != 3 {
			t.Fatalf("%s was asked for %d times in three turns", key, times)
		}
	}
}

// The tutorial's log denies requests after the window is over, which the page says.
func TestTutorialDeniesTooMany(t *testing.T) {
	q := quota{max: 3, window: time.Second}
	entrants, err := enter(testStage(t), chosen([]string{"tutorial"}, false), q)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entrants {
		for _, want := range []bool{true, true, true, false} {
			if ok, err := e.allow(t.Context(), "client"); err != nil || ok != want {
				t.Errorf("%s: %v, %v, want %v", e.name, ok, err, want)
			}
		}
		time.Sleep(q.window + q.window/10)
		if ok, err := e.allow(t.Context(), "client"); err != nil || ok != (i == 0) {
			t.Errorf("%s after the window: %v, %v", e.name, ok, err)
		}
	}
}

func TestThirdDenied(t *testing.T) {
	const n = 3000
	m := thirdDenied(n)
	left, denied := map[string]int64{}, 0
	for _, key := range m.keys(0, n) {
		if _, ok := left[key]; !ok {
			left[key] = m.quota.max - int64(m.warm)
		}
		if left[key]--; left[key] < 0 {
			denied++
		}
	}
	if share := float64(denied) / n; share < 0.28 || share > 0.334 {
		t.Errorf("a share of %.3f is denied, want a third", share)
	}
}

func TestRequests(t *testing.T) {
	b := &bench{quick: true, out: t.Output(), began: time.Now()}
	if err := measureRequests(b); err != nil {
		t.Fatal(err)
	}
	requests := b.table("request")
	for _, c := range b.contests {
		for _, name := range []string{c.ours, c.usual} {
			if ns := requests.get(name, "ns"); !(ns > 0) {
				t.Errorf("%s: %v ns", name, ns)
			}
		}
	}
	if len(b.contests) != 7 {
		t.Errorf("%d contests, want two of Gin and one of each other framework", len(b.contests))
	}
}
