package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// entrant is a peer that is ready to be asked.
type entrant struct {
	peer
	link  *link
	allow allow
	keys  []string
	asked map[string]bool // keys that are warm
}

// enter connects the peers under a limit.
func enter(s *stage, peers []peer, q quota) ([]*entrant, error) {
	var entrants []*entrant
	for _, p := range peers {
		l := newLink(s.addr)
		s.Cleanup(l.close)
		a, err := p.make(l, q)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		entrants = append(entrants, &entrant{peer: p, link: l, allow: a, asked: map[string]bool{}})
	}
	return entrants, nil
}

// take is one request; a denial is an answer as well.
func (e *entrant) take(i int) error {
	_, err := e.allow(context.Background(), e.keys[i])
	return err
}

// prepare sets the keys of the next n requests, and asks for each as often as
// the mix wants them warm.
func (e *entrant) prepare(m mix, round, n int) error {
	e.keys = m.keys(round, n)
	var cold []string
	for _, key := range e.keys {
		if !e.asked[key] && m.warm > 0 {
			e.asked[key] = true
			cold = append(cold, key)
		}
	}
	for range m.warm {
		r := drive(16, len(cold), time.Minute, func(i int) error {
			_, err := e.allow(context.Background(), cold[i])
			return err
		})
		if r.err != nil {
			return fmt.Errorf("%s: %w", e.name, r.err)
		}
	}
	return nil
}

// turns calls do for each in a round, in the other direction every other round.
func turns(round int, entrants []*entrant, do func(e *entrant) error) error {
	order := slices.Clone(entrants)
	if round%2 == 1 {
		slices.Reverse(order)
	}
	for _, e := range order {
		if err := do(e); err != nil {
			return err
		}
	}
	return nil
}
