package main

import (
	"fmt"
	"slices"
	"time"
)

var callerCounts = []int{1, 16, 64, 512}

// measureLoad finds how many decisions there are in a second, and how long one
// takes, when so many callers each wait for theirs before the next.
func measureLoad(b *bench) error {
	zipf := thirdDenied(b.pick(1000, 3000))
	for _, m := range []struct {
		name string
		mix  mix
	}{{"hot", hotKey}, {"many", manyKeys}, {"zipf", zipf}} {
		tables := []table{
			{Name: "throughput-" + m.name, Over: "callers", Title: "Decisions a second, " + m.mix.name},
			{Name: "p50-" + m.name, Over: "callers", Title: "Latency p50, µs, " + m.mix.name},
			{Name: "p99-" + m.name, Over: "callers", Title: "Latency p99, µs, " + m.mix.name},
			{Name: "p999-" + m.name, Over: "callers", Title: "Latency p99.9, µs, " + m.mix.name},
		}
		for _, callers := range callerCounts {
			if err := crowd(b, m.mix, callers, tables); err != nil {
				return err
			}
		}
		b.add(tables...)
	}
	return nil
}

// crowd fills in a column of each table.
func crowd(b *bench, m mix, callers int, tables []table) error {
	rounds := b.pick(2, 5)
	l := load{m, callers, b.pick(1000, 3000)}
	b.step("Load: %v", l)
	limit := time.Duration(b.pick(60, 150)) * time.Millisecond
	if m.warm > 0 && m.quota != plenty {
		limit = time.Minute // a part of the mix would have another share denied
	}
	parts := 1
	if callers == 1 {
		// A lone caller notices whatever else the machine does: peers take turns sooner,
		// so that it happens to all of them.
		parts = 5
		l.n, limit = l.n/parts, limit/time.Duration(parts)
	}
	s := newStage()
	defer s.close()
	entrants, err := enter(s, b.peers, m.quota)
	if err != nil {
		return err
	}
	quantiles := []float64{0.5, 0.99, 0.999}
	rates := series{}
	within := make([]series, len(quantiles))
	for i := range within {
		within[i] = series{}
	}
	all := map[string][]time.Duration{}
	for round := 0; !b.enough(round/parts, rounds); round++ {
		err := turns(round, entrants, func(e *entrant) error {
			if err := e.prepare(m, round, l.n); err != nil {
				return err
			}
			if round == 0 {
				drive(callers, min(callers, l.n), limit, e.take) // makes the connections
				if err := e.prepare(m, -1, l.n); err != nil {
					return err
				}
			}
			r := drive(callers, l.n, limit, e.take)
			b.errors(e.name, r)
			rates.add(e.name, r.perSecond())
			for i, q := range quantiles {
				within[i].add(e.name, micros(r.quantile(q)))
			}
			all[e.name] = append(all[e.name], r.each...)
			return nil
		})
		if err != nil {
			return err
		}
	}
	column := fmt.Sprint(callers)
	tables[0].fill(column, entrants, rates)
	for i := range quantiles {
		tables[i+1].fill(column, entrants, within[i])
	}
	// Rare latencies take the samples of all rounds.
	tables[3].How = "Of the calls of all rounds together."
	for _, e := range entrants {
		slices.Sort(all[e.name])
		tables[3].set(e.name, column, micros(run{each: all[e.name]}.quantile(0.999)))
	}
	return nil
}

func micros(d time.Duration) float64 { return d.Seconds() * 1e6 }
