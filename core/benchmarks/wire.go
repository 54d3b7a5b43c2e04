package main

import (
	"fmt"
	"time"
)

// measureWire counts what passes between client and server.
func measureWire(b *bench) error {
	n := b.pick(400, 2000)
	t := table{Name: "wire", Title: "On the wire, a decision", How: fmt.Sprintf("Counted over %d requests, once.", n), Digits: 2}
	for _, callers := range []int{1, 64} {
		l := load{warmKeys, callers, n}
		b.step("Wire: %v", l)
		s := newStage()
		entrants, err := enter(s, b.peers, l.mix.quota)
		if err != nil {
			return err
		}
		for _, e := range entrants {
			if err := e.prepare(l.mix, 0, n); err != nil {
				return err
			}
			// The connections that so many callers need are made before.
			drive(callers, n, time.Minute, e.take)
			w := &e.link.wire
			trips, sent, received := w.trips.Load(), w.sent.Load(), w.received.Load()
			r := drive(callers, n, time.Minute, e.take)
			b.errors(e.name, r)
			suffix := ", 64 callers"
			if callers == 1 {
				suffix = ""
			}
			t.set(e.name, "round trips"+suffix, float64(w.trips.Load()-trips)/float64(n))
			t.set(e.name, "bytes sent"+suffix, float64(w.sent.Load()-sent)/float64(n))
			t.set(e.name, "bytes received"+suffix, float64(w.received.Load()-received)/float64(n))
		}
		s.close()
	}
	b.add(t)
	return nil
}
