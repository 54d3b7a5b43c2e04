package monitor

// ring keeps the counts of the last intervals of one length.
type ring struct {
	step  int64 // milliseconds
	most  int   // maximum number of names
	slots []slot

	newest int64 // number of a slot
}

type slot struct {
	number int64 // index of the interval, since 1970
	counts tallies
}

func newRing(step int64, slots, most int) ring {
	return ring{step: step, most: most, slots: make([]slot, slots)}
}

// add adds counts at a time. It ignores times before the ring.
func (r *ring) add(t, now int64, counts tallies) {
	if len(counts) == 0 || t < 0 {
		return
	}
	r.forgetAfter(now)
	number := t / r.step
	r.newest = max(r.newest, number)
	s := &r.slots[number%int64(len(r.slots))]
	switch {
	case number < s.number:
		return
	case number > s.number:
		*s = slot{number: number, counts: make(tallies)}
	}
	s.counts.addAll(counts, r.most)
}

// forgetAfter removes counts far after now. They were added before the clock was set
// back, and the same times occur again.
func (r *ring) forgetAfter(now int64) {
	if r.newest*r.step <= now+maxBack.Milliseconds() {
		return
	}
	r.newest = now / r.step
	for i := range r.slots {
		if r.slots[i].number > r.newest {
			r.slots[i] = slot{}
		}
	}
}

// at returns the counts of the interval that contains a time, or nil without any.
func (r *ring) at(t int64) tallies {
	if t < 0 {
		return nil
	}
	number := t / r.step
	if s := &r.slots[number%int64(len(r.slots))]; s.number == number {
		return s.counts
	}
	return nil
}

// sum returns the sum of n intervals up to the one that contains a time.
func (r *ring) sum(t int64, n int) tallies {
	all := make(tallies)
	for i := range int64(n) {
		all.addAll(r.at(t-i*r.step), r.most)
	}
	return all
}
