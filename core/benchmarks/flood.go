package main

import (
	"time"
)

// measureFlood measures a client that does not stop when it is denied.
func measureFlood(b *bench) error {
	t := table{Name: "flood", Title: "A client that does not stop when it is denied", How: "Measured once; the commands of 64 callers, a denial of one.", Digits: 4}
	b.step("Denied flood")
	s := newStage()
	defer s.close()
	q := quota{max: 10, window: time.Hour}
	entrants, err := enter(s, b.peers, q)
	if err != nil {
		return err
	}
	n := b.pick(2000, 10_000)
	for _, e := range entrants {
		if err := e.prepare(mix{keys: fixed("flood", 1), warm: 20}, 0, n); err != nil {
			return err
		}
		before := s.meter()
		r := drive(64, n, time.Minute, e.take)
		commands, process := s.meter().since(before, e.sends())
		b.errors(e.name, r)
		c := gauge(time.Duration(b.pick(50, 300))*time.Millisecond, func() { _ = e.take(0) })
		t.set(e.name, "commands a request", float64(commands.calls)/float64(r.done))
		t.set(e.name, "Redis CPU, µs", micros(process)/float64(r.done))
		t.set(e.name, "a denial, µs", c.ns/1000)
		t.set(e.name, "allocs", c.allocs)
	}
	b.add(t)
	return nil
}
