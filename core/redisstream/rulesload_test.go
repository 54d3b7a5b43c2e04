package redisstream

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
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
				"eval", changeRules.source, 4, keys[0], keys[1], keys[2], keys[3], id, "4070908800000", text, i, core.MaxRules,
			}))
		}
		if _, err := pipe.Exec(tb.Context()); err != nil {
			tb.Fatal(err)
		}
	}
}

// banCost returns what one ban beside n others takes: the server, for the script of the
// change and the one that reads it, and the one who bans, at the median.
func banCost(tb testing.TB, rdb *redis.Client, limiter *core.Limiter, bans int) (server, median time.Duration) {
	tb.Helper()
	ctx := tb.Context()
	rdb.ConfigResetStat(ctx)
	took := make([]time.Duration, bans)
	for i := range took {
		begun := time.Now()
		if err := limiter.Ban(ctx, "client-"+strconv.Itoa(i%100), time.Hour); err != nil {
			tb.Fatal(err)
		}
		took[i] = time.Since(begun)
	}
	slices.Sort(took)
	return time.Duration(scriptTime(tb, rdb) * 2 * float64(time.Microsecond)), took[bans/2]
}

// BenchmarkBan is a ban beside others, and what it takes the server and the one who
// bans.
func BenchmarkBan(b *testing.B) {
	for _, n := range []int{10, 10_000, 100_000 - 100} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			rdb := redistest.Start(b).Client()
			s := New(rdb, patient)
			fillRules(b, s, n)
			limiter := core.New(s)
			defer limiter.Close()
			banCost(b, rdb, limiter, 100)
			b.ResetTimer()
			server, median := banCost(b, rdb, limiter, max(b.N, 10))
			b.ReportMetric(float64(server.Nanoseconds())/1000, "server-µs/op")
			b.ReportMetric(float64(median.Nanoseconds())/1000, "p50-µs")
		})
	}
}

// A ban takes the server as long beside 100,000 others as beside ten.
func TestBanCostsTheSame(t *testing.T) {
	best := func(n int) time.Duration {
		rdb := redistest.Start(t).Client()
		s := New(rdb, patient)
		fillRules(t, s, n)
		limiter := core.New(s)
		defer limiter.Close()
		least := time.Hour
		for range 5 {
			server, _ := banCost(t, rdb, limiter, 300)
			least = min(least, server)
		}
		return least
	}
	few, many := best(10), best(100_000-100)
	t.Logf("server's time for a ban: %v beside 10, %v beside 100,000", few, many)
	if many > 2*few {
		t.Errorf("a ban takes the server %v beside 100,000 others, and %v beside 10", many, few)
	}
}

// Ten processes ban a hundred clients a second each, all follow, and no decision is late.
func TestBansOfManyProcesses(t *testing.T) {
	const (
		processes = 10
		seconds   = 2
		late      = 100 * time.Millisecond
	)
	server := redistest.Start(t)
	fillRules(t, New(server.Client(), patient), 10_000)
	p := core.NewPolicy("p", core.PerHour(1_000_000))
	limiters := make([]*core.Limiter, processes)
	for i := range limiters {
		rdb := redis.NewClient(server.Options())
		defer rdb.Close()
		limiters[i] = core.New(New(rdb, patient))
		defer limiters[i].Close()
		if rules, err := limiters[i].Rules(t.Context()); err != nil || len(rules) != 10_000 {
			t.Fatalf("%d rules, %v", len(rules), err)
		}
	}
	var wg sync.WaitGroup
	var bans, decisions, slow atomic.Int64
	start := time.Now()
	for i, l := range limiters {
		wg.Go(func() {
			for n := range 100 * seconds {
				time.Sleep(time.Until(start.Add(time.Duration(n) * 10 * time.Millisecond)))
				if err := l.Ban(t.Context(), fmt.Sprintf("client-%d-%d", i, n), time.Hour); err != nil {
					t.Error(err)
				}
				bans.Add(1)
			}
		})
		wg.Go(func() {
			for n := 0; time.Since(start) < seconds*time.Second; n++ {
				begun := time.Now()
				if d, err := l.Allow(t.Context(), p, "user-"+strconv.Itoa(n%50)); err != nil || d.Source != core.SourceRedis {
					t.Errorf("%+v, %v", d, err)
				}
				decisions.Add(1)
				if time.Since(begun) > late {
					slow.Add(1)
				}
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	t.Logf("%d bans and %d decisions in %v, %d of them above %v", bans.Load(), decisions.Load(), took, slow.Load(), late)
	if slow.Load() > 0 {
		t.Errorf("%d of %d decisions took more than %v", slow.Load(), decisions.Load(), late)
	}
	for i, l := range limiters {
		if rules, err := l.Rules(t.Context()); err != nil || len(rules) != 10_000+int(bans.Load()) {
			t.Errorf("process %d has %d rules, %v, want %d", i, len(rules), err, 10_000+bans.Load())
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
	time.Sleep(2 * core.DefaultRulesInterval) // looks once more, for the last of them
	before := commandCalls(t, rdb)
	time.Sleep(5 * core.DefaultRulesInterval)
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
		must(t, limiters[1].SetRule(t.Context(), core.Rule{Kind: core.Switch, Policy: "p", Mode: core.ModeOff, Until: now.Add(length)}))
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

// Who knows a version of rules that were lost, or of changes that were, gets all rules:
// also when as many came in their place.
func TestRulesAreLost(t *testing.T) {
	block := func(key string) core.Rule { return core.Rule{Kind: core.Block, Key: key} }
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
		"the stream": func(rdb *redis.Client, keys [4]string, _ []string) { rdb.Del(t.Context(), keys[3]) },
	} {
		for _, after := range []string{"at once", "after other changes"} {
			t.Run(name+" "+after, func(t *testing.T) {
				rdb := redistest.Start(t).Client()
				s := New(rdb, patient)
				keys := s.ruleKeys()
				must(t, s.SetRule(t.Context(), block("a")))
				must(t, s.SetRule(t.Context(), core.Rule{Kind: core.Ban, Key: "a", Until: time.Now().Add(time.Hour)}))
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
				if after != "at once" {
					for _, key := range []string{"d", "e"} {
						must(t, other.SetRule(t.Context(), block(key)))
					}
				}
				want := rulesOf(t, other)
				rules, err := limiter.Rules(t.Context())
				must(t, err)
				got := make(map[string]core.Rule)
				for _, r := range rules {
					got[r.ID()] = r
				}
				if !maps.EqualFunc(got, want, func(a, b core.Rule) bool { return a.ID() == b.ID() }) {
					t.Errorf("rules %v, want %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
				}
			})
		}
	}
}

// Who is more changes behind than the server keeps reads all rules.
func TestRulesFarBehind(t *testing.T) {
	s := New(redistest.Start(t).Client(), patient)
	must(t, s.SetRule(t.Context(), core.Rule{Kind: core.Block, Key: "gone"}))
	first, err := s.Rules(t.Context(), "")
	must(t, err)
	_, err = s.DeleteRule(t.Context(), "block key gone")
	must(t, err)
	fillRules(t, s, 12_000)
	c, err := s.Rules(t.Context(), first.Version)
	must(t, err)
	if !c.All || len(c.Set) != 12_000 {
		t.Errorf("all %v, %d rules, want all 12,000", c.All, len(c.Set))
	}
	fillRules(t, s, 3000)
	if c, err = s.Rules(t.Context(), c.Version); err != nil || c.All || len(c.Set) != 3000 {
		t.Errorf("all %v, %d rules, %v, want the 3000 that changed", c.All, len(c.Set), err)
	}
}
