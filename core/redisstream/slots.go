package redisstream

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/store"
)

var (
	modeRelease any = "release" // frees a slot
	modeList    any = "list"    // when the newest slots expire
)

const (
	// maxRenewals bounds the slots of one call. A server takes 0.7 to 1 ms for as many, and
	// 2 ms if each is of another key.
	maxRenewals = 1000

	// renewalsInFlight bounds the calls about slots that are in flight.
	renewalsInFlight = 8
)

// Redis keeps a sorted set of up to 128 short members as a list, which each command on a
// member walks. To renew a slot takes three times as long in a set of 100 slots as in a set
// of 10. A set with a member of more than 64 bytes is a skip list instead. So if a set may
// have more than maxWalked slots, memberEnd is added to each token, which has 22 bytes.
const (
	maxWalked = 16
	memberEnd = "-------------------------------------------"
)

// memberOf returns the member of the sorted set for a slot.
func memberOf(a store.Charge) string {
	if a.Token == "" || a.Log.Limits[0].Max <= maxWalked {
		return a.Token
	}
	return a.Token + memberEnd
}

// takeSlot takes one slot. Its call shares a round trip with others.
func (s *Store) takeSlot(ctx context.Context, a store.Charge) (store.Usage, error) {
	c := s.chargeOf(a)
	return s.askUsage(ctx, c, appendDecision(nil, &c, modeTake))
}

// releaseSlot frees one slot. Its call shares a round trip with others.
func (s *Store) releaseSlot(ctx context.Context, a store.Charge) error {
	c := s.chargeOf(a)
	_, err := s.batcher.ask(ctx, c, appendDecision(nil, &c, modeRelease))
	return err
}

// RenewSlots implements [store.Slotter]. All slots of a server are in one call, up to
// 1,000 of them. In a Cluster or Ring, those of a hash slot are.
func (s *Store) RenewSlots(ctx context.Context, all []store.Charge) []error {
	return s.callSlots(ctx, "renew", all)
}

// ReleaseSlots implements [store.Slotter].
func (s *Store) ReleaseSlots(ctx context.Context, all []store.Charge) []error {
	if len(all) == 1 {
		err := s.releaseSlot(ctx, all[0])
		if !redis.HasErrorPrefix(err, "OOM") {
			return []error{err}
		}
	}
	return s.callSlots(ctx, "release", all)
}

// slotCall is a call of renew.lua: the places of its slots in the whole list.
type slotCall []int

// callSlots calls renew.lua for slots, once for each place that has some of them.
func (s *Store) callSlots(ctx context.Context, mode string, all []store.Charge) []error {
	errs := make([]error, len(all))
	charges := s.charges(all)
	var places []string
	byPlace := make(map[string]slotCall)
	for i := range charges {
		place := s.batcher.topology.place(charges[i].log)
		if byPlace[place] == nil {
			places = append(places, place)
		}
		byPlace[place] = append(byPlace[place], i)
	}
	var calls []slotCall
	for _, place := range places {
		calls = slices.AppendSeq(calls, slices.Chunk(byPlace[place], maxRenewals))
	}
	next := make(chan slotCall, len(calls))
	for _, c := range calls {
		next <- c
	}
	close(next)
	var senders sync.WaitGroup
	for range min(len(calls), renewalsInFlight) {
		senders.Go(func() {
			for c := range next {
				s.sendSlots(ctx, mode, charges, c, errs)
			}
		})
	}
	senders.Wait()
	return errs
}

// sendSlots sends one call of renew.lua, and puts the outcome of each slot into errs.
func (s *Store) sendSlots(ctx context.Context, mode string, charges []charge, c slotCall, errs []error) {
	// Slots of one set stand together.
	slices.SortStableFunc(c, func(a, b int) int { return compareLogs(&charges[a], &charges[b]) })
	var keys []any
	args := []any{mode}
	head := 0
	for at, i := range c {
		if at == 0 || compareLogs(&charges[c[at-1]], &charges[i]) != 0 { //nolint:gosec // at is above 0
			keys = append(keys, charges[i].log)
			args = append(args, charges[i].policy.Longest.Milliseconds(), 0)
			head = len(args) - 1
		}
		args = append(args, charges[i].token)
		args[head] = len(args) - 1 - head
	}
	// The number of keys is an int64, since the transport takes two keys as an int for a
	// log with its scratch key.
	call := append([]any{"evalsha", renewScript.sha, int64(len(keys))}, keys...)
	reply, err := s.batcher.run(ctx, charges[c[0]], renewScript, append(call, args...))
	switch {
	case s.batcher.apart(err) || redis.HasErrorPrefix(err, "TRYAGAIN"):
		// A script can use only one key here. No script has run.
		if len(keys) > 1 {
			for _, i := range c {
				s.sendSlots(ctx, mode, charges, slotCall{i}, errs)
			}
			return
		}
	case err == nil && len(reply) != len(c):
		err = fmt.Errorf("redisstream: the script answered %d numbers, want %d", len(reply), len(c))
	}
	for at, i := range c {
		switch {
		case err != nil:
			errs[i] = err
		case reply[at] == 0 && mode == "renew":
			errs[i] = store.ErrSlotLost
		}
	}
}

// compareLogs orders charges by their log and its hold.
func compareLogs(a, b *charge) int {
	if a.log == b.log {
		return int(a.policy.Longest - b.policy.Longest)
	}
	if a.log < b.log {
		return -1
	}
	return 1
}

// listSlots returns an entry for each live slot, with the time of its last renewal.
func (s *Store) listSlots(ctx context.Context, p *store.Log, key string, most int) ([]store.Entry, error) {
	c := s.charge(p, key, 1)
	args := []any{modeList, "", most, 0}
	reply, err := s.batcher.ask(ctx, c, args)
	if err != nil {
		return nil, err
	}
	entries := make([]store.Entry, max(0, len(reply)-1))
	for i := range entries {
		expiry := reply[1+i]
		entries[i] = store.Entry{Time: time.UnixMilli(expiry).Add(-p.Longest), Cost: 1}
	}
	return entries, nil
}

// releaseUnread releases the slots of a decision that may have been made, and whose reply
// this process had no time to read. The limiter takes the error for a decision that was
// never sent: the process is overloaded in both cases.
func (s *Store) releaseUnread(asks []store.Charge) {
	slots := slices.DeleteFunc(slices.Clone(asks), func(a store.Charge) bool { return a.Log.Layout != store.Slots })
	if len(slots) > 0 {
		s.ReleaseSlots(context.Background(), slots)
	}
}
