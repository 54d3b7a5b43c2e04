package lease

// size is how many units a key's calls take ahead.
type size struct {
	ahead   int64
	limited bool // the last call got less than it asked for
	slow    bool // the last call took longer than a quarter of a lease
}

// grow makes the next call take more, after a lease was used up early. waiting is what
// those who wait need.
func (s *size) grow(terms Terms, waiting int64) {
	if !s.limited {
		s.ahead = min(2*(s.ahead+waiting), terms.Ahead)
	}
}

// shrink makes the next call take less, after a lease ended with more than half of its
// units left. Units that were put back can make left more than it had.
func (s *size) shrink(had, left int64) {
	if 2*left > had {
		s.ahead = min(s.ahead, 2*max(0, had-left))
	}
}

// want returns what a call takes ahead. A lease that loses a quarter of its length on
// the way is not worth its units.
func (s *size) want() int64 {
	if s.slow {
		return 0
	}
	return s.ahead
}
