//go:build !race

// The race detector makes all of this ten times slower, and so measures something else:
// make test runs these tests without it, and nothing beside them.

package redisstream

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
)

// banner is a limiter on a server of its own, which has rules.
type banner struct {
	*core.Limiter
	rdb *redis.Client
}

func newBanner(tb testing.TB, rules int) banner {
	tb.Helper()
	rdb := redistest.Start(tb).Client()
	s := New(rdb, patient)
	fillRules(tb, s, rules)
	b := banner{core.New(s), rdb}
	tb.Cleanup(func() { b.Close() })
	b.ban(tb, 100) // reads all rules first
	return b
}

// ban bans clients and returns what one ban takes: the server, for the script of the
// change and the one that reads it, and the caller, at the median.
func (b banner) ban(tb testing.TB, bans int) (server, median time.Duration) {
	tb.Helper()
	b.rdb.ConfigResetStat(tb.Context())
	took := make([]time.Duration, bans)
	for i := range took {
		begun := time.Now()
		if err := b.Ban(tb.Context(), "client-"+strconv.Itoa(i%100), time.Hour); err != nil {
			tb.Fatal(err)
		}
		took[i] = time.Since(begun)
	}
	slices.Sort(took)
	return time.Duration(scriptTime(tb, b.rdb) * 2 * float64(time.Microsecond)), took[bans/2]
}

// manyRules is as many rules as leave room for those that the tests ban.
const manyRules = store.MaxRules - 100

// BenchmarkBan is a ban beside others, and what it takes the server and the caller.
func BenchmarkBan(b *testing.B) {
	for _, n := range []int{10, 10_000, manyRules} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			all := newBanner(b, n)
			b.ResetTimer()
			server, median := all.ban(b, max(b.N, 10))
			b.ReportMetric(float64(server.Nanoseconds())/1000, "server-µs/op")
			b.ReportMetric(float64(median.Nanoseconds())/1000, "p50-µs")
		})
	}
}

// A ban takes as long beside 10,000 and 100,000 others as beside ten: within 1.5. The
// servers take turns, and the best turn of each counts, so that other load on the
// machine does not.
func TestBanCostsTheSame(t *testing.T) {
	numbers := []int{10, 10_000, manyRules}
	banners := make([]banner, len(numbers))
	server, median := make([]time.Duration, len(numbers)), make([]time.Duration, len(numbers))
	for i, n := range numbers {
		banners[i] = newBanner(t, n)
		server[i], median[i] = time.Hour, time.Hour
	}
	for range 10 {
		for i, b := range banners {
			s, m := b.ban(t, 200)
			server[i], median[i] = min(server[i], s), min(median[i], m)
		}
	}
	for i, n := range numbers {
		t.Logf("beside %d rules: %v of the server's time, p50 %v", n, server[i], median[i])
		if 2*server[i] > 3*server[0] || 2*median[i] > 3*median[0] {
			t.Errorf("a ban beside %d rules takes the server %v and the caller %v; beside %d it is %v and %v",
				n, server[i], median[i], numbers[0], server[0], median[0])
		}
	}
}

// banProcess is what one of the processes of TestBansOfManyProcesses does, and did.
type banProcess struct {
	URL              string
	Number           int
	Start, End       time.Time
	Bans, Decisions  int
	Late, Elsewhere  int           // decisions above lateDecision, and not by Redis
	Slowest          time.Duration // decision
	Rules, Following int           // rules in the end, and the last bans of all processes that are followed
}

const (
	banProcesses = 10
	lateDecision = 100 * time.Millisecond
	banVariable  = "STREAMLIMIT_TEST_BANS"
)

// Ten processes ban a hundred clients a second each beside 10,000 rules, all follow
// within a second, and no decision is late.
func TestBansOfManyProcesses(t *testing.T) {
	if text := os.Getenv(banVariable); text != "" {
		var p banProcess
		must(t, json.Unmarshal([]byte(text), &p))
		p.run(t)
		result, err := json.Marshal(p)
		must(t, err)
		fmt.Printf("%s=%s\n", banVariable, result)
		return
	}
	const rules, seconds = 10_000, 3
	server := redistest.Start(t)
	fillRules(t, New(server.Client(), patient), rules)
	start := time.Now().Add(2 * time.Second)
	results := make([]banProcess, banProcesses)
	var all sync.WaitGroup
	for i := range results {
		p := banProcess{URL: "redis://" + server.Addr, Number: i, Start: start, End: start.Add(seconds * time.Second)}
		all.Go(func() {
			text, err := json.Marshal(p)
			if err != nil {
				t.Error(err)
				return
			}
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBansOfManyProcesses$", "-test.count=1")
			cmd.Env = append(os.Environ(), banVariable+"="+string(text))
			out, err := cmd.CombinedOutput()
			_, result, ok := bytes.Cut(out, []byte(banVariable+"="))
			if err != nil || !ok {
				t.Errorf("process %d: %v\n%s", i, err, out)
				return
			}
			if err := json.NewDecoder(bytes.NewReader(result)).Decode(&results[i]); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	var sum banProcess
	for _, p := range results {
		sum.Bans += p.Bans
		sum.Decisions += p.Decisions
		sum.Late += p.Late
		sum.Elsewhere += p.Elsewhere
		sum.Slowest = max(sum.Slowest, p.Slowest)
		if p.Following != banProcesses || p.Rules != rules+banProcesses*p.Bans {
			t.Errorf("process %d has %d rules and follows the last bans of %d processes", p.Number, p.Rules, p.Following)
		}
	}
	t.Logf("%d bans and %d decisions in %d s, the slowest %v", sum.Bans, sum.Decisions, seconds, sum.Slowest)
	if sum.Bans != banProcesses*100*seconds || sum.Late > 0 || sum.Elsewhere > 0 {
		t.Errorf("%d bans; %d of %d decisions are above %v, and %d are not by Redis", sum.Bans, sum.Late, sum.Decisions, lateDecision, sum.Elsewhere)
	}
}

// run bans a hundred clients a second, and decides 200 times a second.
func (p *banProcess) run(t *testing.T) {
	s, err := Open(p.URL)
	must(t, err)
	l := core.New(s)
	defer l.Close()
	// Ten processes begin at once, on few processors.
	for _, err = l.Rules(t.Context()); err != nil && time.Now().Before(p.Start); _, err = l.Rules(t.Context()) {
		time.Sleep(50 * time.Millisecond)
	}
	must(t, err)
	policy := core.NewPolicy("p", core.PerHour(1_000_000))
	decide := func(key string) core.Decision {
		begun := time.Now()
		d, err := l.Allow(t.Context(), policy, key)
		if err != nil {
			t.Error(err)
		}
		took := time.Since(begun)
		p.Slowest = max(p.Slowest, took)
		p.Decisions++
		if took > lateDecision {
			p.Late++
		}
		if d.Source != core.SourceRedis && d.Reason != core.ReasonBanned {
			p.Elsewhere++
		}
		return d
	}
	client := func(process, n int) string { return fmt.Sprintf("client-%d-%d", process, n) }
	bans := int(p.End.Sub(p.Start) / (10 * time.Millisecond))
	time.Sleep(time.Until(p.Start))
	var banning sync.WaitGroup
	banning.Go(func() {
		for ; p.Bans < bans; p.Bans++ {
			time.Sleep(time.Until(p.Start.Add(time.Duration(p.Bans) * 10 * time.Millisecond)))
			if err := l.Ban(t.Context(), client(p.Number, p.Bans), time.Hour); err != nil {
				t.Error(err)
			}
		}
	})
	for n := 0; time.Now().Before(p.End.Add(time.Second)); n++ {
		decide("user-" + strconv.Itoa(n%50))
		time.Sleep(5 * time.Millisecond)
	}
	banning.Wait()
	for i := range banProcesses {
		if d := decide(client(i, bans-1)); d.Reason == core.ReasonBanned {
			p.Following++
		}
	}
	rules, err := l.Rules(t.Context())
	must(t, err)
	p.Rules = len(rules)
}
