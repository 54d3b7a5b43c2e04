package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// burst is so many requests at once, from each process, so long after the start.
type burst struct {
	After   time.Duration
	Callers int
}

// scenario is an attack on a limit.
type scenario struct {
	name   string
	quota  quota
	bursts []burst
}

const processes = 4

var scenarios = []scenario{
	{"crowd, 10 per 10 s", quota{10, 10 * time.Second}, []burst{{0, 50}}},
	{"at a window's boundary, 10 per 2 s", quota{10, 2 * time.Second}, []burst{
		{0, 1}, {1900 * time.Millisecond, 5}, {2050 * time.Millisecond, 5}, {2200 * time.Millisecond, 5},
	}},
	{"pressure, 20 per 500 ms", quota{20, 500 * time.Millisecond}, every(100*time.Millisecond, 12, 5)},
}

func every(gap time.Duration, times, callers int) []burst {
	all := make([]burst, times)
	for i := range all {
		all[i] = burst{time.Duration(i) * gap, callers}
	}
	return all
}

// measureAudit attacks the limits from several processes, and finds how many
// requests were admitted above them: by all peers, since that takes no longer.
func measureAudit(b *bench) error {
	over := table{Name: "audit", Title: fmt.Sprintf("Requests admitted above the limit in a window, at worst; %d processes", processes)}
	all := table{Name: "audit-admitted", Title: "Requests admitted in all, in the same attacks"}
	failed := table{Name: "audit-errors", Title: "Requests without a decision, in the same attacks"}
	rounds := b.pick(1, 3)
	s := newStage()
	defer s.close()
	for _, sc := range scenarios {
		for round := range rounds {
			b.step("Audit: %s, round %d", sc.name, round+1)
			found, err := attack(s.addr, peers, sc, fmt.Sprintf("audit-%s-%d", sc.name, round))
			if err != nil {
				return err
			}
			for _, p := range peers {
				over.set(p.name, sc.name, worst(over.get(p.name, sc.name), float64(excess(found[p.name].Requests, sc.quota))))
				all.set(p.name, sc.name, worst(all.get(p.name, sc.name), float64(len(found[p.name].Requests))))
				failed.set(p.name, sc.name, worst(failed.get(p.name, sc.name), float64(found[p.name].Errors)))
			}
		}
	}
	for _, t := range []*table{&over, &all, &failed} {
		t.How = fmt.Sprintf("The most of any round, of %d.", rounds)
	}
	b.add(over, all, failed)
	return nil
}

// worst is the greater, or the new one if there is no other.
func worst(old, found float64) float64 {
	if old > found {
		return old
	}
	return found
}

// request is one that was admitted, and when, in microseconds.
type request struct{ Sent, Received int64 }

// excess is how many requests above the limit were admitted in the worst window,
// as far as is certain: a request was admitted between its being sent and its
// answer. Windows are a millisecond short, which is how exact limits claim to be.
func excess(requests []request, q quota) int64 {
	slices.SortFunc(requests, func(a, b request) int { return cmp.Compare(a.Sent, b.Sent) })
	most := int64(0)
	for i, first := range requests {
		end := first.Sent + q.window.Microseconds() - 1000
		n := int64(0)
		for _, r := range requests[i:] {
			if r.Sent >= end {
				break
			}
			if r.Received < end {
				n++
			}
		}
		most = max(most, n)
	}
	return max(0, most-q.max)
}
