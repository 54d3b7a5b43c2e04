package keeper

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

// world has a keeper in a bubble of synctest, and records what it does.
type world struct {
	*testing.T
	*Keeper
	start time.Time
	end   context.CancelFunc // as the owner's Close
	ctx   context.Context

	mu      sync.Mutex
	running int     // goroutines of the keeper
	reasons []error // of lost slots
}

// bubble runs a test with a keeper.
func bubble(t *testing.T, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, start: time.Now()}
		w.ctx, w.end = context.WithCancel(t.Context())
		defer w.end()
		w.Keeper = New(w.run, func(policy string, err error) {
			if policy != "p" {
				t.Errorf("a slot of policy %s is lost", policy)
			}
			w.reasons = append(w.reasons, err)
		})
		test(w)
	})
}

func (w *world) run(task func(context.Context)) bool {
	if w.ctx.Err() != nil {
		return false
	}
	w.count(1)
	go func() {
		task(w.ctx)
		w.count(-1)
	}()
	return true
}

func (w *world) count(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running += n
}

// at waits until a time after the start, and until all that is due then has been done.
func (w *world) at(d time.Duration) {
	time.Sleep(d - time.Since(w.start))
	synctest.Wait()
}

// ended checks that the keeper's goroutine has ended and that it keeps nothing.
func (w *world) ended() {
	w.Helper()
	synctest.Wait()
	w.Keeper.mu.Lock()
	defer w.Keeper.mu.Unlock()
	if w.running != 0 || len(w.slots) > 0 || len(w.drops) > 0 {
		w.Errorf("%d goroutines, %d slots, %d drops: want none", w.running, len(w.slots), len(w.drops))
	}
}

// wantLost checks how many slots are lost, and that the last was for a reason.
func (w *world) wantLost(n int64, reason error) {
	w.Helper()
	if w.LostCount() != n || len(w.reasons) != int(n) || n > 0 && !errors.Is(w.reasons[n-1], reason) {
		w.Errorf("%d slots are lost, for %v; want %d, the last for %v", w.LostCount(), w.reasons, n, reason)
	}
}

// hold returns a slot of the store, taken at this moment.
func (w *world) hold(by store.Slotter, hold time.Duration) *Slot {
	s := w.NewSlot()
	s.Hold(by, chargeOf(s.Token(), hold))
	return s
}

func chargeOf(token string, hold time.Duration) store.Charge {
	return store.Charge{Log: &store.Log{Policy: "p", Limits: []store.Limit{{Max: 5, Window: hold}}}, Key: "k", Cost: 1, Token: token}
}

func isLost(s *Slot) bool {
	select {
	case <-s.Lost():
		return true
	default:
		return false
	}
}

// slotter is a store that records its calls, as lines of time, call and names.
type slotter struct {
	start             time.Time
	renewal, releases func(name string) error   // their outcome; nil for success
	during            func(ctx context.Context) // runs in each renewal

	mu    sync.Mutex
	names map[string]string // of slots, by token
	calls []string
}

func (w *world) slotter() *slotter {
	return &slotter{start: w.start, names: make(map[string]string)}
}

// named gives a slot a name in the record.
func (f *slotter) named(s *Slot, name string) *Slot {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.names[s.Token()] = name
	return s
}

func (f *slotter) call(what string, slots []store.Charge, outcome func(name string) error) []error {
	errs := make([]error, len(slots))
	names := make([]string, len(slots))
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, c := range slots {
		if names[i] = f.names[c.Token]; names[i] == "" {
			names[i] = "?"
		}
		if outcome != nil {
			errs[i] = outcome(names[i])
		}
	}
	slices.Sort(names)
	if len(names) > 5 {
		names = []string{fmt.Sprint(len(names))}
	}
	f.calls = append(f.calls, fmt.Sprintf("%v %s %s", time.Since(f.start), what, strings.Join(names, " ")))
	return errs
}

func (f *slotter) RenewSlots(ctx context.Context, slots []store.Charge) []error {
	errs := f.call("renew", slots, f.renewal)
	if f.during != nil {
		f.during(ctx)
	}
	return errs
}

func (f *slotter) ReleaseSlots(_ context.Context, slots []store.Charge) []error {
	return f.call("release", slots, f.releases)
}

// wants checks the calls since the last time.
func (f *slotter) wants(t *world, calls ...string) {
	t.Helper()
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Equal(f.calls, calls) {
		t.Errorf("calls\n%s\nwant\n%s", strings.Join(f.calls, "\n"), strings.Join(calls, "\n"))
	}
	f.calls = nil
}

// forget forgets the calls until now.
func (f *slotter) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = nil
}

var errReply = errors.New("reply lost")

func fails(string) error { return errReply }

// TestRenewals: a slot is renewed three times in a hold, until it is released.
func TestRenewals(t *testing.T) {
	bubble(t, func(w *world) {
		f := w.slotter()
		a := f.named(w.hold(f, 30*time.Second), "a")
		w.at(45 * time.Second)
		f.wants(w, "10s renew a", "20s renew a", "30s renew a", "40s renew a")
		a.Release()
		f.wants(w, "45s release a")
		a.Release()
		w.at(time.Hour)
		f.wants(w)
		w.ended()
		w.wantLost(0, nil)
		if isLost(a) {
			t.Error("a slot that was released is lost")
		}
		// The keeper works again afterwards.
		b := f.named(w.hold(f, time.Minute), "b")
		w.at(time.Hour + 20*time.Second)
		f.wants(w, "1h0m20s renew b")
		b.Release()
		w.at(time.Hour + 40*time.Second) // when the slot would be due
		w.ended()
	})
}

// TestCallsAreShared: when one slot is due, one call renews all that were not renewed for
// a sixth of their hold. Each store gets a call.
func TestCallsAreShared(t *testing.T) {
	bubble(t, func(w *world) {
		f, other := w.slotter(), w.slotter()
		f.named(w.hold(f, 30*time.Second), "a")
		w.at(4 * time.Second)
		f.named(w.hold(f, 30*time.Second), "b")
		w.at(6 * time.Second)
		f.named(w.hold(f, 30*time.Second), "c")
		other.named(w.hold(other, 24*time.Second), "d")
		w.at(9 * time.Second)
		f.named(w.hold(f, time.Hour), "e")
		w.at(26 * time.Second)
		f.wants(w, "10s renew a b", "16s renew a b c", "24s renew a b c")
		other.wants(w, "10s renew d", "16s renew d", "24s renew d")
	})
}

// TestShorterHold: a slot that is due before all others wakes the keeper.
func TestShorterHold(t *testing.T) {
	bubble(t, func(w *world) {
		f := w.slotter()
		f.named(w.hold(f, time.Hour), "long")
		w.at(time.Minute)
		f.named(w.hold(f, 3*time.Second), "short").Release()
		f.named(w.hold(f, 3*time.Second), "short")
		w.at(time.Minute + 2500*time.Millisecond)
		f.wants(w, "1m0s release short", "1m1s renew short", "1m2s renew short")
	})
}

// TestRenewalRepeated: a call that fails is repeated after a twelfth of the hold. A
// failure for one slot has no effect on others.
func TestRenewalRepeated(t *testing.T) {
	bubble(t, func(w *world) {
		f := w.slotter()
		f.renewal = func(name string) error {
			if name == "a" && time.Since(w.start) < 12*time.Second {
				return errReply
			}
			return nil
		}
		a, b := f.named(w.hold(f, 24*time.Second), "a"), f.named(w.hold(f, 24*time.Second), "b")
		w.at(21 * time.Second)
		f.wants(w, "8s renew a b", "10s renew a", "12s renew a b", "20s renew a b")
		if isLost(a) || isLost(b) {
			t.Error("a slot is lost")
		}
		w.wantLost(0, nil)
	})
}

// TestLostInSilence: a slot without a renewal within its hold is lost, and reported once.
// The keeper releases it for another hold, since a renewal may arrive late.
func TestLostInSilence(t *testing.T) {
	bubble(t, func(w *world) {
		f := w.slotter()
		f.renewal = fails
		a := f.named(w.hold(f, 12*time.Second), "a")
		w.at(12*time.Second - 1)
		f.wants(w, "4s renew a", "5s renew a", "6s renew a", "7s renew a", "8s renew a", "9s renew a", "10s renew a", "11s renew a")
		if isLost(a) {
			t.Error("lost before its hold is over")
		}
		w.at(12 * time.Second)
		if !isLost(a) {
			t.Error("not lost after its hold")
		}
		w.wantLost(1, errUnrenewed)
		a.Release()
		w.at(time.Hour)
		f.wants(w, "12s release a", "14s release a", "16s release a", "18s release a", "20s release a", "22s release a")
		w.wantLost(1, errUnrenewed)
		w.ended()
	})
}

// TestLostAtStore: a slot that the store does not have is lost at once. Nothing is left to
// release.
func TestLostAtStore(t *testing.T) {
	bubble(t, func(w *world) {
		f := w.slotter()
		f.renewal = func(name string) error {
			if name == "a" {
				return fmt.Errorf("call: %w", store.ErrSlotLost)
			}
			return nil
		}
		a, b := f.named(w.hold(f, 12*time.Second), "a"), f.named(w.hold(f, 12*time.Second), "b")
		w.at(5 * time.Second)
		if !isLost(a) || isLost(b) {
			t.Errorf("a is lost: %v, b: %v", isLost(a), isLost(b))
		}
		w.wantLost(1, errGone)
		a.Release()
		w.at(9 * time.Second)
		f.wants(w, "4s renew a b", "8s renew b")
		b.Release()
		f.wants(w, "9s release b")
		w.at(12 * time.Second)
		w.ended()
		w.wantLost(1, errGone)
	})
}

// TestSlowRenewal: a renewal counts from when it was sent. While one is in flight, the slot
// is lost when its hold is over, and calls to other stores are made.
func TestSlowRenewal(t *testing.T) {
	bubble(t, func(w *world) {
		f, other := w.slotter(), w.slotter()
		f.during = func(ctx context.Context) {
			takes := 3 * time.Second
			if time.Since(w.start) > 10*time.Second {
				takes = 30 * time.Second
			}
			select {
			case <-time.After(takes):
			case <-ctx.Done():
			}
		}
		a := f.named(w.hold(f, 12*time.Second), "a")
		b := other.named(w.hold(other, 12*time.Second), "b")
		w.at(10 * time.Second)
		f.wants(w, "4s renew a", "8s renew a")
		w.at(20*time.Second - 1)
		f.wants(w, "12s renew a")
		if isLost(a) {
			t.Error("lost before its hold is over")
		}
		w.at(20 * time.Second)
		w.wantLost(1, errUnrenewed)
		if !isLost(a) {
			t.Error("not lost")
		}
		c := f.named(w.hold(f, time.Minute), "c")
		w.at(50 * time.Second)
		f.wants(w, "20s release a", "22s release a", "24s release a", "26s release a", "28s release a", "30s release a", "42s renew c")
		other.wants(w, "4s renew b", "8s renew b", "12s renew b", "16s renew b", "20s renew b", "24s renew b",
			"28s renew b", "32s renew b", "36s renew b", "40s renew b", "42s renew b", "46s renew b", "50s renew b")
		w.wantLost(1, errUnrenewed)
		if isLost(b) || isLost(c) {
			t.Error("a slot is lost that another one's call has delayed")
		}
	})
}

// TestReleasedMeanwhile: a slot that is released while its renewal is in flight is not
// lost, whatever the renewal says.
func TestReleasedMeanwhile(t *testing.T) {
	for _, outcome := range []error{nil, store.ErrSlotLost, errReply} {
		bubble(t, func(w *world) {
			f := w.slotter()
			f.renewal = func(string) error { return outcome }
			f.during = func(context.Context) { time.Sleep(2 * time.Second) }
			a := f.named(w.hold(f, 12*time.Second), "a")
			w.at(5 * time.Second)
			a.Release()
			w.at(time.Hour)
			f.wants(w, "4s renew a", "5s release a")
			w.wantLost(0, nil)
			w.ended()
			if isLost(a) {
				t.Error("a slot that was released is lost")
			}
		})
	}
}

// TestReleaseRepeated: a release that fails is repeated until the hold is over, unless the
// store is closed.
func TestReleaseRepeated(t *testing.T) {
	bubble(t, func(w *world) {
		f := w.slotter()
		f.releases = func(string) error {
			if time.Since(w.start) < time.Hour {
				return errReply
			}
			return fmt.Errorf("call: %w", store.ErrClosed)
		}
		a := f.named(w.hold(f, 12*time.Second), "a")
		w.at(time.Second)
		a.Release()
		w.at(time.Hour)
		f.wants(w, "1s release a", "1s release a", "3s release a", "5s release a", "7s release a", "9s release a", "11s release a")
		w.ended()
		f.named(w.hold(f, 12*time.Second), "b").Release()
		w.at(2 * time.Hour)
		f.wants(w, "1h0m0s release b")
		w.ended()
		w.wantLost(0, nil)
	})
}

// TestDrop: a slot that may have been taken is released again and again until its hold is
// over, even if the store has no such slot: the call that took it may arrive late.
func TestDrop(t *testing.T) {
	bubble(t, func(w *world) {
		f := w.slotter()
		a, b := f.named(w.NewSlot(), "a"), f.named(w.NewSlot(), "b")
		w.Drop(f, chargeOf(a.Token(), 12*time.Second))
		w.at(time.Second)
		w.Drop(f, chargeOf(b.Token(), 3*time.Second))
		w.at(time.Hour)
		f.wants(w, "0s release a", "1s release b", "1.5s release b", "2s release a b", "2.5s release b", "3s release b",
			"3.5s release b", "4s release a", "6s release a", "8s release a", "10s release a")
		w.ended()
	})
}

// TestDropsAreBounded: slots beyond the bound are free after their hold.
func TestDropsAreBounded(t *testing.T) {
	bubble(t, func(w *world) {
		f := w.slotter()
		for range maxDrops + 1 {
			w.Drop(f, chargeOf(w.NewSlot().Token(), 6*time.Second))
		}
		w.at(500 * time.Millisecond)
		w.Keeper.mu.Lock()
		if len(w.drops) != maxDrops {
			t.Errorf("%d drops, want %d", len(w.drops), maxDrops)
		}
		w.Keeper.mu.Unlock()
		f.forget() // mostly several
		w.at(time.Hour)
		f.wants(w, "1s release 10000", "2s release 10000", "3s release 10000", "4s release 10000", "5s release 10000")
		w.ended()
		w.Drop(f, chargeOf(w.NewSlot().Token(), 6*time.Second))
		f.wants(w, "1h0m0s release ?")
	})
}

// TestClose: when the owner ends the keeper, its slots end. They are not counted as lost,
// and lost is not called for them. No slot is kept afterwards.
func TestClose(t *testing.T) {
	bubble(t, func(w *world) {
		f := w.slotter()
		a := f.named(w.hold(f, 12*time.Second), "a")
		w.Drop(f, chargeOf(w.NewSlot().Token(), 12*time.Second))
		f.wants(w, "0s release ?")
		w.at(time.Second)
		w.end()
		w.ended()
		if !isLost(a) {
			t.Error("a slot is kept after Close")
		}
		a.Release()
		b := f.named(w.hold(f, 12*time.Second), "b")
		if !isLost(b) {
			t.Error("a slot is kept that was taken after Close")
		}
		b.Release()
		w.Drop(f, chargeOf(w.NewSlot().Token(), 12*time.Second))
		w.at(time.Hour)
		f.wants(w)
		w.ended()
		w.wantLost(0, nil)
	})
	// If no goroutine runs, only start reports the end to the keeper.
	bubble(t, func(w *world) {
		f := w.slotter()
		w.end()
		if a := w.hold(f, 12*time.Second); !isLost(a) {
			t.Error("a slot is kept after Close")
		}
		w.Drop(f, chargeOf(w.NewSlot().Token(), 12*time.Second))
		w.at(time.Hour)
		f.wants(w)
		w.ended()
	})
}

// TestCloseDuringRenewal: slots are not counted as lost if the end of the keeper cut off
// their renewal.
func TestCloseDuringRenewal(t *testing.T) {
	bubble(t, func(w *world) {
		f := w.slotter()
		f.renewal = fails
		f.during = func(ctx context.Context) { <-ctx.Done() }
		a := f.named(w.hold(f, 12*time.Second), "a")
		w.at(10 * time.Second)
		w.end()
		w.ended()
		f.wants(w, "4s renew a")
		w.wantLost(0, nil)
		if !isLost(a) {
			t.Error("a slot is kept after Close")
		}
	})
}

// TestTokens: tokens are different, and short texts.
func TestTokens(t *testing.T) {
	k := New(nil, nil)
	seen := make(map[string]bool)
	for range 10_000 {
		token := k.NewSlot().Token()
		if len(token) != 22 || seen[token] {
			t.Fatalf("token %q, seen before: %v", token, seen[token])
		}
		seen[token] = true
	}
}
