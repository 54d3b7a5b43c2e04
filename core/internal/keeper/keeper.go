// Package keeper renews the slots that a process holds, and releases those that may have
// been taken in vain.
package keeper

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

const (
	// A slot is renewed when a third of its hold is over. The call also renews all slots
	// that were not renewed for a sixth of theirs, so that few calls are needed. A call
	// that fails is repeated after a twelfth.
	dueAfter, alongAfter, againAfter = 3, 6, 12

	// maxDrops bounds the slots that may have been taken in vain. Those beyond it are
	// free after their hold.
	maxDrops = 10_000
)

// The reasons of lost slots.
var (
	errUnrenewed = errors.New("no renewal within the hold")
	errGone      = errors.New("renewed in time, but not in the store: the clock of its server may have jumped ahead")
)

// Keeper keeps the slots of a process. Its goroutine runs while there are slots.
type Keeper struct {
	start func(task func(context.Context)) bool
	lost  func(policy string, err error)
	wake  chan struct{}
	count atomic.Int64 // of lost slots

	mu      sync.Mutex
	running bool
	ended   bool
	at      time.Time // when the goroutine looks next
	slots   map[*Slot]struct{}
	drops   []drop

	renewing, releasing map[store.Slotter]bool // stores with such a call in flight
}

// Slot is a slot that this process asks for, holds, or has released.
type Slot struct {
	keeper *Keeper
	token  string
	lost   chan struct{}

	store  store.Slotter
	charge store.Charge

	// The keeper's lock guards these.
	since time.Time // when the last call that took or renewed the slot was sent
	tried time.Time // when the last renewal was sent
	over  bool      // released or lost
}

// drop is a slot that may have been taken, and that nobody holds. It is released again
// and again until its hold is over: the call that took it may arrive late.
type drop struct {
	store  store.Slotter
	charge store.Charge
	next   time.Time
	until  time.Time
}

// New returns a keeper that runs its goroutine by start, and calls lost for each slot
// that ends before it is released.
func New(start func(task func(context.Context)) bool, lost func(policy string, err error)) *Keeper {
	return &Keeper{
		start: start, lost: lost, wake: make(chan struct{}, 1), slots: make(map[*Slot]struct{}),
		renewing: make(map[store.Slotter]bool), releasing: make(map[store.Slotter]bool),
	}
}

// NewSlot returns a slot with a random token, which is about to be asked for.
func (k *Keeper) NewSlot() *Slot {
	var token [16]byte
	binary.NativeEndian.PutUint64(token[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(token[8:], rand.Uint64())
	return &Slot{keeper: k, token: base64.RawURLEncoding.EncodeToString(token[:]), since: time.Now()}
}

// Token returns the token by which a store knows the slot.
func (s *Slot) Token() string { return s.token }

// Hold keeps the slot, which the store has given for the charge.
func (s *Slot) Hold(by store.Slotter, c store.Charge) {
	k := s.keeper
	s.store, s.charge, s.lost, s.tried = by, c, make(chan struct{}), s.since
	k.mu.Lock()
	defer k.mu.Unlock()
	k.slots[s] = struct{}{}
	k.expect(s.due())
	if k.ended {
		k.end(s)
	}
}

// Lost returns a channel that is closed when the slot ends before it is released.
func (s *Slot) Lost() <-chan struct{} { return s.lost }

// Release frees the slot. It returns when the store has answered, so that the slot is
// free at once. A release that fails is repeated in the background.
func (s *Slot) Release() {
	k := s.keeper
	k.mu.Lock()
	over := s.over
	s.over = true
	delete(k.slots, s)
	k.mu.Unlock()
	if over {
		return
	}
	if err := s.store.ReleaseSlots(context.Background(), []store.Charge{s.charge})[0]; err != nil && !errors.Is(err, store.ErrClosed) {
		k.Drop(s.store, s.charge)
	}
}

// Drop releases a slot that may have been taken, in the background.
func (k *Keeper) Drop(by store.Slotter, c store.Charge) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.drops) < maxDrops && !k.ended {
		now := time.Now()
		k.drops = append(k.drops, drop{store: by, charge: c, next: now, until: now.Add(holdOf(c))})
		k.expect(now)
	}
}

// LostCount returns how many slots were lost.
func (k *Keeper) LostCount() int64 { return k.count.Load() }

func holdOf(c store.Charge) time.Duration { return c.Log.Limits[0].Window }

func (s *Slot) hold() time.Duration { return holdOf(s.charge) }

// due returns when the slot is renewed next, or is lost.
func (s *Slot) due() time.Time {
	due := s.since.Add(s.hold() / dueAfter)
	if again := s.tried.Add(s.hold() / againAfter); again.After(due) {
		due = again
	}
	if end := s.end(); end.Before(due) {
		due = end
	}
	return due
}

// end returns when the slot is lost without another renewal.
func (s *Slot) end() time.Time { return s.since.Add(s.hold()) }

// elapsed returns the time from before to now by the monotonic clock or the clock on the
// wall, whichever is longer: a machine that was suspended may stop one of them. Only a
// server that does not respond makes a slot lost by the clock on the wall, which may step.
func elapsed(before, now time.Time) time.Duration {
	return max(now.Sub(before), now.Round(0).Sub(before.Round(0)))
}

// expect has the goroutine look at a time. The lock is held.
func (k *Keeper) expect(at time.Time) {
	if k.ended {
		return
	}
	if !k.running {
		k.running, k.at = true, at
		// Start takes a lock of its own, and the task takes this one later.
		if !k.start(k.run) {
			k.running, k.ended, k.drops = false, true, nil
		}
		return
	}
	if at.Before(k.at) {
		k.at = at
		k.rouse()
	}
}

// rouse has the goroutine find out anew when it looks next.
func (k *Keeper) rouse() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// run renews and releases until nothing is left or ctx ends. Then the slots are lost. It
// does not wait for a store: a slot is lost when its hold is over, also while a call is in
// flight.
func (k *Keeper) run(ctx context.Context) {
	var calls sync.WaitGroup
	defer calls.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if ctx.Err() != nil {
			k.close()
			return
		}
		at, ok := k.next()
		if !ok {
			return
		}
		timer.Reset(time.Until(at))
		select {
		case <-ctx.Done():
		case <-k.wake:
		case <-timer.C:
			k.renew(ctx, &calls)
			k.release(ctx, &calls)
		}
	}
}

// close ends all slots.
func (k *Keeper) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.running, k.ended = false, true
	for s := range k.slots {
		k.end(s)
	}
	k.drops = nil
}

// next returns when something is due. If nothing is left, the goroutine ends.
func (k *Keeper) next() (at time.Time, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	earlier := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	// What waits for a call in flight is due when that ends, which wakes the goroutine. Slots
	// and drops are mostly of one store.
	var by store.Slotter
	busy := false
	for s := range k.slots {
		if s.store != by {
			by, busy = s.store, k.renewing[s.store]
		}
		if busy {
			earlier(s.end())
		} else {
			earlier(s.due())
		}
	}
	by, busy = nil, false
	for i := range k.drops {
		d := &k.drops[i]
		if d.store != by {
			by, busy = d.store, k.releasing[d.store]
		}
		if busy {
			earlier(d.until)
		} else {
			earlier(d.next)
		}
	}
	k.at, k.running = at, !at.IsZero()
	return at, k.running
}

// end marks a slot as lost. The lock is held.
func (k *Keeper) end(s *Slot) {
	if !s.over {
		s.over = true
		delete(k.slots, s)
		close(s.lost)
	}
}

// lose ends a slot that is not live any more.
func (k *Keeper) lose(s *Slot, reason error) {
	k.mu.Lock()
	over := s.over
	k.end(s)
	k.mu.Unlock()
	if over {
		return
	}
	k.count.Add(1)
	k.lost(s.charge.Log.Policy, reason)
	if reason == errUnrenewed { //nolint:errorlint // never wrapped
		k.Drop(s.store, s.charge) // a renewal may arrive late
	}
}

// renew renews the slots that are due, and others with them. Each store gets one call at
// a time.
func (k *Keeper) renew(ctx context.Context, calls *sync.WaitGroup) {
	now := time.Now()
	var ended []*Slot
	together := make(map[store.Slotter][]*Slot)
	due := false
	k.mu.Lock()
	for s := range k.slots {
		switch {
		case !now.Before(s.end()):
			ended = append(ended, s)
			continue
		case k.renewing[s.store]:
			continue
		case !s.due().After(now), elapsed(s.since, now) >= s.hold():
			due = true
		case now.Sub(s.since) < s.hold()/alongAfter || now.Sub(s.tried) < s.hold()/againAfter:
			continue
		}
		together[s.store] = append(together[s.store], s)
	}
	if !due {
		clear(together)
	}
	for by, slots := range together {
		k.renewing[by] = true
		for _, s := range slots {
			s.tried = now
		}
	}
	k.mu.Unlock()
	for _, s := range ended {
		k.lose(s, errUnrenewed)
	}
	for by, slots := range together {
		calls.Go(func() {
			k.call(ctx, by, slots)
			k.done(k.renewing, by)
		})
	}
}

// call renews slots of one store.
func (k *Keeper) call(ctx context.Context, by store.Slotter, slots []*Slot) {
	charges := make([]store.Charge, len(slots))
	for i, s := range slots {
		charges[i] = s.charge
	}
	sent := time.Now()
	for i, err := range by.RenewSlots(ctx, charges) {
		s := slots[i]
		switch {
		case err == nil:
			k.mu.Lock()
			s.since = sent
			k.mu.Unlock()
		case ctx.Err() == nil && elapsed(s.since, time.Now()) >= s.hold(): // only this changes since
			k.lose(s, errUnrenewed)
		case errors.Is(err, store.ErrSlotLost):
			k.lose(s, errGone)
		}
	}
}

// done ends a call, and has the goroutine look at what was due meanwhile.
func (k *Keeper) done(calls map[store.Slotter]bool, by store.Slotter) {
	k.mu.Lock()
	delete(calls, by)
	k.mu.Unlock()
	k.rouse()
}

// release releases the slots that may have been taken in vain. Each store gets one call
// at a time.
func (k *Keeper) release(ctx context.Context, calls *sync.WaitGroup) {
	now := time.Now()
	together := make(map[store.Slotter][]store.Charge)
	k.mu.Lock()
	left := k.drops[:0]
	for _, d := range k.drops {
		if !k.releasing[d.store] && !d.next.After(now) {
			together[d.store] = append(together[d.store], d.charge)
			d.next = now.Add(holdOf(d.charge) / alongAfter)
		}
		if d.next.Before(d.until) && now.Before(d.until) {
			left = append(left, d)
		}
	}
	clear(k.drops[len(left):])
	k.drops = left
	for by := range together {
		k.releasing[by] = true
	}
	k.mu.Unlock()
	for by, charges := range together {
		calls.Go(func() {
			by.ReleaseSlots(ctx, charges)
			k.done(k.releasing, by)
		})
	}
}
