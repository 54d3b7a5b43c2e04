package monitor_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// patience bounds the waits of a test. It delays only tests that fail.
const patience = 30 * time.Second

var (
	api   = core.NewPolicy("api", core.PerMinute(5))
	costs = core.NewPolicy("costs", core.PerMinute(100), core.PerHour(1000), core.VariableCost(), core.Refundable(0))
)

// site is a process with a monitor, mounted at /ratelimit/.
type site struct {
	*httptest.Server
	limiter  *core.Limiter
	recorder *monitor.Recorder
}

func newSite(t *testing.T, store core.Store, options ...monitor.Option) *site {
	t.Helper()
	recorder := monitor.NewRecorder(store)
	limiter := core.New(store, core.WithObserver(recorder))
	limiter.Register(api, costs)
	options = append([]monitor.Option{monitor.WithAuthorize(anyone)}, options...)
	mux := http.NewServeMux()
	mux.Handle("/ratelimit/", http.StripPrefix("/ratelimit", monitor.New(limiter, recorder, options...)))
	s := &site{Server: httptest.NewServer(mux), limiter: limiter, recorder: recorder}
	t.Cleanup(func() {
		_ = recorder.Close()
		s.Close()
		_ = limiter.Close()
	})
	return s
}

// anyone allows every request.
func anyone(*http.Request) bool { return true }

func redisStore(t *testing.T, server *redistest.Server) core.Store {
	return redisstream.New(server.Client(), redisstream.WithTimeout(10*time.Second))
}

// answer is a response with its body.
type answer struct {
	*http.Response
	body string
}

func (s *site) ask(t *testing.T, method, path, body string, change ...func(*http.Request)) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+"/ratelimit/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, f := range change {
		f(req)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp, string(text)}
}

// get reads a JSON response.
func (s *site) get(t *testing.T, path string, into any) {
	t.Helper()
	a := s.ask(t, "GET", path, "")
	if a.StatusCode != 200 || a.Header.Get("Content-Type") != "application/json" || a.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%s: status %d, header %v: %s", path, a.StatusCode, a.Header, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), into); err != nil {
		t.Fatalf("%s: %v: %s", path, err, a.body)
	}
}

func (s *site) allow(t *testing.T, p *core.Policy, key string, n int) {
	t.Helper()
	for range n {
		if _, err := s.limiter.Allow(t.Context(), p, key); err != nil {
			t.Fatal(err)
		}
	}
}

// eventually waits until f is true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

type state struct {
	Now      int64
	ReadOnly bool
	Source   string
	Alone    *struct {
		Since  int64
		Others int
	}
	Requests  monitor.Counts
	Processes []monitor.Process
	Policies  []struct {
		monitor.Counts
		Name       string
		Limits     []string
		Layout     string
		Shadow     bool
		Off        bool
		Failure    string
		Overridden bool
		NearLimit  int64
	}
	Rules []struct {
		ID, Kind, Key, Policy string
		Limits                []string
		Until                 int64
	}
	MoreRules int
}

// counts returns the counts of a policy in the last minute.
func (s *site) counts(t *testing.T, policy string) monitor.Counts {
	t.Helper()
	var now state
	s.get(t, "api/state", &now)
	for _, p := range now.Policies {
		if p.Name == policy {
			return p.Counts
		}
	}
	return monitor.Counts{}
}

// Two processes on one Redis show the same counts: the sum of both.
func TestProcessesAreMerged(t *testing.T) {
	server := redistest.Start(t)
	a, b := newSite(t, redisStore(t, server)), newSite(t, redisStore(t, server))
	a.allow(t, api, "k", 4)
	b.allow(t, api, "k", 4)
	b.allow(t, costs, "other", 2)
	for _, s := range []*site{a, b} {
		eventually(t, "both processes' counts", func() bool {
			return s.counts(t, "api") == monitor.Counts{Allowed: 5, Denied: 3, By: monitor.Sources{Redis: 8}} && s.counts(t, "costs") == monitor.Counts{Allowed: 2, By: monitor.Sources{Redis: 2}}
		})
		var now state
		s.get(t, "api/state", &now)
		if len(now.Processes) != 2 || now.Source != "redis" || now.ReadOnly {
			t.Errorf("state %+v", now)
		}
		if p := now.Policies[1]; p.Name != "costs" || fmt.Sprint(p.Limits) != "[100/minute 1000/hour]" || p.Layout != "refunded" || p.Failure != "local" {
			t.Errorf("policy %+v", p)
		}
	}
	// A command line tool gets the same without a limiter.
	pic, err := monitor.Read(t.Context(), redisStore(t, server))
	if err != nil || len(pic.Processes) != 2 || len(pic.Policies) != 2 || pic.Policies[0].Allowed != 5 {
		t.Fatalf("picture %+v, %v", pic, err)
	}
	p, err := pic.Policies[1].Policy("costs")
	if err != nil || p.Log().Name != costs.Log().Name {
		t.Errorf("policy %v, %v", p, err)
	}
	if ttl := server.Client().PTTL(t.Context(), "streamlimit:{monitor}").Val(); ttl < time.Hour || ttl > 2*time.Hour {
		t.Errorf("the feed's time to live is %v", ttl)
	}
}

// The stream sends a decision within a few seconds, and ends with the recorder.
func TestLive(t *testing.T) {
	s := newSite(t, core.NewMemory())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", s.URL+"/ratelimit/api/live", nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("status %d, header %v", resp.StatusCode, resp.Header)
	}
	s.allow(t, api, "<script>alert(1)</script>", 6)
	var event string
	events := make(map[string]int)
	total := 0
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		text := lines.Text()
		if strings.ContainsAny(text, "<>") {
			t.Errorf("markup: %s", text)
		}
		if name, ok := strings.CutPrefix(text, "event: "); ok {
			event = name
			events[name]++
		}
		data, ok := strings.CutPrefix(text, "data: ")
		if !ok || event != "second" {
			continue
		}
		var second struct {
			T        int64
			Policies map[string]monitor.Counts
			Top      monitor.Top
		}
		if err := json.Unmarshal([]byte(data), &second); err != nil {
			t.Fatal(err)
		}
		if total += int(second.Policies["api"].Allowed + second.Policies["api"].Denied); total == 6 {
			want := monitor.TopKey{Policy: "api", Key: "<script>alert(1)</script>", Count: 5}
			if len(second.Top.Allowed) != 1 || second.Top.Allowed[0] != want || len(second.Top.Denied) != 1 || second.Top.Denied[0].Count != 1 {
				t.Errorf("top %+v", second.Top)
			}
			if err := s.recorder.Close(); err != nil { // ends the stream, and with it the loop
				t.Error(err)
			}
		}
	}
	if total != 6 || events["state"] == 0 || ctx.Err() != nil {
		t.Errorf("got %d decisions, want 6; events %v; %v", total, events, ctx.Err())
	}
}

// A process has a maximum number of streams. The end of one makes room for another.
func TestStreamsAreBounded(t *testing.T) {
	s := newSite(t, core.NewMemory())
	watch := func() (status int, end func()) {
		ctx, cancel := context.WithCancel(t.Context())
		req, _ := http.NewRequestWithContext(ctx, "GET", s.URL+"/ratelimit/api/live", nil)
		resp, err := http.DefaultClient.Do(req) //nolint:bodyclose // end closes it
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, func() { cancel(); resp.Body.Close() }
	}
	const most = 100
	ends := make([]func(), most)
	for i := range ends {
		var status int
		if status, ends[i] = watch(); status != 200 {
			t.Fatalf("stream %d: status %d", i, status)
		}
		defer ends[i]()
	}
	status, end := watch()
	if end(); status != 503 {
		t.Errorf("one more: status %d, want 503", status)
	}
	if a := s.ask(t, "GET", "api/live?poll=1", ""); a.StatusCode != 200 {
		t.Errorf("by polling: status %d, want 200", a.StatusCode)
	}
	ends[0]()
	eventually(t, "there is room again", func() bool {
		status, end := watch()
		end()
		return status == 200
	})
}
