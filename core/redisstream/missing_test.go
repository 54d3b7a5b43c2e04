package redisstream

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
	"github.com/streamlimit/streamlimit/core/storetest"
)

// scriptCommands are those of the scripts of decisions.
var scriptCommands = []string{"time", "xlen", "xadd", "xtrim", "xdel", "xrange", "xrevrange", "copy", "rename", "pexpire"}

// withoutCommand starts a server that lacks a command, or whose user may not run it.
// admin may do what the server can.
func withoutCommand(t *testing.T, how, command string) (options *redis.Options, admin *redis.Client) {
	t.Helper()
	if how == "renamed" {
		server := redistest.Start(t, "--rename-command", command, "")
		return server.Options(), server.Client()
	}
	server := redistest.Start(t)
	must(t, server.Client().Do(t.Context(), "acl", "setuser", "limiter", "on", ">pw", "~*", "+@all", "-"+command).Err())
	o := server.Options()
	o.Username, o.Password = "limiter", "pw"
	return o, server.Client()
}

// lacksCommand reports whether an error says that a command of the script is missing.
func lacksCommand(err error) bool {
	if !errors.Is(err, store.ErrRejected) {
		return false
	}
	return strings.Contains(err.Error(), "package redisstream lists what it needs") || strings.Contains(err.Error(), "the script failed")
}

// checkKeys checks that all keys but the rules have a time to live, and none is a
// scratch key. It returns how many have one.
func checkKeys(t *testing.T, admin *redis.Client) (ending int) {
	t.Helper()
	for _, key := range admin.Keys(t.Context(), "*").Val() {
		switch {
		case strings.Contains(key, rulesSuffix+":"):
		case strings.HasSuffix(key, logsSuffix) && admin.PTTL(t.Context(), key).Val() > 0:
		case strings.HasSuffix(key, feedSuffix) && admin.PTTL(t.Context(), key).Val() > 0:
			ending++
		case strings.HasSuffix(key, "}"):
			t.Errorf("%s: a scratch key is left", key)
		case admin.PTTL(t.Context(), key).Val() == -1: // -2: it has ended meanwhile
			t.Errorf("%s has no time to live", key)
		default:
			ending++
		}
	}
	return ending
}

// logged returns how many units all logs of the policies hold, by their entries.
func logged(t *testing.T, s *Store, admin *redis.Client, policies ...*store.Log) (units int64) {
	t.Helper()
	for _, p := range policies {
		log, err := admin.XInfoStream(t.Context(), s.logKey(p, "k")).Result() // is not one of the scripts'
		switch {
		case err != nil: // there is none
		case p.Layout == store.Counted:
			units += log.Length
		case p.Layout == store.Calendar: // the units of the only period
			n, err := strconv.ParseInt(fmt.Sprint(log.LastEntry.Values["1"]), 10, 64)
			must(t, err)
			units += n
		default: // the total, which starts at 0
			_, total, _ := strings.Cut(log.LastGeneratedID, "-")
			n, err := strconv.ParseInt(total, 10, 64)
			must(t, err)
			units += n
		}
	}
	return units
}

// Whichever command of the scripts is missing, from the start or all of a sudden, by
// an ACL or a renaming: a decision is right, or an error that names what is missing
// and has counted nothing. Every key has a time to live.
func TestCommandMissing(t *testing.T) {
	monthly := newLog("monthly", core.PerCalendarMonth(1000, time.UTC))
	policies := []*store.Log{countedLog, summedLog, coarseLog, monthly}
	monthlyRefunded := newLog("monthly-refunded", core.PerCalendarMonth(1000, time.UTC), core.PerHour(1000), core.VariableCost(), core.Refundable(0))
	tight := newLog("tight", core.Per(2, 30*time.Millisecond)) // entries leave, and the log is full
	asks := []store.Charge{{Log: countedLog, Key: "k", Cost: 1}, {Log: coarseLog, Key: "k", Cost: 1}, {Log: summedLog, Key: "k", Cost: 1}, {Log: monthly, Key: "k", Cost: 1}}
	for _, how := range []string{"denied", "renamed", "denied later"} {
		for _, command := range scriptCommands {
			t.Run(how+"/"+command, func(t *testing.T) {
				start := command
				if how == "denied later" {
					start = "debug"
				}
				o, admin := withoutCommand(t, how, start)
				rdb := redis.NewClient(o)
				defer rdb.Close()
				s := New(rdb, WithTimeout(10*time.Second))
				failures, decided, ending := 0, 0, 0
				one := func(what string, decide func() (admitted int64, err error)) {
					t.Helper()
					before := logged(t, s, admin, policies...)
					admitted, err := decide()
					switch {
					case err == nil:
						decided++
					case lacksCommand(err):
						failures++
					default:
						t.Errorf("%s: %v", what, err)
					}
					ending += checkKeys(t, admin)
					if got := logged(t, s, admin, policies...) - before; got != admitted {
						t.Errorf("%s: %d units logged, want %d (%v)", what, got, admitted, err)
					}
				}
				for round := range 4 {
					if round == 2 && how == "denied later" {
						must(t, admin.Do(t.Context(), "acl", "setuser", "limiter", "-"+command).Err())
					}
					for _, p := range policies {
						one("take "+p.Policy, func() (int64, error) {
							_, err := s.Take(t.Context(), p, "k", 1)
							return units(err, 1), err
						})
						one("peek "+p.Policy, func() (int64, error) {
							_, err := s.Peek(t.Context(), p, "k", 1)
							return 0, err
						})
					}
					one("together", func() (int64, error) {
						_, err := s.TakeAll(t.Context(), asks)
						return units(err, 4), err
					})
					for _, p := range []*store.Log{refundedLog, monthlyRefunded} {
						one(p.Policy, func() (int64, error) {
							u, err := s.Take(t.Context(), p, "k", 2)
							if err == nil {
								err = s.Settle(t.Context(), p, "k", u.Entry, -1)
							}
							return 0, err
						})
					}
					for range 3 {
						one("tight", func() (int64, error) {
							_, err := s.Take(t.Context(), tight, "k", 1)
							return 0, err
						})
						time.Sleep(12 * time.Millisecond) // entries leave by the server's clock
					}
					one("many", func() (int64, error) {
						var waiters []*waiter
						for _, p := range policies {
							waiters = append(waiters, newWaiter(s.charge(p, "k", 1)))
						}
						s.runTogether(waiters)
						var admitted int64
						var err error
						for _, one := range waiters {
							<-one.done
							admitted += units(one.err, 1)
							err = errors.Join(err, one.err)
						}
						return admitted, err
					})
				}
				optional := command == "copy" || command == "rename" || command == "xdel" && how == "denied later"
				if optional != (failures == 0) {
					t.Errorf("%d decisions and %d refusals", decided, failures)
				}
				t.Logf("figure: decided=%d refused=%d ending=%d", decided, failures, ending)
			})
		}
	}
}

// units are those that a request without an error took.
func units(err error, n int64) int64 {
	if err != nil {
		return 0
	}
	return n
}

// Rules change as a whole, or not at all. They are read as a whole, or not at all.
func TestCommandOfRulesMissing(t *testing.T) {
	commands := []string{"time", "hget", "hmget", "hgetall", "hset", "hlen", "hdel", "zadd", "zcard", "zrem", "zrangebyscore", "xadd", "xrange", "xrevrange"}
	for _, command := range commands {
		o, admin := withoutCommand(t, "denied", command)
		rdb := redis.NewClient(o)
		defer rdb.Close()
		s, all := New(rdb, WithTimeout(10*time.Second)), New(admin, WithTimeout(10*time.Second))
		must(t, all.SetRule(t.Context(), kept(core.Rule{Kind: core.RuleBlock, Key: "a"})))
		must(t, all.SetRule(t.Context(), kept(core.Rule{Kind: core.RuleBan, Key: "b", Until: time.Now().Add(5 * time.Millisecond)})))
		time.Sleep(10 * time.Millisecond)
		keys := s.ruleKeys()
		if command == "hgetall" {
			must(t, admin.Del(t.Context(), keys[2]).Err()) // what is lost is made anew
		}
		dump := func() string {
			ctx := t.Context()
			return fmt.Sprint(admin.HGetAll(ctx, keys[0]).Val(), admin.ZRangeWithScores(ctx, keys[1], 0, -1).Val(),
				admin.ZRangeWithScores(ctx, keys[2], 0, -1).Val(), admin.XRange(ctx, keys[3], "-", "+").Val())
		}
		failures := 0
		for _, one := range []struct {
			name string
			do   func() error
		}{
			{"read", func() error { _, err := s.Rules(t.Context(), ""); return err }},
			{"news", func() error { _, err := s.Rules(t.Context(), "5-5"); return err }},
			{"set", func() error { return s.SetRule(t.Context(), kept(core.Rule{Kind: core.RuleBlock, Key: "c"})) }},
			{"delete", func() error { _, err := s.DeleteRule(t.Context(), "block key a"); return err }},
		} {
			before := dump()
			err := one.do()
			if err == nil {
				continue
			}
			failures++
			if !lacksCommand(err) {
				t.Errorf("%s without %s: %v", one.name, command, err)
			}
			if after := dump(); after != before {
				t.Errorf("%s without %s: %v, before %v", one.name, command, after, before)
			}
		}
		if failures == 0 {
			t.Errorf("nothing fails without %s", command)
		}
	}
}

// The monitor's feed has a time to live, or is not there.
func TestFeedWithoutPexpire(t *testing.T) {
	o, admin := withoutCommand(t, "denied", "pexpire")
	rdb := redis.NewClient(o)
	defer rdb.Close()
	for range 2 {
		if _, err := New(rdb, WithTimeout(10*time.Second)).AddEntry(t.Context(), []byte("d")); !errors.Is(err, store.ErrRejected) {
			t.Errorf("added an entry: %v", err)
		}
	}
	if n := admin.DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("%d keys, want none", n)
	}
	for range 2 {
		_, err := New(admin, WithTimeout(10*time.Second)).AddEntry(t.Context(), []byte("d"))
		must(t, err)
		checkKeys(t, admin)
	}
}

// Histories without one of the commands: what is decided is what the model decides,
// and what is refused has counted nothing.
func TestHistoriesWithoutCommand(t *testing.T) {
	for _, how := range []string{"denied", "renamed"} {
		for _, command := range scriptCommands {
			t.Run(how+"/"+command, func(t *testing.T) { historiesWithout(t, how, command, storetest.Degraded) })
		}
		for _, command := range slotCommands {
			t.Run(how+"/slots/"+command, func(t *testing.T) { historiesWithout(t, how, command, storetest.DegradedSlots) })
		}
	}
}

func historiesWithout(t *testing.T, how, command string, run func(*testing.T, storetest.Harness, func(error) bool)) {
	o, admin := withoutCommand(t, how, command)
	run(t, harness(func() redis.UniversalClient { return redis.NewClient(o) }), lacksCommand)
	checkKeys(t, admin)
}
