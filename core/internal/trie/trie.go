// Package trie has an immutable map. A change makes another map, which shares all but a
// few nodes with the first. Reading needs no lock. The cost of a change depends only on
// the depth of the tree.
package trie

import (
	"hash/maphash"
	"iter"
	"math/bits"
	"slices"
)

// Map is a hash trie with 32 branches a node. The zero Map is empty.
type Map[K comparable, V any] struct {
	root *node[K, V]
	len  int
}

// node has a branch for each bit in used, in their order.
type node[K comparable, V any] struct {
	used     uint32
	branches []branch[K, V]
}

// branch is a node, or the pairs whose keys have one hash: nearly always one pair.
type branch[K comparable, V any] struct {
	below *node[K, V]
	pairs *pair[K, V]
}

type pair[K comparable, V any] struct {
	hash  uint64
	key   K
	value V
	next  *pair[K, V]
}

const width = 5 // bits of the hash that choose a branch

var seed = maphash.MakeSeed()

func hashOf[K comparable](key K) uint64 { return maphash.Comparable(seed, key) }

// place returns the bit and the index of the branch for a hash at a depth.
func (n *node[K, V]) place(hash uint64, shift uint) (bit uint32, at int) {
	bit = 1 << (hash >> shift & (1<<width - 1))
	return bit, bits.OnesCount32(n.used & (bit - 1))
}

// Len returns the number of keys.
func (m Map[K, V]) Len() int { return m.len }

// Get returns the value of a key.
func (m Map[K, V]) Get(key K) (value V, ok bool) {
	if m.root == nil {
		return value, false
	}
	hash := hashOf(key)
	n := m.root
	for shift := uint(0); ; shift += width {
		bit, at := n.place(hash, shift)
		if n.used&bit == 0 {
			return value, false
		}
		b := &n.branches[at]
		if b.below != nil {
			n = b.below
			continue
		}
		for p := b.pairs; p != nil; p = p.next {
			if p.key == key {
				return p.value, true
			}
		}
		return value, false
	}
}

// With returns the map with a value for a key.
func (m Map[K, V]) With(key K, value V) Map[K, V] {
	return m.with(&pair[K, V]{hash: hashOf(key), key: key, value: value})
}

func (m Map[K, V]) with(p *pair[K, V]) Map[K, V] {
	root := m.root
	if root == nil {
		root = new(node[K, V])
	}
	root, added := root.with(p, 0)
	if added {
		m.len++
	}
	m.root = root
	return m
}

// with returns a copy of the node with the pair.
func (n *node[K, V]) with(p *pair[K, V], shift uint) (changed *node[K, V], added bool) {
	bit, at := n.place(p.hash, shift)
	if n.used&bit == 0 {
		branches := make([]branch[K, V], len(n.branches)+1)
		copy(branches, n.branches[:at])
		branches[at].pairs = p
		copy(branches[at+1:], n.branches[at:])
		return &node[K, V]{n.used | bit, branches}, true
	}
	changed = &node[K, V]{n.used, slices.Clone(n.branches)}
	b := &changed.branches[at]
	switch {
	case b.below != nil:
		b.below, added = b.below.with(p, shift+width)
	case b.pairs.hash == p.hash:
		rest, found := b.pairs.without(p.key)
		added = !found
		p.next, b.pairs = rest, p
	default:
		b.below, added = under(b.pairs, shift+width).with(p, shift+width)
		b.pairs = nil
	}
	return changed, added
}

// under returns a node with only the pairs, which have one hash.
func under[K comparable, V any](pairs *pair[K, V], shift uint) *node[K, V] {
	n := new(node[K, V])
	bit, _ := n.place(pairs.hash, shift)
	return &node[K, V]{bit, []branch[K, V]{{pairs: pairs}}}
}

// without returns the pairs except the pair of a key.
func (p *pair[K, V]) without(key K) (rest *pair[K, V], found bool) {
	if p == nil {
		return nil, false
	}
	if p.key == key {
		return p.next, true
	}
	rest, found = p.next.without(key)
	if !found {
		return p, false
	}
	return &pair[K, V]{p.hash, p.key, p.value, rest}, true
}

// Without returns the map without a key.
func (m Map[K, V]) Without(key K) Map[K, V] { return m.without(hashOf(key), key) }

func (m Map[K, V]) without(hash uint64, key K) Map[K, V] {
	if m.root == nil {
		return m
	}
	b, found := branch[K, V]{below: m.root}.without(hash, key, 0)
	if !found {
		return m
	}
	m.len--
	switch {
	case b.pairs != nil:
		m.root = under(b.pairs, 0)
	default:
		m.root = b.below
	}
	return m
}

// without returns a copy of the branch without a key, or the zero branch if nothing
// remains. A node that has only the pairs of one hash is replaced by them.
func (b branch[K, V]) without(hash uint64, key K, shift uint) (changed branch[K, V], found bool) {
	if b.below == nil {
		b.pairs, found = b.pairs.without(key)
		return b, found
	}
	n := b.below
	bit, at := n.place(hash, shift)
	if n.used&bit == 0 {
		return b, false
	}
	one, found := n.branches[at].without(hash, key, shift+width)
	switch {
	case !found:
		return b, false
	case one != (branch[K, V]{}):
		if one.pairs != nil && len(n.branches) == 1 {
			return one, true
		}
		branches := slices.Clone(n.branches)
		branches[at] = one
		return branch[K, V]{below: &node[K, V]{n.used, branches}}, true
	case len(n.branches) == 1:
		return branch[K, V]{}, true
	}
	branches := slices.Concat(n.branches[:at], n.branches[at+1:])
	if len(branches) == 1 && branches[0].pairs != nil {
		return branches[0], true
	}
	return branch[K, V]{below: &node[K, V]{n.used &^ bit, branches}}, true
}

// All returns the keys and their values, in any order.
func (m Map[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if m.root != nil {
			m.root.each(yield)
		}
	}
}

func (n *node[K, V]) each(yield func(K, V) bool) bool {
	for _, b := range n.branches {
		if b.below != nil && !b.below.each(yield) {
			return false
		}
		for p := b.pairs; p != nil; p = p.next {
			if !yield(p.key, p.value) {
				return false
			}
		}
	}
	return true
}
