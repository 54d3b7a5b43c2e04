package main

import (
	"context"
	"fmt"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// ours is a peer that is streamlimit with a policy of its own.
func ours(name string, cost int64, options ...core.PolicyOption) peer {
	return peer{name: name, make: func(l *link, q quota) (allow, error) {
		limiter := newLimiter(l)
		p := core.NewPolicy("benchmark", append([]core.PolicyOption{core.Per(q.max, q.window)}, options...)...)
		return func(ctx context.Context, key string) (bool, error) {
			return answer(limiter.AllowN(ctx, p, key, cost))
		}, nil
	}}
}

const scaleColumn = "µs a decision"

// measureScale finds whether the price of a decision depends on its cost, and on
// how big the limit is and how long the log. It is the price of the script,
// since what comes with it would hide differences.
func measureScale(b *bench) error {
	n, rounds := 200, b.pick(15, 41) // many short ones: whoever else runs disturbs few
	t := table{Name: "scale", Title: "Redis time of a decision's script, by the wall clock, 1 caller", Digits: 2}

	b.step("Cost 5,000 against cost 1")
	big := quota{max: 1_000_000_000_000, window: time.Hour}
	one, many := ours("cost 1", 1, core.VariableCost()), ours("cost 5,000", 5000, core.VariableCost())
	if err := compare(b, &t, rounds, n, side{one, big, warmKeys, 0}, side{many, big, warmKeys, 0}); err != nil {
		return err
	}
	for _, layout := range []struct {
		name    string
		options []core.PolicyOption
	}{{"one limit", nil}, {"one limit, any cost", []core.PolicyOption{core.VariableCost()}}} {
		b.step("A limit of 1,000,000 against 10: %s", layout.name)
		// Few keys with long logs, and keys that are never asked 10 times.
		short := mix{name: "short logs", warm: 1, keys: func(round, n int) []string {
			return numbered(fmt.Sprintf("short-%d", round), (n+7)/8, n)
		}}
		long := mix{name: "long logs", keys: fixed("long", 20)}
		err := compare(b, &t, rounds, n,
			side{ours(layout.name+", limit 10", 1, layout.options...), quota{10, time.Hour}, short, 0},
			side{ours(layout.name+", limit 1,000,000", 1, layout.options...), quota{1_000_000, time.Hour}, long, b.pick(20_000, 200_000)},
		)
		if err != nil {
			return err
		}
	}
	b.add(t)
	return nil
}

// side is one of two that are compared.
type side struct {
	peer  peer
	quota quota
	mix   mix
	fill  int // requests before
}

// compare measures two in turn, and keeps the ratio of the second to the first.
func compare(b *bench, t *table, rounds, n int, first, second side) error {
	s := newStage()
	defer s.close()
	var entrants []*entrant
	sides := map[*entrant]side{}
	for _, side := range []side{first, second} {
		e, err := enter(s, []peer{side.peer}, side.quota)
		if err != nil {
			return err
		}
		e[0].keys = side.mix.keys(0, max(1, side.fill))
		if r := drive(64, side.fill, 2*time.Minute, e[0].take); r.err != nil {
			return r.err
		}
		entrants = append(entrants, e[0])
		sides[e[0]] = side
	}
	spent := series{}
	for round := range rounds {
		err := turns(round, entrants, func(e *entrant) error {
			if err := e.prepare(sides[e].mix, round, n); err != nil {
				return err
			}
			before := s.meter()
			r := drive(1, n, time.Minute, e.take)
			if r.err != nil {
				return r.err
			}
			commands, _ := s.meter().since(before, scripts)
			spent.add(e.name, micros(commands.time)/float64(r.done))
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, e := range entrants {
		t.set(e.name, scaleColumn, spent.median(e.name))
	}
	t.median(rounds)
	t.set(second.peer.name, "ratio", spent.ratio(second.peer.name, first.peer.name))
	return nil
}
