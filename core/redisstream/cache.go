package redisstream

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

const (
	// cacheAtMost bounds the time that a denial is cached, so that a log that another
	// process resets is soon seen to be empty.
	cacheAtMost = time.Second

	// leasedAtMost bounds the time for a leased log, since other processes return units
	// to it.
	leasedAtMost = 100 * time.Millisecond

	// cacheShards and cachedInShard bound what is cached: 16,384 denials.
	cacheShards   = 16
	cachedInShard = 1024
)

// cache holds denials that would be the same if Redis was asked again: while a log
// is full, nothing enters it, and until its first entry leaves, nothing about it
// changes. So a flood of denied requests costs Redis next to nothing.
type cache struct {
	now    func() time.Time
	seed   maphash.Seed
	shards [cacheShards]cacheShard
}

type cacheShard struct {
	mu        sync.RWMutex
	kept      map[denied]denial
	forgotten atomic.Uint64 // counts the calls of forget
}

// denied names what a denial is about. With other limits there might be none.
type denied struct {
	policy *store.Log
	key    string
}

type denial struct {
	usage    store.Usage
	received time.Time // no earlier than the server's time of it
	until    time.Time // as far as it is surely true
}

func newCache() *cache {
	d := &cache{now: time.Now, seed: maphash.MakeSeed()}
	for i := range d.shards {
		d.shards[i].kept = make(map[denied]denial)
	}
	return d
}

// cacheable reports whether denials of the policy stay true until an entry leaves. They
// do not if units can be given back, also to an earlier log, or if a smaller cost might
// fit. Denials on a leased log are cached all the same, but briefly.
func cacheable(p *store.Log) bool {
	return (p.Layout != store.Refunded && p.Grace == 0 || p.Lease > 0) && !p.VariableCost && !refundsEarlier(p)
}

// refundsEarlier reports whether an earlier log of the policy can get units back.
func refundsEarlier(p *store.Log) bool {
	for _, e := range p.Earlier {
		if e.Layout == store.Refunded {
			return true
		}
	}
	return false
}

func (d *cache) shard(key string) *cacheShard {
	return &d.shards[maphash.String(d.seed, key)%cacheShards]
}

// get returns a denial that is cached, as it is now.
func (d *cache) get(p *store.Log, key string) (store.Usage, bool) {
	s, now := d.shard(key), d.now()
	s.mu.RLock()
	kept, ok := s.kept[denied{p, key}]
	s.mu.RUnlock()
	if !ok || !now.Before(kept.until) {
		return store.Usage{}, false
	}
	u := kept.usage
	u.Cached = true
	// Whole milliseconds, and rather a little later than what the server would say:
	// who waits that long gets in.
	ago := max(0, now.Sub(kept.received)).Truncate(time.Millisecond)
	u.RetryAfter -= ago
	u.ResetAfter -= ago
	for i := range len(p.Limits) {
		if l := &u.Limits[i]; l.Used > 0 {
			l.FreeIn -= ago
		}
	}
	return u, true
}

// sending holds when a request was sent, and what was forgotten before it.
type sending struct {
	at        time.Time
	forgotten uint64
}

func (d *cache) sending(key string) sending {
	return sending{at: d.now(), forgotten: d.shard(key).forgotten.Load()}
}

// put caches the denial of a request that was sent then.
func (d *cache) put(p *store.Log, key string, u store.Usage, sent sending) {
	valid := min(u.RetryAfter, cacheAtMost)
	if p.Lease > 0 {
		valid = min(valid, p.Lease, leasedAtMost)
	}
	for i := range len(p.Limits) {
		if l := u.Limits[i]; l.Used > 0 {
			valid = min(valid, l.FreeIn)
		}
	}
	now := d.now()
	kept := denial{usage: u, received: now, until: sent.at.Add(valid)}
	if !now.Before(kept.until) {
		return
	}
	s := d.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forgotten.Load() != sent.forgotten {
		return // it may be of the time before a reset
	}
	about := denied{p, key}
	if _, known := s.kept[about]; !known && len(s.kept) >= cachedInShard {
		s.makeRoom(now)
	}
	s.kept[about] = kept
}

// makeRoom forgets one of a few denials, preferably one that is not true any more.
func (s *cacheShard) makeRoom(now time.Time) {
	tried := 0
	for about, kept := range s.kept { // in random order
		if tried++; tried == 8 || !now.Before(kept.until) {
			delete(s.kept, about)
			return
		}
	}
}

// forget drops the denials on a log that is empty now, under whatever limits.
func (d *cache) forget(p *store.Log, key string) {
	s := d.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgotten.Add(1)
	for about := range s.kept {
		if about.key == key && about.policy.Name == p.Name {
			delete(s.kept, about)
		}
	}
}

func (d *cache) forgetAll() {
	for i := range d.shards {
		s := &d.shards[i]
		s.mu.Lock()
		s.forgotten.Add(1)
		clear(s.kept)
		s.mu.Unlock()
	}
}
