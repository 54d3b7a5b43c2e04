package main

import (
	"fmt"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// measureCoarse is about a key with about a million requests in its window.
func measureCoarse(b *bench) error {
	q := quota{max: 1_000_000_000, window: time.Duration(b.pick(3, 30)) * time.Second}
	b.step("Coarse log: requests on one key for a window of %v", q.window)
	t := table{Name: "coarse", Title: "A busy key: a log of 64 slices, and one of each request", Digits: 1}
	s := newStage()
	defer s.close()
	coarse := ours("coarse", 1, core.Coarse(64))
	entrants, err := enter(s, []peer{coarse}, q)
	if err != nil {
		return err
	}
	entrants[0].keys = []string{"busy"}
	r := drive(256, 10_000_000, q.window+q.window/20, func(int) error { return entrants[0].take(0) })
	if r.err != nil {
		return r.err
	}
	bytes, err := s.usage()
	if err != nil {
		return err
	}
	t.set("coarse", "requests in the window", r.perSecond()*q.window.Seconds())
	t.set("coarse", "bytes", bytes)

	rounds := b.pick(15, 41)
	b.step("Coarse log: its CPU against that of all requests")
	hour := quota{max: 1_000_000_000, window: time.Hour}
	err = compare(b, &t, rounds, 200,
		side{ours("summed", 1, core.VariableCost()), hour, warmKeys, 0}, side{coarse, hour, warmKeys, 0})
	if err != nil {
		return err
	}
	t.How = fmt.Sprintf("Requests and bytes measured once, times in %d rounds: medians.", rounds)
	b.add(t)
	return nil
}
