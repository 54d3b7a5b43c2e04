package redisstream

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
)

// failover kills a primary under load, whose replica has not got its last
// entries, and says what is lost: those.
type failover struct {
	load             *load
	primary, replica *redistest.Server

	synced, killed time.Time // the replica had all entries of until then; the primary died
	lost, admitted int       // entries
}

// kill cuts the replica off, and kills the primary a little later.
func (f *failover) kill(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	for deadline := time.Now().Add(10 * time.Second); f.synced.IsZero(); {
		before := time.Now()
		sent, err := f.primary.ReplicationOffset(ctx)
		must(t, err)
		got, err := f.replica.ReplicationOffset(ctx)
		must(t, err)
		if got >= sent {
			f.synced = before
		}
		if before.After(deadline) {
			t.Fatal("the replica was never in sync")
		}
	}
	// It comes back at once, and is refused because it gives a password.
	must(t, f.replica.Client().ConfigSet(ctx, "masterauth", "wrong").Err())
	must(t, f.replica.Client().Do(ctx, "client", "kill", "type", "master").Err())
	time.Sleep(200 * time.Millisecond)
	f.killed = time.Now()
	f.primary.Kill()
}

// check waits until decisions are back, and checks the logs that were hit.
func (f *failover) check(t *testing.T, s *Store, hit []*account) {
	t.Helper()
	f.load.exhaust(t)
	var kept, lost []store.EntryID
	for _, a := range hit {
		there := entryIDs(t, s, a)
		gone := 0
		for _, id := range a.admitted {
			f.admitted++
			switch {
			case !there[id]:
				gone++
				lost = append(lost, id)
			case time.UnixMilli(id.Time).Before(f.killed):
				kept = append(kept, id)
			}
		}
		// A request without an answer may be recorded, and none is twice.
		if most := len(a.admitted) - gone + len(a.errors); len(there) > most {
			t.Errorf("%s: %d entries, want at most %d", a.name(), len(there), most)
		}
		// What was lost, and nothing else, can be admitted again.
		if most := int(a.policy.Limits[0].Max) + gone; len(a.admitted) > most {
			t.Errorf("%s: %d admitted, want at most the limit and the %d lost: %d", a.name(), len(a.admitted), gone, most)
		}
		if a.back.Before(f.killed) {
			t.Errorf("%s: no error when its primary died", a.name())
		}
	}
	f.lost = len(lost)
	newest := int64(0)
	for _, id := range kept {
		newest = max(newest, id.Time)
	}
	for _, id := range lost {
		at := time.UnixMilli(id.Time)
		if id.Time < newest {
			t.Errorf("an entry of %v is lost, and one of %v is not: what is left is no prefix", at, time.UnixMilli(newest))
		}
		if at.Before(f.synced.Truncate(time.Millisecond)) {
			t.Errorf("an entry of %v is lost, which the replica had at %v", at, f.synced)
		}
		if at.After(f.killed.Add(time.Second)) {
			t.Errorf("an entry of %v is lost, long after %v", at, f.killed)
		}
	}
	if len(lost) == 0 {
		t.Error("nothing is lost: the replica did not lag, and nothing is shown")
	}
}

// back is how long after the primary's death all logs had answers again.
func (f *failover) back(hit []*account) time.Duration {
	last := f.killed
	for _, a := range hit {
		if a.back.After(last) {
			last = a.back
		}
	}
	return last.Sub(f.killed)
}

// entryIDs are the IDs of a log's entries.
func entryIDs(t *testing.T, s *Store, a *account) map[store.EntryID]bool {
	t.Helper()
	messages, err := s.transport.rdb.XRange(t.Context(), s.logKey(a.policy, a.key), "-", "+").Result()
	must(t, err)
	ids := make(map[store.EntryID]bool)
	for _, m := range messages {
		var id store.EntryID
		_, err := fmt.Sscanf(m.ID, "%d-%d", &id.Time, &id.Total)
		must(t, err)
		ids[id] = true
	}
	return ids
}
