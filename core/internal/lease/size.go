package lease

import "time"

// size is how many units a key's calls take ahead.
type size struct {
	ahead   int64
	limited bool // the last call got less than it asked for
	slow    bool // the last call took longer than a quarter of a lease
}

// grow makes the next call take more, after a lease was used up early. waiting is the
// number of units that waiting requests need.
func (s *size) grow(terms Terms, waiting int64) {
	if !s.limited {
		s.ahead = min(2*(s.ahead+waiting), terms.Ahead)
	}
}

// follow makes the next call take the units that are used in three quarters of a lease,
// at the current rate. A lease is then used up before it ends, and no units are returned.
func (s *size) follow(terms Terms, used int64, took time.Duration) {
	want := int64(float64(used) * 0.75 * float64(terms.Length) / float64(max(took, 1)))
	want = min(max(want, 1), 4*s.ahead, terms.Ahead)
	if want < s.ahead || !s.limited {
		s.ahead = want
	}
}

// shrink makes the next call take less, after a lease ended with more than half of its
// units left. Units that were put back can make left more than the first size.
func (s *size) shrink(had, left int64) {
	if 2*left > had {
		s.ahead = min(s.ahead, 2*max(0, had-left))
	}
}

// want returns how many units a call takes ahead. It returns 0 if calls are slow: a lease
// that loses a quarter of its length to the network is not worth its units.
func (s *size) want() int64 {
	if s.slow {
		return 0
	}
	return s.ahead
}
