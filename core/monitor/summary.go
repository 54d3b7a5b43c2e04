package monitor

import "hash/maphash"

// capacity is how many keys a summary counts at a time.
const capacity = 512

// summary finds the keys with the highest counts among any number of keys, in
// bounded memory (40 kB). It is Space-Saving, from A. Metwally, D. Agrawal and
// A. El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data
// Streams" (ICDT 2005): a key that is not among those counted takes the place of
// the one with the lowest count, and inherits that count as its error.
//
// So a count is never too low, and too high by its error at most, which is at most
// the total divided by the capacity; and a key that is not there has no more than
// floor. Up to capacity keys are counted exactly.
//
// Counters are found by hash, in chains, and the lowest is on top of a heap.
// Everything is an array, so that nothing is allocated however many keys there are.
type summary struct {
	used     int
	counters [capacity]counter
	heap     [capacity]node
	heads    [2 * capacity]int32 // of the chains: a counter's index and 1; 0 for none
}

type counter struct {
	key   keyName
	hash  uint64
	error int64
	next  int32 // in the chain, as in heads
	place int32 // in the heap
}

type node struct {
	count   int64
	counter int32
}

// keyName is a key under a policy.
type keyName struct{ policy, key string }

var seed = maphash.MakeSeed()

func (k *keyName) hash() uint64 {
	// Few keys are the same under several policies; those share a chain.
	return maphash.String(seed, k.key) ^ uint64(len(k.policy))
}

// add adds to a key's count. known is how much of it is in error.
func (s *summary) add(key keyName, count, known int64) {
	hash := key.hash()
	head := &s.heads[hash%uint64(len(s.heads))]
	for i := *head; i != 0; i = s.counters[i-1].next {
		if c := &s.counters[i-1]; c.hash == hash && c.key == key {
			c.error += known
			s.heap[c.place].count += count
			s.sink(int(c.place))
			return
		}
	}
	if s.used < capacity {
		i := int32(s.used) //nolint:gosec // below capacity
		s.used++
		s.counters[i] = counter{key: key, hash: hash, error: known, next: *head, place: i}
		*head = i + 1
		s.heap[i] = node{count: count, counter: i}
		s.rise(int(i))
		return
	}
	lowest := s.heap[0]
	s.unchain(lowest.counter)
	s.counters[lowest.counter] = counter{key: key, hash: hash, error: known + lowest.count, next: *head}
	*head = lowest.counter + 1
	s.heap[0].count += count
	s.sink(0)
}

// unchain takes a counter out of its chain.
func (s *summary) unchain(i int32) {
	c := &s.counters[i]
	link := &s.heads[c.hash%uint64(len(s.heads))]
	for *link != i+1 {
		link = &s.counters[*link-1].next
	}
	*link = c.next
}

// floor is the most that a key which is not there can have.
func (s *summary) floor() int64 {
	if s.used < capacity {
		return 0
	}
	return s.heap[0].count
}

// each calls f with each key, its count and the error in it.
func (s *summary) each(f func(key keyName, count, known int64)) {
	for _, n := range s.heap[:s.used] {
		c := &s.counters[n.counter]
		f(c.key, n.count, c.error)
	}
}

func (s *summary) clear() {
	if s.used > 0 {
		*s = summary{}
	}
}

// sink moves a node whose count has grown down to its place.
func (s *summary) sink(i int) {
	n := s.heap[i]
	for {
		child := 2*i + 1
		if child >= s.used {
			break
		}
		if right := child + 1; right < s.used && s.heap[right].count < s.heap[child].count {
			child = right
		}
		if n.count <= s.heap[child].count {
			break
		}
		s.put(i, s.heap[child])
		i = child
	}
	s.put(i, n)
}

// rise moves a new node up to its place.
func (s *summary) rise(i int) {
	n := s.heap[i]
	for i > 0 {
		parent := (i - 1) / 2
		if s.heap[parent].count <= n.count {
			break
		}
		s.put(i, s.heap[parent])
		i = parent
	}
	s.put(i, n)
}

func (s *summary) put(i int, n node) {
	s.heap[i] = n
	s.counters[n.counter].place = int32(i) //nolint:gosec // below capacity
}
