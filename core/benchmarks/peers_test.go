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
	if len(b.contests) != 5 {
		t.Errorf("%d contests, want two of Gin and one of each other framework", len(b.contests))
	}
}
