package main

import (
	"testing"
	"time"
)

func TestAuditFindsWhatIsAdmittedTooMuch(t *testing.T) {
	s := testStage(t)
	sc := scenario{quota: quota{5, 10 * time.Second}, bursts: []burst{{0, 20}}}
	found, err := attack(s.addr, testPeers, sc, "key")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range testPeers {
		if found[p.name].Errors > 0 {
			t.Errorf("%s: %d errors", p.name, found[p.name].Errors)
		}
	}
	if n := len(found[us].Requests); n != 5 {
		t.Errorf("%s admitted %d, want 5", us, n)
	}
	if n := excess(found[us].Requests, sc.quota); n != 0 {
		t.Errorf("%s is said to admit %d too much", us, n)
	}
	if excess(found["broken"].Requests, sc.quota) == 0 {
		t.Errorf("the audit finds nothing wrong with a limiter that looks first and counts later, of which %d of %d requests were admitted",
			len(found["broken"].Requests), processes*20)
	}
}

func TestExcess(t *testing.T) {
	const second = 1_000_000
	q := quota{max: 2, window: time.Second}
	for _, c := range []struct {
		name     string
		requests []request
		want     int64
	}{
		{"none", nil, 0},
		{"as many as the limit", []request{{0, 10}, {5, 20}}, 0},
		{"one more", []request{{0, 10}, {5, 20}, {900_000, 900_010}}, 1},
		{"over a boundary", []request{{900_000, 900_010}, {950_000, 950_010}, {1_000_001, 1_000_010}, {1_000_002, 1_000_010}}, 2},
		{"a window later", []request{{0, 10}, {5, 20}, {second, second + 10}}, 0},
		{"perhaps a window later", []request{{0, 10}, {5, 20}, {900_000, second + 10}}, 0},
		{"in any order", []request{{900_000, 900_010}, {5, 20}, {0, 10}}, 1},
	} {
		if got := excess(c.requests, q); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
