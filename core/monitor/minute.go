package monitor

import (
	"cmp"
	"slices"
	"sync"
)

// TopKey is one of the keys with the most requests of the last minute under a policy.
// The true count is between Count-Error and Count+Error. A minute here is six slices of
// ten seconds. The newest slice is not over, so the minute is 50 to 60 seconds.
//
// A process counts its keys exactly while there are at most 512 in ten seconds.
// Otherwise it counts them to a 128th of its decisions in the minute. Every ten seconds
// it publishes the 20 keys with the highest counts. If it publishes 20, another key can
// have as many as the last of them, which is at most a twentieth of that process's
// decisions. So Error is 0 if each process publishes the key, or fewer than 20 keys.
type TopKey struct {
	Policy string `json:"policy"`
	Key    string `json:"key"`
	Count  int64  `json:"count"`
	Error  int64  `json:"error"`
}

// Top are the keys with the most requests allowed, and denied.
type Top struct {
	Allowed []TopKey `json:"allowed"`
	Denied  []TopKey `json:"denied"`
}

const (
	topKeys = 20

	slices10s  = 6
	sliceMilli = 10_000
)

// minute are the keys of the last minute, in slices of ten seconds. It takes 750
// kB of memory, whatever the number of keys.
type minute struct {
	mu     sync.Mutex
	slices [slices10s]slice
}

type slice struct {
	number int64 // ten seconds since 1970
	top    [tops]summary
	missed [tops]int64 // the most that a key can have in addition, from seconds that did not list it
}

// add adds the keys of a second.
func (m *minute) add(t int64, s *second) {
	m.mu.Lock()
	defer m.mu.Unlock()
	number := t / sliceMilli
	into := &m.slices[number%slices10s]
	if into.number != number {
		for i := range into.top {
			into.top[i].clear()
		}
		into.number, into.missed = number, [tops]int64{}
	}
	for i := range s.top {
		into.missed[i] += s.top[i].floor()
		s.top[i].each(into.top[i].add)
	}
}

// top returns the keys with the highest counts at a time.
func (m *minute) top(now int64) Top {
	return Top{Allowed: m.keys(now, topAllowed, topKeys), Denied: m.keys(now, topDenied, topKeys)}
}

// near returns how many listed keys are near their limit, by policy.
func (m *minute) near(now int64) map[string]int64 {
	keys := make(map[string]int64)
	for _, k := range m.keys(now, topNear, allKeys) {
		keys[k.Policy]++
	}
	return keys
}

// allKeys is at least the number of keys listed in a minute.
const allKeys = slices10s * capacity

// list has all listed keys.
func (m *minute) list(now int64, which int) list {
	keys, bound := m.ranked(now, which, allKeys)
	return list{keys, bound}
}

// keys returns up to most keys, highest counts first.
func (m *minute) keys(now int64, which, most int) []TopKey {
	keys, _ := m.ranked(now, which, most)
	return keys
}

// ranked also returns the bound for a key that is not listed.
func (m *minute) ranked(now int64, which, most int) (keys []TopKey, bound int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sums := make(map[keyName]TopKey)
	for i := range m.slices {
		s := &m.slices[i]
		if age := now/sliceMilli - s.number; age < 0 || age >= slices10s {
			continue
		}
		bound += s.missed[which] + s.top[which].floor()
		s.top[which].each(func(key keyName, count, known int64) {
			sum := sums[key]
			sum.Count += count
			sum.Error += known
			sums[key] = sum
		})
	}
	return ranked(sums, bound, most), bound
}

// ranked returns up to most keys, highest counts first. It adds bound to the error of
// each.
func ranked(sums map[keyName]TopKey, bound int64, most int) []TopKey {
	keys := make([]TopKey, 0, len(sums))
	for key, k := range sums {
		k.Policy, k.Key = key.policy, key.key
		k.Error += bound
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b TopKey) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Policy, b.Policy), cmp.Compare(a.Key, b.Key))
	})
	return slices.Clip(keys[:min(most, len(keys))])
}
