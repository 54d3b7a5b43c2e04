package memory

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

// slots are the live slots of one policy and key: when each expires, by its token, in
// milliseconds.
type slots struct {
	expiry map[string]int64
	first  int64 // no slot expires before it
}

// expire removes the slots that have expired.
func (s *slots) expire(now int64) {
	if s.first > now {
		return
	}
	first := int64(0)
	for token, at := range s.expiry {
		switch {
		case at <= now:
			delete(s.expiry, token)
		case first == 0 || at < first:
			first = at
		}
	}
	s.first = first
}

// used returns the number of live slots.
func (s *slots) used(now int64) (n int64) {
	if s == nil {
		return 0
	}
	if s.first > now {
		return int64(len(s.expiry))
	}
	for _, at := range s.expiry {
		if at > now {
			n++
		}
	}
	return n
}

// has reports whether the slot is live.
func (s *slots) has(token string, now int64) bool { return s != nil && s.expiry[token] > now }

// set makes a slot expire at a time.
func (s *slots) set(token string, at int64) {
	if len(s.expiry) == 0 || at < s.first {
		s.first = at
	}
	s.expiry[token] = at
}

// lookSlots finds what slots are left. It reports whether a taken slot needs a key.
func (s *shard) lookSlots(p *store.Log, id logID, token string, clock int64, u *store.Usage) (missing bool) {
	all := s.slots[id]
	used := all.used(clock)
	*u = store.Usage{Source: store.SourceMemory, Allowed: used < p.Limits[0].Max || all.has(token, clock)}
	u.Limits[0].Used = used
	if all != nil && token != "" {
		all.expire(clock) // they have ended, also if the clock steps back later
	}
	return all == nil
}

// takeSlot takes a slot that is left. The key is reserved if there is none.
func (s *shard) takeSlot(p *store.Log, id logID, token string, clock int64, u *store.Usage) {
	all := s.slots[id]
	if all == nil {
		id.key = strings.Clone(id.key)
		all = &slots{expiry: make(map[string]int64)}
		s.slots[id] = all
	}
	all.set(token, clock+p.Longest.Milliseconds())
	u.Limits[0].Used = int64(len(all.expiry))
}

// forgetSlots forgets the slots of a log.
func (s *shard) forgetSlots(id logID) {
	if s.slots[id] != nil {
		delete(s.slots, id)
		s.keys.release()
	}
}

// RenewSlots implements [store.Slotter].
func (m *Store) RenewSlots(ctx context.Context, charges []store.Charge) []error {
	return m.eachSlot(ctx, charges, func(s *shard, id logID, c *store.Charge, now int64) error {
		all := s.slots[id]
		if all == nil || all.expiry[c.Token] == 0 {
			return store.ErrSlotLost
		}
		all.set(c.Token, now+c.Log.Longest.Milliseconds())
		return nil
	})
}

// ReleaseSlots implements [store.Slotter].
func (m *Store) ReleaseSlots(ctx context.Context, charges []store.Charge) []error {
	return m.eachSlot(ctx, charges, func(s *shard, id logID, c *store.Charge, _ int64) error {
		if all := s.slots[id]; all != nil {
			delete(all.expiry, c.Token)
			if len(all.expiry) == 0 {
				s.forgetSlots(id)
			}
		}
		return nil
	})
}

// eachSlot calls f for each slot, with the lock of its shard and the time after it.
func (m *Store) eachSlot(ctx context.Context, charges []store.Charge, f func(s *shard, id logID, c *store.Charge, now int64) error) []error {
	errs := make([]error, len(charges))
	for i := range charges {
		c := &charges[i]
		if errs[i] = m.check(ctx); errs[i] != nil {
			continue
		}
		id := logID{log: c.Log.Name, key: c.Key}
		s := m.shard(id)
		s.mu.Lock()
		errs[i] = f(s, id, c, m.now())
		s.mu.Unlock()
	}
	return errs
}

// listSlots returns an entry for each live slot, with the time of its last renewal.
func (s *shard) listSlots(p *store.Log, id logID, most int, now int64) (entries []store.Entry) {
	if s.slots[id] == nil {
		return nil
	}
	for _, at := range s.slots[id].expiry {
		if at > now {
			entries = append(entries, store.Entry{Time: time.UnixMilli(at).Add(-p.Longest), Cost: 1})
		}
	}
	slices.SortFunc(entries, func(a, b store.Entry) int { return b.Time.Compare(a.Time) })
	return entries[:min(most, len(entries))]
}

// expireSlots forgets slots that have expired, and the keys that have none left. The lock
// is held.
func (s *shard) expireSlots(now int64) {
	for id, all := range s.slots {
		if all.expire(now); len(all.expiry) == 0 {
			s.forgetSlots(id)
		}
	}
}
