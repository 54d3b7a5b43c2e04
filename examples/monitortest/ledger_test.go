package monitortest

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// ledger records the true requests and decisions, for comparison with the page.
type ledger struct {
	t *testing.T

	mu  sync.Mutex
	all []asked
}

// asked is one request.
type asked struct {
	at        time.Time
	by        *process
	route     string
	key       string
	decisions []decided
}

type decided struct {
	policy, result string
	without        bool // the store
}

func newLedger(t *testing.T) *ledger { return &ledger{t: t} }

func (l *ledger) ask(p *process, route, key string, policies ...*core.Policy) {
	l.t.Helper()
	asks := make([]core.Charge, len(policies))
	for i, policy := range policies {
		asks[i] = core.Charge{Policy: policy, Key: key}
	}
	all, err := p.limiter.Decide(l.t.Context(), core.Request{Route: route}, asks, nil)
	for errors.Is(err, core.ErrOverloaded) { // on a busy machine; a client comes again
		time.Sleep(20 * time.Millisecond)
		all, err = p.limiter.Decide(l.t.Context(), core.Request{Route: route}, asks, nil)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	one := asked{at: time.Now(), by: p, route: route, key: key}
	for _, d := range all {
		result := "allowed"
		if !d.Allowed {
			result = "denied"
		} else if d.WouldDeny {
			result = "would be denied"
		}
		one.decisions = append(one.decisions, decided{d.Policy.Name(), result, d.Source == core.SourceFallback})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, one)
}

// count is how many of the decisions, by a process if it is given, are so.
func (r asked) count(by *process, is func(decided) bool) (n int64) {
	if by != nil && by != r.by {
		return 0
	}
	for _, d := range r.decisions {
		if is(d) {
			n++
		}
	}
	return n
}

// of is 1 if that became of the key's request under the policy.
func (r asked) of(key string, p *core.Policy, result string) int64 {
	if key != r.key {
		return 0
	}
	return r.count(nil, func(d decided) bool { return d.policy == p.Name() && d.result == result })
}

// passed reports whether the client saw it pass.
func (r asked) passed() bool {
	return r.count(nil, func(d decided) bool { return d.result == "denied" }) == 0
}

// between has the least and the most that a figure of the last minute can have been when
// the page received it, at most five seconds ago.
type between struct{ least, most int64 }

func (b between) has(n, off int64) bool { return n >= b.least-off && n <= b.most+off }

// over are the sums over so many seconds that ended at a time, and up to ago seconds
// before.
func (l *ledger) over(at time.Time, seconds, ago int64, count func(asked) int64) (b between) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := at.Unix()
	for end := now - ago; end <= now; end++ {
		var sum int64
		for _, r := range l.all {
			if at := r.at.Unix(); at > end-seconds && at <= end {
				sum += count(r)
			}
		}
		if end == now-ago {
			b = between{sum, sum}
		}
		b = between{min(b.least, sum), max(b.most, sum)}
	}
	return b
}

// statements are the texts of the page.
type statements struct {
	at time.Time // of the newest state that the page shows

	State, Second, Seconds int64 // times of the newest state and second in ms, and how many seconds the page has

	Tiles    map[string]struct{ Value, Note string }
	Policies []struct{ Name, Counts string }
	Idle     []string
	Denied   [][]string // key, policy, count
	Allowed  [][]string
	Routes   [][]string
	Rules    [][]string

	Processes    [][]string
	Down, Source string

	DeniedTop   float64
	DeniedRows  []float64 // where each ends
	IdleHeights []float64
}

// readStatements reads all texts of the overview, at one moment.
func readStatements(b *tab) statements {
	b.t.Helper()
	s := eval[statements](b, `(async () => {
		const { latest } = await import(new URL("./now.js", location.origin + location.pathname)); // the page's own, not a copy
		const rows = (id) => [...document.querySelectorAll(id + " tbody tr")].map((r) => [...r.children].map((c) => c.textContent.trim()));
		const boxes = (id) => [...document.querySelectorAll(id + " tbody tr")].map((r) => r.getBoundingClientRect());
		const visible = (id) => { const e = document.querySelector(id); return e.checkVisibility() ? e.textContent : ""; };
		return {
			State: latest.state.now, Second: latest.seconds.at(-1)?.t ?? 0, Seconds: latest.seconds.length,
			Tiles: Object.fromEntries([...document.querySelectorAll("[data-tile]")].map((t) => [t.dataset.tile, { Value: t.children[1].textContent, Note: t.children[2].textContent }])),
			Policies: [...document.querySelectorAll("#policies [data-policy]")].map((p) => ({ Name: p.dataset.policy, Counts: p.querySelector(".counts").textContent })),
			Idle: [...document.querySelectorAll("#idle [data-policy]")].map((r) => r.dataset.policy),
			Denied: rows("#top-denied"), Allowed: rows("#top-allowed"), Routes: rows("#routes"), Rules: rows("#rules"), Processes: rows("#processes"),
			Down: visible("#down"), Source: visible("#source"),
			DeniedTop: boxes("#top-denied")[0]?.top ?? -1, DeniedRows: boxes("#top-denied").map((r) => r.bottom), IdleHeights: boxes("#idle").map((r) => r.height),
		};
	})()`)
	s.at = time.UnixMilli(s.State)
	return s
}

func (s statements) policy(name string) string {
	for _, p := range s.Policies {
		if p.Name == name {
			return p.Counts
		}
	}
	return ""
}

// says reports whether a policy's text has all the parts.
func (s statements) says(policy string, parts ...string) bool {
	said := strings.Split(strings.TrimPrefix(s.policy(policy), "Last minute: "), " · ")
	return !slices.ContainsFunc(parts, func(part string) bool {
		return !slices.ContainsFunc(said, func(one string) bool { return one == part || strings.HasPrefix(one, part+" (") })
	})
}

// since reads a time of today from a text.
func (s statements) since(t *testing.T, text, pattern string) time.Time {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("it says %q, want %s", text, pattern)
	}
	at, err := time.Parse(time.TimeOnly, found[1])
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	return time.Date(now.Year(), now.Month(), now.Day(), at.Hour(), at.Minute(), at.Second(), 0, time.Local)
}

func (s statements) number(t *testing.T, text string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(strings.ReplaceAll(text, ",", ""), 10, 64)
	if err != nil {
		t.Fatalf("%q is not a number", text)
	}
	return n
}

var (
	countsOf = regexp.MustCompile(`([\d,]+) (allowed|denied|would be denied)`)
	shareOf  = regexp.MustCompile(`\((\d+) %\)`)
	estimate = regexp.MustCompile(`^(?:about )?([\d,]+)(?: \(± ([\d,]+)\))?`)
)

// check compares each statement with the true requests and decisions. It allows for
// differences at the boundary of a second.
func (l *ledger) check(b *tab, s statements) {
	b.t.Helper()
	const off = 3
	second := time.UnixMilli(s.Second + 1000) // routes and keys come with seconds, which can be newer than the state
	figure := func(at time.Time, what, text string, count func(asked) int64) {
		b.t.Helper()
		n := s.number(b.t, text)
		// Decisions of the last second or two are not published yet.
		truth := between{l.over(at, 58, 5, count).least, l.over(at, 60, 5, count).most}
		if !truth.has(n, off) {
			b.t.Errorf("%s: the page says %d, truly %+v", what, n, truth)
		}
	}
	request := func(passed bool) func(asked) int64 {
		return func(r asked) int64 {
			if r.passed() == passed {
				return 1
			}
			return 0
		}
	}
	rate := func(tile string, passed bool) {
		b.t.Helper()
		text := strings.TrimSuffix(s.Tiles[tile].Value, "/s")
		n, err := strconv.ParseFloat(strings.ReplaceAll(text, ",", ""), 64)
		// A page that was opened just now has fewer than five seconds. A decision may
		// stand in the second before the one in which its caller got it.
		over := max(1, min(s.Seconds, 5))
		truth := l.over(second, over, 3, request(passed))
		if err != nil || n < float64(truth.least-off)/float64(over)-0.5 || n > float64(truth.most+off)/float64(over)+0.5 {
			b.t.Errorf("%s: the page says %s, truly %+v in %d s", tile, s.Tiles[tile].Value, truth, over)
		}
	}
	rate("Allowed", true)
	rate("Denied", false)
	figure(s.at, "without the store", s.Tiles["Without the store"].Value, func(r asked) int64 { return r.count(nil, func(d decided) bool { return d.without }) })
	processes := map[*process]bool{}
	for _, r := range l.all {
		processes[r.by] = true
	}
	if n := s.Tiles["Processes"]; n.Value != fmt.Sprint(len(s.Processes)) || len(s.Processes) < len(processes) {
		b.t.Errorf("%+v processes, of %q", n, s.Processes)
	}
	if s.Source != "all processes on this Redis" || s.Down != "" {
		b.t.Errorf("the page says %q, %q", s.Source, s.Down)
	}

	last := int64(1 << 62)
	for _, p := range s.Policies {
		var all, denied int64
		for _, found := range countsOf.FindAllStringSubmatch(p.Counts, -1) {
			figure(s.at, p.Name+" "+found[2], found[1], func(r asked) int64 {
				return r.count(nil, func(d decided) bool { return d.policy == p.Name && d.result == found[2] })
			})
			n := s.number(b.t, found[1])
			all += n
			if found[2] == "denied" {
				denied = n
			}
		}
		if share := shareOf.FindStringSubmatch(p.Counts); share != nil && all > 0 {
			if want := 100 * float64(denied) / float64(all); float64(s.number(b.t, share[1])) < want-1 || float64(s.number(b.t, share[1])) > want+1 {
				b.t.Errorf("%s: %q", p.Name, p.Counts)
			}
		}
		if denied > last {
			b.t.Errorf("%s comes after one with fewer denials", p.Name)
		}
		last = denied
	}
	for _, name := range s.Idle {
		if n := l.over(s.at, 300, 0, func(r asked) int64 { return r.count(nil, func(d decided) bool { return d.policy == name }) }); n.most > 0 {
			b.t.Errorf("%s is said to be idle, and decided %d times", name, n.most)
		}
	}
	keys := func(what string, rows [][]string, result func(string) bool) {
		b.t.Helper()
		for _, row := range rows {
			found := estimate.FindStringSubmatch(row[2])
			if found == nil {
				b.t.Fatalf("%s: %q", what, row)
			}
			var errors int64
			if found[2] != "" {
				errors = s.number(b.t, found[2])
			}
			key, _, _ := strings.Cut(row[0], " ")
			// Others publish their keys every ten seconds, and the page keeps them in
			// slices of ten seconds.
			truth := l.over(second, 60, 11, func(r asked) int64 {
				if r.key != key {
					return 0
				}
				return r.count(nil, func(d decided) bool { return d.policy == row[1] && result(d.result) })
			})
			longer := l.over(second, 70, 0, func(r asked) int64 {
				if r.key != key {
					return 0
				}
				return r.count(nil, func(d decided) bool { return d.policy == row[1] && result(d.result) })
			})
			if n := s.number(b.t, found[1]); n < truth.least-errors-off && n < truth.least-truth.most/2 || n > longer.most+errors+off {
				b.t.Errorf("%s: %q, truly %+v, in 70 s %d", what, row, truth, longer.most)
			}
		}
	}
	keys("denied", s.Denied, func(result string) bool { return result == "denied" })
	keys("allowed", s.Allowed, func(result string) bool { return result != "denied" })
	for _, row := range s.Routes {
		for i, passed := range []bool{true, false} {
			figure(second, "route "+row[0], row[1+i], func(r asked) int64 {
				if r.route != row[0] {
					return 0
				}
				return request(passed)(r)
			})
		}
	}
}

// settle waits until everything is published. The page must then be exact: the ledger's
// requests are all within the last minute, unless the traffic was for a picture.
func (l *ledger) settle(b *tab) {
	b.t.Helper()
	l.mu.Lock()
	begun := l.all[0].at
	l.mu.Unlock()
	if time.Since(begun) > 40*time.Second {
		return
	}
	total := func(policy, result string) (n int64) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, r := range l.all {
			n += r.count(nil, func(d decided) bool { return d.policy == policy && d.result == result })
		}
		return n
	}
	names := map[string]bool{}
	l.mu.Lock()
	for _, r := range l.all {
		for _, d := range r.decisions {
			names[d.policy] = true
		}
	}
	l.mu.Unlock()
	for name := range names {
		parts := []string{fmt.Sprintf("%d allowed", total(name, "allowed")), fmt.Sprintf("%d denied", total(name, "denied"))}
		if n := total(name, "would be denied"); n > 0 {
			parts = append(parts, fmt.Sprintf("%d would be denied", n))
		}
		for deadline := begun.Add(58 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			s := readStatements(b)
			if s.says(name, parts...) {
				break
			}
			if time.Now().After(deadline) {
				b.t.Errorf("of %s it says %q, want %q", name, s.policy(name), parts)
				return
			}
		}
	}
}
