package trie

import (
	"maps"
	"math/rand/v2"
	"strconv"
	"testing"
)

// hashes are the hash functions of the test: all hashes different, few hashes for many
// keys, and hashes that differ only in the last bits.
var hashes = map[string]func(key int) uint64{
	"own":        hashOf[int],
	"the same":   func(int) uint64 { return 1<<64 - 1 },
	"few":        func(key int) uint64 { return uint64(key % 3) },
	"last bits":  func(key int) uint64 { return uint64(key) << 55 },
	"first bits": func(key int) uint64 { return uint64(key) },
}

// A map equals a plain map after the same changes. Earlier maps stay as they were.
func TestMapIsAMap(t *testing.T) {
	for name, hash := range hashes {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, uint64(len(name))))
			var m Map[int, string]
			plain := make(map[int]string)
			type moment struct {
				m     Map[int, string]
				plain map[int]string
			}
			var before []moment
			for step := range 3000 {
				key := random.IntN(1 + step/8%300)
				if random.IntN(5) < 2 {
					m = m.without(hash(key), key)
					delete(plain, key)
				} else {
					value := strconv.Itoa(step)
					m = m.with(&pair[int, string]{hash: hash(key), key: key, value: value})
					plain[key] = value
				}
				if m.Len() != len(plain) {
					t.Fatalf("step %d: %d keys, want %d", step, m.Len(), len(plain))
				}
				if step%300 == 0 {
					before = append(before, moment{m, maps.Clone(plain)})
				}
			}
			for i, at := range append(before, moment{m, plain}) {
				if got := maps.Collect(at.m.All()); !maps.Equal(got, at.plain) {
					t.Errorf("moment %d: %v, want %v", i, got, at.plain)
				}
			}
			for key := range plain {
				m = m.without(hash(key), key)
			}
			if m.Len() != 0 || m.root != nil {
				t.Errorf("an emptied map has %d keys, %+v", m.Len(), m.root)
			}
		})
	}
}

func TestGet(t *testing.T) {
	var m Map[string, int]
	if _, ok := m.Get("a"); ok || m.Without("a").Len() != 0 {
		t.Error("an empty map has a key")
	}
	for i := range 10_000 {
		m = m.With(strconv.Itoa(i), i)
	}
	for i := range 10_000 {
		if got, ok := m.Get(strconv.Itoa(i)); !ok || got != i {
			t.Fatalf("%d: %d, %v", i, got, ok)
		}
	}
	if _, ok := m.Get("other"); ok {
		t.Error("a key that is not there is found")
	}
	for range m.All() {
		break // ends early
	}
}

// BenchmarkWith and BenchmarkGet cost nearly the same for any number of keys.
func BenchmarkWith(b *testing.B) {
	benchmark(b, func(m Map[string, int], key string) { m.With(key, 1) })
}

func BenchmarkGet(b *testing.B) { benchmark(b, func(m Map[string, int], key string) { m.Get(key) }) }

func benchmark(b *testing.B, do func(Map[string, int], string)) {
	for _, n := range []int{10, 10_000, 100_000} {
		var m Map[string, int]
		for i := range n {
			m = m.With("key "+strconv.Itoa(i), i)
		}
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				do(m, "other")
			}
		})
	}
}
