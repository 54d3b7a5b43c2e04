package redisstream

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

// slotCommands are the commands that the scripts for slots call.
var slotCommands = []string{"time", "zadd", "zrem", "zcount", "zcard", "zscore", "zremrangebyrank", "zrevrangebyscore", "pexpire"}

// Whichever command is missing, a call about slots does what it says, or is an error and
// has changed nothing. No slot looks renewed or free unless it is.
func TestCommandOfSlotsMissing(t *testing.T) {
	for _, how := range []string{"denied", "renamed", "denied later"} {
		for _, command := range append(slices.Clone(slotCommands), "xadd") { // of a log beside the slots
			t.Run(how+"/"+command, func(t *testing.T) {
				start := command
				if how == "denied later" {
					start = "debug"
				}
				o, admin := withoutCommand(t, how, start)
				rdb := redis.NewClient(o)
				defer rdb.Close()
				a := &slotAudit{T: t, store: New(rdb, WithTimeout(10*time.Second)), admin: admin}
				for round := range 4 {
					if round == 2 && how == "denied later" {
						must(t, admin.Do(t.Context(), "acl", "setuser", "limiter", "-"+command).Err())
					}
					a.round(fmt.Sprint("round-", round, "-"), round != 1) // the second leaves slots to the third
				}
				if a.failures == 0 {
					t.Errorf("%d decisions and no refusal", a.decided)
				}
				t.Logf("figure: decided=%d refused=%d ending=%d", a.decided, a.failures, a.ending)
			})
		}
	}
}

var auditedSlots = core.NewConcurrency("slots", 4, time.Minute).Log()

// slotAudit makes calls about the slots of one key, and checks what each has changed.
type slotAudit struct {
	*testing.T
	store *Store
	admin *redis.Client

	decided, failures, ending int
}

// expiries are the slots of the key, with the time at which each expires.
type expiries map[string]int64

// live returns the slots that have not expired. It uses no command of the scripts.
func (a *slotAudit) live() expiries {
	all := make(expiries)
	for _, z := range a.admin.ZRangeWithScores(a.Context(), a.store.logKey(auditedSlots, "k"), 0, -1).Val() {
		if z.Score > 1 {
			all[z.Member.(string)] = int64(z.Score)
		}
	}
	return all
}

// call makes a call. If it succeeds, change turns the slots from before into those
// that must be there now.
func (a *slotAudit) call(what string, do func() error, change func(before, now expiries)) {
	a.Helper()
	want, counted := a.live(), logged(a.T, a.store, a.admin, countedLog)
	err := do()
	now := a.live()
	switch {
	case err == nil:
		a.decided++
		change(want, now)
	case lacksCommand(err):
		a.failures++
		if got := logged(a.T, a.store, a.admin, countedLog); got != counted {
			a.Errorf("%s: %v, and the log beside the slots has %d units, not %d", what, err, got, counted)
		}
	default:
		a.Errorf("%s: %v", what, err)
	}
	if !maps.Equal(now, want) {
		a.Errorf("%s: %v, and the slots are %v, want %v", what, err, now, want)
	}
	a.ending += checkKeys(a.T, a.admin)
}

// granted checks the decision on a slot.
func (a *slotAudit) granted(u store.Usage, token string, before, now expiries) {
	a.Helper()
	if want := before[token] > 0 || len(before) < 4; u.Allowed != want {
		a.Errorf("%s: %+v with the slots %v", token, u, before)
	} else if want {
		before[token] = now[token]
	}
}

// take takes the charges, one of which is a slot.
func (a *slotAudit) take(charges ...store.Charge) {
	a.Helper()
	place := slices.IndexFunc(charges, func(c store.Charge) bool { return c.Token != "" })
	var usages []store.Usage
	a.call("take", func() (err error) {
		usages, err = a.store.TakeAll(a.Context(), charges)
		return err
	}, func(before, now expiries) { a.granted(usages[place], charges[place].Token, before, now) })
}

// takeAmongMany takes a slot in a round trip that others share.
func (a *slotAudit) takeAmongMany(token string) {
	a.Helper()
	many := []*waiter{newWaiter(a.store.charge(auditedSlots, "k", 1)), newWaiter(a.store.charge(summedLog, "k", 1))}
	many[0].charges[0].token = token
	a.call("take among many", func() error {
		a.store.runTogether(many)
		<-many[0].done
		<-many[1].done
		return many[0].err
	}, func(before, now expiries) { a.granted(many[0].usage[0], token, before, now) })
}

// renew renews slots twice. The second time mostly nothing changes.
func (a *slotAudit) renew(slots ...store.Charge) {
	a.Helper()
	time.Sleep(2 * time.Millisecond) // so that the first time is seen
	var errs []error
	a.call("renew", func() error {
		for range 2 {
			errs = a.store.RenewSlots(a.Context(), slots)
			for _, err := range errs {
				if err != nil && !errors.Is(err, store.ErrSlotLost) {
					return err
				}
			}
		}
		return nil
	}, func(before, now expiries) {
		for i, c := range slots {
			if live := before[c.Token] > 0; live != (errs[i] == nil) || live && now[c.Token] <= before[c.Token] {
				a.Errorf("renewal of %s: %v; it expires at %d, before at %d", c.Token, errs[i], now[c.Token], before[c.Token])
			} else if live {
				before[c.Token] = now[c.Token]
			}
		}
	})
}

// release releases slots in one call.
func (a *slotAudit) release(slots ...store.Charge) {
	a.Helper()
	a.call("release", func() error { return errors.Join(a.store.ReleaseSlots(a.Context(), slots)...) }, func(before, _ expiries) {
		for _, c := range slots {
			delete(before, c.Token)
		}
	})
}

// read looks at the slots and lists them.
func (a *slotAudit) read() {
	a.Helper()
	unchanged := func(expiries, expiries) {}
	have := len(a.live())
	a.call("look", func() error {
		u, err := a.store.Peek(a.Context(), auditedSlots, "k", 1)
		if err == nil && (u.Limits[0].Used != int64(have) || u.Allowed != (have < 4)) {
			a.Errorf("%+v with %d slots", u, have)
		}
		return err
	}, unchanged)
	a.call("list", func() error {
		entries, err := a.store.Entries(a.Context(), auditedSlots, "k", 10)
		if err == nil && len(entries) != have {
			a.Errorf("%d entries of %d slots", len(entries), have)
		}
		return err
	}, unchanged)
}

// round makes every call, on slots that are free, taken and expired.
func (a *slotAudit) round(prefix string, releasing bool) {
	a.Helper()
	slots := make([]store.Charge, 6) // two more than there are
	for i := range slots {
		slots[i] = slotCharge(auditedSlots, "k", fmt.Sprint(prefix, i))
	}
	counted := store.Charge{Log: countedLog, Key: "k", Cost: 1}
	a.take(slots[0])
	a.take(slots[1], counted)
	a.release(slots[1])
	a.take(counted, slots[1])
	a.take(slots[2], counted)
	a.read()
	a.take(slots[3])
	a.take(slots[4])
	a.take(counted, slots[5])
	a.take(slots[3]) // again
	a.read()
	a.renew(slots[0])
	a.renew(slots[1], slots[2])
	a.renew(slots...)
	if len(a.live()) > 0 { // a process has crashed long ago
		must(a.T, a.admin.ZIncrBy(a.Context(), a.store.logKey(auditedSlots, "k"), 1, "crashed").Err())
	}
	a.release(slots[0])
	a.take(slots[0])
	a.release(slots[1], slots[2])
	a.takeAmongMany(prefix + "many")
	if releasing {
		for token := range a.live() {
			a.release(slotCharge(auditedSlots, "k", token))
		}
	}
}
