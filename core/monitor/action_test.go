package monitor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/internal/field"
	"github.com/streamlimit/streamlimit/core/monitor"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
)

type key struct {
	Policy, Key, Name string
	Limits            []struct {
		Limit             string
		Max, Used, FreeIn int64
	}
	Allowed    bool
	RetryAfter int64
	Entries    []struct{ T, Cost, Refund int64 }
	Rules      []struct{ Kind string }
	Now        int64
}

// onStores runs a test on both stores.
func onStores(t *testing.T, test func(t *testing.T, store core.Store)) {
	t.Run("memory", func(t *testing.T) { test(t, core.NewMemory()) })
	t.Run("redis", func(t *testing.T) { test(t, redisStore(t, redistest.Start(t))) })
}

// The page of a key shows its log and its limits.
func TestKey(t *testing.T) {
	onStores(t, func(t *testing.T, store core.Store) {
		s := newSite(t, store, monitor.WithKeyNames(func(policy, key string) string { return "name of " + policy + " " + key }))
		s.allow(t, api, "<b>", 6)
		d, err := s.limiter.AllowN(t.Context(), costs, "k", 30)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.limiter.Settle(t.Context(), d, 10); err != nil {
			t.Fatal(err)
		}
		var k key
		s.get(t, "api/key?policy=api&key=%3Cb%3E", &k)
		if k.Policy != "api" || k.Key != "<b>" || k.Name != "name of api <b>" || k.Allowed || k.RetryAfter <= 0 || k.RetryAfter > 60_000 {
			t.Errorf("key %+v", k)
		}
		if l := k.Limits[0]; len(k.Limits) != 1 || l.Limit != "5/minute" || l.Max != 5 || l.Used != 5 || l.FreeIn <= 0 || l.FreeIn > 60_000 {
			t.Errorf("limits %+v", k.Limits)
		}
		units := int64(0)
		for i, e := range k.Entries {
			units += e.Cost
			if age := k.Now - e.T; age < -5000 || age > 60_000 || i > 0 && e.T > k.Entries[i-1].T {
				t.Errorf("entries %+v", k.Entries)
			}
		}
		if units != 5 {
			t.Errorf("%d units in %+v, want 5", units, k.Entries)
		}
		s.get(t, "api/key?policy=costs&key=k", &k)
		if len(k.Limits) != 2 || k.Limits[0].Used != 10 || k.Limits[1].Used != 10 || len(k.Entries) != 2 || k.Entries[0].Refund+k.Entries[1].Refund != 20 || k.Entries[0].Cost+k.Entries[1].Cost != 30 {
			t.Errorf("key %+v", k)
		}
		if a := s.ask(t, "GET", "api/key?policy=none&key=k", ""); a.StatusCode != 404 || a.Header.Get("Content-Type") != field.ProblemType {
			t.Errorf("status %d, %v", a.StatusCode, a.Header)
		}
		if a := s.ask(t, "GET", "api/key?policy=api&key=%3Cb%3E", ""); strings.ContainsAny(a.body, "<>") {
			t.Errorf("markup: %s", a.body)
		}
		var found struct {
			Keys []struct {
				Policy, Key, Name string
				Allowed, Denied   int64
			}
		}
		eventually(t, "the search finds the key", func() bool {
			s.get(t, "api/search?q=%3CB", &found)
			return len(found.Keys) == 1 && found.Keys[0].Key == "<b>" && found.Keys[0].Allowed == 5 && found.Keys[0].Denied == 1
		})
	})
}

// Each action works, and is logged with the peer that sent it.
func TestActions(t *testing.T) {
	onStores(t, func(t *testing.T, store core.Store) {
		var log lines
		recorder := monitor.NewRecorder(store)
		limiter := core.New(store, core.WithObserver(recorder), core.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		limiter.Register(api, costs)
		s := &site{Server: httptest.NewServer(http.StripPrefix("/ratelimit", monitor.New(limiter, recorder, monitor.WithAuthorize(anyone)))), limiter: limiter, recorder: recorder}
		defer limiter.Close()
		defer s.Close()
		defer recorder.Close()
		allowed := func(p *core.Policy, want bool) {
			t.Helper()
			if d, err := limiter.Peek(t.Context(), p, "k"); err != nil || d.Allowed != want {
				t.Errorf("allowed %v, want %v; %v", d.Allowed, want, err)
			}
		}
		act := func(name, body string, status int) {
			t.Helper()
			a := s.ask(t, "POST", "api/"+name, body)
			if a.StatusCode != status || status >= 400 && a.Header.Get("Content-Type") != field.ProblemType {
				t.Errorf("%s %s: status %d, want %d: %s", name, body, a.StatusCode, status, a.body)
			}
		}
		s.allow(t, api, "k", 5)
		allowed(api, false)
		act("reset", `{"policy":"api","key":"k"}`, 204)
		allowed(api, true)
		act("ban", `{"key":"k","seconds":3600}`, 204)
		allowed(api, false)
		allowed(costs, false)
		act("unban", `{"key":"k"}`, 204)
		allowed(api, true)
		act("override", `{"policy":"api","limits":["1/second","7/hour"]}`, 204)
		var now state
		s.get(t, "api/state", &now)
		if p := now.Policies[0]; !p.Overridden || fmt.Sprint(p.Limits) != "[1/second 7/hour]" || len(now.Rules) != 1 {
			t.Errorf("state %+v", now)
		}
		act("restore", `{"policy":"api"}`, 204)
		if p, _ := limiter.Policy("api"); p.Log().Name != api.Log().Name || p.Limits()[0] != api.Limits()[0] {
			t.Errorf("policy %v", p)
		}
		for _, mode := range []core.Mode{core.ModeOff, core.ModeShadow, core.ModeOn} {
			for _, name := range []string{"api", "*"} {
				act("switch", fmt.Sprintf(`{"policy":%q,"mode":%q}`, name, mode), 204)
				if p, _ := limiter.Policy("api"); p.Mode() != mode && name == "*" {
					t.Errorf("mode %s, want %s", p.Mode(), mode)
				}
			}
		}
		act("switch", `{"policy":"api","mode":"off","seconds":3600}`, 204)
		s.get(t, "api/state", &now)
		if p := now.Policies[0]; !p.Off || p.Shadow || len(now.Rules) != 1 {
			t.Errorf("state %+v", now)
		}
		act("switch", `{"policy":"api","mode":"on"}`, 204)
		act("switch", `{"policy":"api","mode":"on"}`, 404)
		act("switch", `{"policy":"api","mode":"dim"}`, 400)
		act("switch", `{"policy":"api","mode":"off","seconds":-1}`, 400)
		act("switch", `{"policy":"none","mode":"off"}`, 404)
		act("unban", `{"key":"k"}`, 404)
		act("restore", `{"policy":"api"}`, 404)
		act("reset", `{"policy":"none","key":"k"}`, 404)
		act("reset", `{"policy":"api"}`, 400)
		act("ban", `{"key":"k","seconds":-1}`, 400)
		act("ban", `{"key":"k","seconds":1e300}`, 400)
		act("override", `{"policy":"api","limits":["0/second"]}`, 400)
		act("override", `{"policy":"api","limits":[]}`, 400)
		act("override", `{"policy":"api","limit":"5/second"}`, 400)
		act("ban", `{"key":"k","seconds":1}{}`, 400)
		act("ban", `{"key":"`+strings.Repeat("k", 20_000)+`","seconds":1}`, 400)
		for _, want := range []string{"action=/api/reset peer=127.0.0.1:", "policy=api key=k ", "action=/api/ban", "seconds=3600", "action=/api/unban", "limits=\"[1/second 7/hour]\"", "action=/api/restore"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log lacks %s:\n%s", want, log.String())
			}
		}
	})
}

// A process that has never used a policy can manage its keys, by the traits that others
// have published.
func TestPolicyOfAnotherProcess(t *testing.T) {
	server := redistest.Start(t)
	a, b := newSite(t, redisStore(t, server)), newSite(t, redisStore(t, server))
	exotic := core.NewPolicy("exotic", core.PerDay(1_000_000), core.Coarse(64), core.Shadow())
	a.allow(t, exotic, "k", 3)
	eventually(t, "the other process knows the policy", func() bool {
		return b.ask(t, "GET", "api/key?policy=exotic&key=k", "").StatusCode == 200
	})
	var k key
	b.get(t, "api/key?policy=exotic&key=k", &k)
	if k.Limits[0].Used != 3 || len(k.Entries) == 0 {
		t.Errorf("key %+v", k)
	}
}

// While Redis is down, the publications of other processes are lost. This process loses
// nothing, and no request is slowed down.
func TestRedisDown(t *testing.T) {
	server := redistest.Start(t)
	store := redisstream.New(server.Client(), redisstream.WithTimeout(500*time.Millisecond))
	s := newSite(t, store)
	s.allow(t, api, "k", 2)
	eventually(t, "counts", func() bool { return s.counts(t, "api").Allowed == 2 })
	server.Kill()
	eventually(t, "the limiter goes on without Redis", func() bool {
		s.allow(t, api, "k", 1)
		return len(s.limiter.Health().Down) == 1
	})
	eventually(t, "the page says so", func() bool {
		var now state
		s.get(t, "api/state", &now)
		return len(now.Processes) == 1 && len(now.Processes[0].Down) == 1 && now.Policies[0].By.Fallback > 0 && now.Policies[0].By.Redis == 2 && now.Alone != nil
	})
	server.Restart()
	eventually(t, "Redis is back, and has new entries", func() bool {
		s.allow(t, costs, "k2", 1)
		pic, err := monitor.Read(t.Context(), store)
		return err == nil && len(pic.Processes) == 1 && len(pic.Processes[0].Down) == 0
	})
}

// lines is a log that is written and read concurrently.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// New warns about a monitor whose recorder receives no decisions.
func TestUntoldMonitor(t *testing.T) {
	store := core.NewMemory()
	recorder := monitor.NewRecorder(store)
	t.Cleanup(func() { recorder.Close() })
	for _, told := range []bool{true, false} {
		var log bytes.Buffer
		options := []core.Option{core.WithLogger(slog.New(slog.NewTextHandler(&log, nil)))}
		if told {
			options = append(options, core.WithObserver(recorder))
		}
		limiter := core.New(store, options...)
		t.Cleanup(func() { limiter.Close() })
		monitor.New(limiter, recorder, monitor.WithAuthorize(anyone))
		if n := strings.Count(log.String(), "STREAMLIMIT_W010"); n != map[bool]int{false: 1}[told] {
			t.Errorf("told %v: %q", told, log.String())
		}
	}
}

// A failed action gets a text for people. The log has the error.
func TestActionFails(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		status int
		want   string
	}{
		"down":           {errors.New("dial tcp 10.9.8.7:6379: connect: connection refused"), 503, "the store does not answer"},
		"refused":        {fmt.Errorf("%w: NOPERM 10.9.8.7", store.ErrRejected), 409, "the store failed: the log of this process has the error"},
		"not a log":      {store.ErrWrongType, 409, "another program uses this key in the store: give one of them a prefix of its own"},
		"full":           {store.ErrFull, 409, "the store in memory has no room for another key"},
		"overloaded":     {core.ErrOverloaded, 503, "this process is overloaded: check whether"},
		"closed":         {store.ErrClosed, 503, "this process is shutting down"},
		"too many rules": {store.ErrTooManyRules, 409, "rules already: end some, or block networks instead of addresses"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, brokenStore{core.NewMemory(), c.err})
			for path, body := range map[string]string{
				"ban": `{"key":"k","seconds":5}`, "block": `{"key":"k"}`, "reset": `{"policy":"api","key":"k"}`,
				"unban": `{"key":"k"}`, "override": `{"policy":"api","limits":["5/second"]}`, "restore": `{"policy":"api"}`,
			} {
				a := s.ask(t, "POST", "api/"+path, body)
				if a.StatusCode != c.status || !strings.Contains(a.body, c.want) || strings.Contains(a.body, "10.9.8.7") || strings.Contains(a.body, "core:") {
					t.Errorf("%s: %d with %s, want %d with %q", path, a.StatusCode, a.body, c.status, c.want)
				}
			}
		})
	}
}

// brokenStore fails every change.
type brokenStore struct {
	core.Store
	err error
}

func (s brokenStore) SetRule(context.Context, store.Rule) error        { return s.err }
func (s brokenStore) DeleteRule(context.Context, string) (bool, error) { return false, s.err }
func (s brokenStore) Reset(context.Context, *store.Log, string) error  { return s.err }
