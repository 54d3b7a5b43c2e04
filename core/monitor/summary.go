package monitor

import "hash/maphash"

// capacity is the number of keys that a summary counts at a time.
const capacity = 512

// summary finds the keys with the highest counts among any number of keys, in bounded
// memory (40 kB). It implements Space-Saving, from A. Metwally, D. Agrawal and A. El
// Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams" (ICDT
// 2005). A new key replaces the key with the lowest count, and takes over that count as
// its error.
//
// A count is never too low. It is too high by at most its error, which is at most the
// total divided by the capacity. A key that is not listed has at most floor. Up to
// capacity keys are counted exactly.
//
// Counters are found by hash, in chains. A heap has the lowest count on top. All are
// arrays, so that any number of keys allocates nothing.
type summary struct {
	used     int
	counters [capacity]counter
	heap     [capacity]node
	heads    [2 * capacity]int32 // of the chains: a counter's index plus 1; 0 for none
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
	// A key is rarely used under several policies. Such keys share a chain.
	return maphash.String(seed, k.key) ^ uint64(len(k.policy))
}

// add adds to a key's count. known is the part of it that is an error.
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

// unchain removes a counter from its chain.
func (s *summary) unchain(i int32) {
	c := &s.counters[i]
	link := &s.heads[c.hash%uint64(len(s.heads))]
	for *link != i+1 {
		link = &s.counters[*link-1].next
	}
	*link = c.next
}

// floor returns the most that a key which is not listed can have.
func (s *summary) floor() int64 {
	if s.used < capacity {
		return 0
	}
	return s.heap[0].count
}

// each calls f with each key, its count and its error.
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

// sink moves a node with a higher count down to its place.
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
