package redisstream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
)

// fillRules sets n rules.
func fillRules(tb testing.TB, s *Store, n int) {
	tb.Helper()
	keys := s.ruleKeys()
	for i := 0; i < n; {
		pipe := s.transport.rdb.Pipeline()
		for ; i < n && pipe.Len() < 1000; i++ {
			id := "ban key filler-" + strconv.Itoa(i)
			text := fmt.Sprintf(`{"kind":"ban","key":"filler-%d","until":"2099-01-01T00:00:00Z"}`, i)
			_ = pipe.Process(tb.Context(), newOnce(tb.Context(), []any{
				"eval", changeRules.source, 4, keys[0], keys[1], keys[2], keys[3], id, "4070908800000", text, i, store.MaxRules,
			}))
		}
		if _, err := pipe.Exec(tb.Context()); err != nil {
			tb.Fatal(err)
		}
	}
}

// commandCalls returns how many commands the server has run, but for those of tests.
func commandCalls(t *testing.T, rdb *redis.Client) (n int) {
	t.Helper()
	for line := range strings.Lines(rdb.Info(t.Context(), "commandstats").Val()) {
		name, stats, ok := strings.Cut(line, ":calls=")
		if calls, _, _ := strings.Cut(stats, ","); ok && name != "cmdstat_info" {
			k, err := strconv.Atoi(calls)
			must(t, err)
			n += k
		}
	}
	return n
}

// A limiter sends no command while nothing is decided.
func TestIdleLimiterSendsNothing(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := New(rdb, patient)
	limiter := core.New(s)
	defer limiter.Close()
	p := core.NewPolicy("p", core.PerHour(1000))
	for range 3 {
		_, err := limiter.Allow(t.Context(), p, "k")
		must(t, err)
	}
	must(t, limiter.Ban(t.Context(), "other", time.Hour))
	awaitCheck(s)
	before := -1
	for tries := 0; tries < 10; tries++ { // looks once more, for the last of them
		n := commandCalls(t, rdb)
		if n == before {
			break
		}
		before = n
		time.Sleep(3 * rulesInterval)
	}
	time.Sleep(5 * rulesInterval)
	if n := commandCalls(t, rdb) - before; n != 0 {
		t.Errorf("%d commands in 2s without a decision", n)
	}
}

// hoursOff has scripts run as on a server whose clock is ahead.
type hoursOff struct{ ahead time.Duration }

const hoursOffSource = `#!lua
local server = redis
local redis = setmetatable({}, { __index = server })
redis.call = function(command, ...)
  local reply = server.call(command, ...)
  if command == 'TIME' then reply[1] = string.format('%%d', reply[1] + %d) end
  return reply
end
`

// ProcessHook meets each script in full: the server does not know it by its digest.
func (h hoursOff) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if args := cmd.Args(); args[0] == "eval" {
			first, source, _ := strings.Cut(args[1].(string), "\n")
			begin := fmt.Sprintf(hoursOffSource, int64(h.ahead.Seconds()))
			args[1] = strings.Replace(begin, "#!lua", first, 1) + source
		}
		return next(ctx, cmd)
	}
}

func (hoursOff) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (hoursOff) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// Rules end by the server's clock, for processes whose own are hours from it.
func TestRulesEndByTheServersClock(t *testing.T) {
	for _, ahead := range []time.Duration{-7 * time.Hour, 7 * time.Hour} {
		server := redistest.Start(t)
		p := core.NewPolicy("p", core.PerHour(1000))
		var limiters []*core.Limiter
		for range 2 {
			rdb := redis.NewClient(server.Options())
			defer rdb.Close()
			rdb.AddHook(hoursOff{ahead})
			l := core.New(New(rdb, patient))
			defer l.Close()
			limiters = append(limiters, l)
		}
		const length = 500 * time.Millisecond
		begun := time.Now()
		must(t, limiters[0].Ban(t.Context(), "k", length))
		now, err := limiters[1].Now(t.Context())
		if must(t, err); time.Until(now.Add(-ahead)).Abs() > 100*time.Millisecond {
			t.Errorf("the server's time is %v", now)
		}
		must(t, limiters[1].SetRule(t.Context(), core.Rule{Kind: core.RuleSwitch, Policy: "p", Mode: core.ModeOff, Until: now.Add(length)}))
		for i, l := range limiters {
			rules, err := l.Rules(t.Context())
			must(t, err)
			if ids := len(rules); ids != 2 && time.Since(begun) < length {
				t.Errorf("process %d has %d rules", i, ids)
			}
			d, err := l.Allow(t.Context(), p, "k")
			must(t, err)
			if time.Since(begun) < length && (d.Reason != core.ReasonBanned || d.RetryAfter > length+10*time.Millisecond) {
				t.Errorf("process %d, ahead %v: %+v", i, ahead, d)
			}
		}
		time.Sleep(time.Until(begun.Add(length + 100*time.Millisecond)))
		for i, l := range limiters {
			if d, err := l.Allow(t.Context(), p, "k"); err != nil || d.Reason != core.ReasonLimits {
				t.Errorf("process %d, ahead %v: %+v, %v", i, ahead, d, err)
			}
			if rules, err := l.Rules(t.Context()); err != nil || len(rules) != 0 {
				t.Errorf("process %d has %v, %v", i, rules, err)
			}
		}
	}
}

// Changes made while the server's clock is centuries ahead, and after it is set right, are
// made as a whole and have versions of their own.
func TestRulesWhenTheClockWasWrong(t *testing.T) {
	server := redistest.Start(t)
	rdb, wrong := redis.NewClient(server.Options()), redis.NewClient(server.Options())
	defer rdb.Close()
	defer wrong.Close()
	wrong.AddHook(hoursOff{290 * 365 * 24 * time.Hour})
	s := New(rdb, patient)
	for _, lost := range []bool{true, false} { // rules begin while the clock is wrong, or before
		must(t, rdb.FlushAll(t.Context()).Err())
		if !lost {
			must(t, s.SetRule(t.Context(), kept(core.Rule{Kind: core.RuleBlock, Key: "first"})))
		}
		limiter := core.New(s)
		defer limiter.Close()
		seen := make(map[string]bool)
		change := func(by *Store, i int) {
			t.Helper()
			must(t, by.SetRule(t.Context(), kept(core.Rule{Kind: core.RuleBlock, Key: strconv.Itoa(i)})))
			want := rulesOf(t, s)
			rules, err := limiter.Rules(t.Context())
			if must(t, err); len(rules) != len(want) || want["block key "+strconv.Itoa(i)].ID == "" {
				t.Errorf("rules %v, want %v", rules, want)
			}
			c, err := s.Rules(t.Context(), "")
			if must(t, err); seen[c.Version] {
				t.Errorf("the version %s again", c.Version)
			}
			seen[c.Version] = true
		}
		for i := range 5 {
			must(t, rdb.ScriptFlush(t.Context()).Err())
			change(New(wrong, patient), i)
		}
		for i := range 20 {
			change(s, i+3)
		}
	}
}

// Who knows a version of rules that were lost, or of changes that were, gets all rules:
// also when as many came in their place.
func TestRulesAreLost(t *testing.T) {
	block := func(key string) core.Rule { return core.Rule{Kind: core.RuleBlock, Key: key} }
	for name, lose := range map[string]func(rdb *redis.Client, keys [4]string, dump []string){
		"all keys": func(rdb *redis.Client, _ [4]string, _ []string) { rdb.FlushAll(t.Context()) },
		"the hash": func(rdb *redis.Client, keys [4]string, _ []string) { rdb.Del(t.Context(), keys[0]) },
		"the last changes": func(rdb *redis.Client, keys [4]string, dump []string) { // as by a failover
			for i, key := range keys {
				rdb.Del(t.Context(), key)
				if dump[i] != "" {
					rdb.Restore(t.Context(), key, 0, dump[i])
				}
			}
		},
		"the order":  func(rdb *redis.Client, keys [4]string, _ []string) { rdb.Del(t.Context(), keys[1]) },
		"the ends":   func(rdb *redis.Client, keys [4]string, _ []string) { rdb.Del(t.Context(), keys[2]) },
		"the stream": func(rdb *redis.Client, keys [4]string, _ []string) { rdb.Del(t.Context(), keys[3]) },
	} {
		for _, after := range []string{"at once", "after other changes"} {
			t.Run(name+" "+after, func(t *testing.T) {
				rdb := redistest.Start(t).Client()
				s := New(rdb, patient)
				keys := s.ruleKeys()
				must(t, s.SetRule(t.Context(), kept(block("a"))))
				must(t, s.SetRule(t.Context(), kept(core.Rule{Kind: core.RuleBan, Key: "a", Until: time.Now().Add(time.Hour)})))
				var dump []string
				for _, key := range keys {
					dump = append(dump, rdb.Dump(t.Context(), key).Val())
				}
				limiter := core.New(s)
				defer limiter.Close()
				for _, key := range []string{"b", "c"} {
					must(t, limiter.SetRule(t.Context(), block(key)))
				}
				lose(rdb, keys, dump)
				other := New(rdb, patient)
				left := map[string]int{"the order": 4, "the ends": 4, "the stream": 4, "the last changes": 2}[name]
				if after != "at once" {
					for _, key := range []string{"d", "e"} {
						must(t, other.SetRule(t.Context(), kept(block(key))))
						left++
					}
					order, ends := rdb.ZCard(t.Context(), keys[1]).Val(), rdb.ZCard(t.Context(), keys[2]).Val()
					if int(order) != left || int(ends) != left {
						t.Errorf("the order has %d rules and the ends have %d, want %d", order, ends, left)
					}
				} else if name == "the order" {
					if c, err := other.Rules(t.Context(), ""); !errors.Is(err, store.ErrRejected) {
						t.Errorf("a process that starts has %d rules, %v, want an error", len(c.Set), err)
					}
					if rules, err := limiter.Rules(t.Context()); err != nil || len(rules) != left {
						t.Errorf("one that has started has %d rules, %v, want %d", len(rules), err, left)
					}
					return
				}
				want := rulesOf(t, other)
				if len(want) != left {
					t.Errorf("%d rules are left, want %d", len(want), left)
				}
				rules, err := limiter.Rules(t.Context())
				must(t, err)
				got := make(map[string]core.Rule)
				for _, r := range rules {
					got[r.ID()] = r
				}
				if !maps.EqualFunc(got, want, func(a core.Rule, b store.Rule) bool { return a.ID() == b.ID }) {
					t.Errorf("rules %v, want %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
				}
			})
		}
	}
}

// What a reply says of the clock is not lost to another that comes at the same time.
func TestRuleClockOfRepliesAtOnce(t *testing.T) {
	var c ruleClock
	var vague sync.WaitGroup
	done := make(chan struct{})
	vague.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				c.set(own(), own().Add(-time.Hour)) // the server's clock is up to an hour ahead
			}
		}
	})
	for range 200_000 {
		c.ahead.Store(int64(30 * time.Minute))
		c.set(own(), own()) // it is not
		if ahead := time.Duration(c.ahead.Load()); ahead > time.Minute {
			t.Errorf("the clock is %v ahead", ahead)
			break
		}
	}
	close(done)
	vague.Wait()
}

// Whoever reads a page of all rules when their order is made anew reads all rules again.
func TestRulesAreRestoredMeanwhile(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := New(rdb, patient)
	fillRules(t, s, 10)
	version, page, err := s.readRules(t.Context(), rulesPage, "", "-inf", "+inf")
	must(t, err)
	keys := s.ruleKeys()
	must(t, rdb.Del(t.Context(), keys[1]).Err())
	if _, _, err := s.readRules(t.Context(), rulesPage, "", page[0].(string), "+inf"); err == nil {
		t.Error("the next page of an order that is lost")
	}
	must(t, s.SetRule(t.Context(), kept(core.Rule{Kind: core.RuleBlock, Key: "k"})))
	if c, err := s.Rules(t.Context(), version); err != nil || !c.All || len(c.Set) != 11 {
		t.Errorf("all %v, %d rules, %v, want all 11", c.All, len(c.Set), err)
	}
}

// Who is more changes behind than the server keeps reads all rules.
func TestRulesFarBehind(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := New(rdb, patient)
	must(t, s.SetRule(t.Context(), kept(core.Rule{Kind: core.RuleBlock, Key: "gone"})))
	first, err := s.Rules(t.Context(), "")
	must(t, err)
	_, err = s.DeleteRule(t.Context(), "block key gone")
	must(t, err)
	fillRules(t, s, 12_000)
	must(t, rdb.ConfigResetStat(t.Context()).Err())
	c, err := s.Rules(t.Context(), first.Version)
	must(t, err)
	if stats := rdb.Info(t.Context(), "commandstats").Val(); !strings.Contains(stats, "cmdstat_evalsha:calls=6,") {
		t.Errorf("want 6 round trips: changes, four pages and changes\n%s", stats)
	}
	if !c.All || len(c.Set) != 12_000 {
		t.Errorf("all %v, %d rules, want all 12,000", c.All, len(c.Set))
	}
	fillRules(t, s, 3000)
	if c, err = s.Rules(t.Context(), c.Version); err != nil || c.All || len(c.Set) != 3000 {
		t.Errorf("all %v, %d rules, %v, want the 3000 that changed", c.All, len(c.Set), err)
	}
}

// A caller that leaves before the reply reads nothing of it: for the race detector.
func TestRulesOfACallerThatLeaves(t *testing.T) {
	server := redistest.Start(t)
	rdb := redis.NewClient(server.Options())
	defer rdb.Close()
	s := New(rdb, patient)
	_, err := s.Rules(t.Context(), "")
	must(t, err)
	for range 20 {
		server.Freeze()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		if _, err := s.Rules(ctx, ""); err == nil {
			t.Error("a frozen server answers")
		}
		cancel()
		server.Thaw()
	}
	_, err = s.Rules(t.Context(), "")
	must(t, err)
}
