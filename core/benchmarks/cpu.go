package main

import (
	"fmt"
	"time"
)

// load is a mix, and how it is sent.
type load struct {
	mix     mix
	callers int
	n       int
}

func (l load) String() string {
	if l.callers == 1 {
		return l.mix.name + ", 1 caller"
	}
	return fmt.Sprintf("%s, %d callers", l.mix.name, l.callers)
}

// measureCPU finds what a decision costs the server: the time of its commands,
// and of the whole process, which also reads, writes and wakes up.
func measureCPU(b *bench) error {
	n := b.pick(1500, 3000)
	rounds := b.pick(3, 7)
	process := table{Name: "cpu", Title: "Redis CPU a decision: the whole process, µs", Digits: 1}
	commands := table{Name: "cpu-commands", Title: "Redis time a decision: its commands alone, by the wall clock, µs", Digits: 1}
	for _, l := range []load{
		{warmKeys, 1, n / 2}, {warmKeys, 64, n}, {newKeys, 64, n}, {deniedKeys, 64, n}, {thirdDenied(n), 64, n},
	} {
		if err := spend(b, l, b.peers, rounds, &process, &commands); err != nil {
			return err
		}
	}
	b.add(process, commands)

	process = table{Name: "cpu-two", Title: "Redis CPU a decision on two limits: the whole process, µs", Digits: 1}
	commands = table{Name: "cpu-two-commands", Title: "Redis time a decision on two limits: its commands alone, by the wall clock, µs", Digits: 1}
	for _, callers := range []int{1, 64} {
		if err := spend(b, load{warmKeys, callers, n}, twoLimits, rounds, &process, &commands); err != nil {
			return err
		}
	}
	b.add(process, commands)
	return nil
}

// spend fills in a column of both tables.
func spend(b *bench, l load, peers []peer, rounds int, process, commands *table) error {
	b.step("Redis CPU: %v", l)
	s := newStage()
	defer s.close()
	entrants, err := enter(s, peers, l.mix.quota)
	if err != nil {
		return err
	}
	p, c := series{}, series{}
	for round := 0; !b.enough(round, rounds); round++ {
		err := turns(round, entrants, func(e *entrant) error {
			if err := e.prepare(l.mix, round, l.n); err != nil {
				return err
			}
			before := s.meter()
			r := drive(l.callers, l.n, time.Minute, e.take)
			commands, process := s.meter().since(before, e.sends())
			b.errors(e.name, r)
			p.add(e.name, process.Seconds()*1e6/float64(r.done))
			c.add(e.name, commands.time.Seconds()*1e6/float64(r.done))
			return nil
		})
		if err != nil {
			return err
		}
	}
	process.fill(l.String(), entrants, p)
	commands.fill(l.String(), entrants, c)
	return nil
}
