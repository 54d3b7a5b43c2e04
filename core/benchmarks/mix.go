package main

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"time"
)

// mix is a load: which key is asked for when, and what the limit is.
type mix struct {
	name  string
	quota quota
	keys  func(round, n int) []string
	warm  int // requests of each key before the measurement
}

// plenty is a limit that nobody reaches.
var plenty = quota{max: 100_000_000, window: time.Hour}

var (
	hotKey   = mix{name: "one hot key", quota: plenty, keys: fixed("hot", 1), warm: 1}
	manyKeys = mix{name: "10,000 keys", quota: plenty, warm: 1, keys: func(round, n int) []string {
		return turning("many", 10_000, max(0, round)*n, n)
	}}
	warmKeys = mix{name: "warm keys", quota: plenty, keys: fixed("warm", 1000), warm: 1}
	newKeys  = mix{name: "new keys", quota: plenty, keys: func(round, n int) []string {
		return numbered(fmt.Sprintf("new-%d", round), n, n)
	}}
	deniedKeys = mix{name: "denied", quota: quota{max: 1, window: time.Hour}, keys: fixed("denied", 100), warm: 2}
)

func fixed(name string, keys int) func(round, n int) []string {
	return func(_, n int) []string { return numbered(name, keys, n) }
}

// numbered are n keys in turn, of so many different ones.
func numbered(name string, keys, n int) []string { return turning(name, keys, 0, n) }

// turning are n keys in turn from one on, of so many different ones.
func turning(name string, keys, from, n int) []string {
	all := make([]string, n)
	for i := range all {
		if i < keys {
			all[i] = fmt.Sprintf("%s-%d", name, (from+i)%keys)
		} else {
			all[i] = all[i-keys]
		}
	}
	return all
}

// thirdDenied is a mix of n requests in which few keys have most of the requests,
// and of which a third are over the limit. Keys are others in each round.
func thirdDenied(n int) mix {
	const keys, skew = 10_000, 1.1
	zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), skew, 1, keys-1)
	draws := make([]uint64, n)
	times := map[uint64]int{}
	for i := range draws {
		draws[i] = zipf.Uint64()
		times[draws[i]]++
	}
	// The limit that denies a third, or just less.
	limit := sort.Search(n, func(limit int) bool {
		over := 0
		for _, count := range times {
			over += max(0, count-limit)
		}
		return over <= n/3
	})
	return mix{
		name:  "Zipf, a third denied",
		quota: quota{max: int64(limit) + 1, window: time.Hour}, // and the one that warms
		warm:  1,
		keys: func(round, n int) []string {
			all := make([]string, n)
			for i := range all {
				all[i] = fmt.Sprintf("zipf-%d-%d", round, draws[i%len(draws)])
			}
			return all
		},
	}
}
