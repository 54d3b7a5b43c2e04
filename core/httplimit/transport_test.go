package httplimit_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/httplimit"
)

// otherSide answers requests in place of a network, and records them.
type otherSide struct {
	mu      sync.Mutex
	sent    []time.Time
	bodies  []string
	answers []said       // for the first requests; later ones are answered with 200
	open    atomic.Int64 // bodies of responses that are not closed
}

type body struct {
	io.Reader
	open *atomic.Int64
}

func (b *body) Close() error { b.open.Add(-1); return nil }

func (o *otherSide) RoundTrip(r *http.Request) (*http.Response, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sent = append(o.sent, time.Now())
	if r.Body != nil {
		text, _ := io.ReadAll(r.Body)
		_ = r.Body.Close()
		o.bodies = append(o.bodies, string(text))
	}
	a := reply(http.StatusOK)
	if len(o.answers) > 0 {
		a, o.answers = o.answers[0], o.answers[1:]
	}
	o.open.Add(1)
	return &http.Response{StatusCode: a.status, Header: a.header, Body: &body{strings.NewReader("body"), &o.open}, Request: r}, nil
}

// said is what the other side answers.
type said struct {
	status int
	header http.Header
}

// reply makes an answer; names and values of fields may follow the status.
func reply(status int, fields ...string) said {
	a := said{status, http.Header{}}
	for i := 0; i < len(fields); i += 2 {
		a.header.Set(fields[i], fields[i+1])
	}
	return a
}

// inBubble runs a test of a client under a fake clock.
func inBubble(t *testing.T, p *core.Policy, test func(t *testing.T, o *otherSide, client *http.Client), options ...httplimit.TransportOption) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		limiter := core.New(core.NewMemory())
		o := &otherSide{}
		options := append([]httplimit.TransportOption{httplimit.WithBase(o)}, options...)
		test(t, o, &http.Client{Transport: httplimit.NewTransport(limiter, p, options...)})
		if n := o.open.Load(); n != 0 {
			t.Errorf("%d bodies of responses are open", n)
		}
		if err := limiter.Close(); err != nil {
			t.Error(err)
		}
	})
}

// send sends a request and returns its status, or 0 for an error.
func send(ctx context.Context, client *http.Client, method, url string, content io.Reader) (int, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func fetch(t *testing.T, client *http.Client, url string) (int, error) {
	t.Helper()
	return send(t.Context(), client, http.MethodGet, url, nil)
}

func wantSent(t *testing.T, o *otherSide, begun time.Time, want ...time.Duration) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.sent) != len(want) {
		t.Fatalf("%d requests were sent, want %d", len(o.sent), len(want))
	}
	for i, at := range o.sent {
		if took := at.Sub(begun); took < want[i] || took > want[i]+50*time.Millisecond {
			t.Errorf("request %d was sent after %v, want %v and little more", i, took, want[i])
		}
	}
}

func TestTransportWaits(t *testing.T) {
	inBubble(t, core.NewPolicy("p", core.Per(2, 10*time.Second)), func(t *testing.T, o *otherSide, client *http.Client) {
		begun := time.Now()
		for range 3 {
			if status, err := fetch(t, client, "https://a.example/"); status != http.StatusOK || err != nil {
				t.Fatal(status, err)
			}
		}
		wantSent(t, o, begun, 0, 0, 10*time.Second)
	})
}

// closing is a body that notes that it was closed.
type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

// A request that is not sent fails with the reason, and its body is closed.
func TestTransportFails(t *testing.T) {
	broken := errors.New("broken")
	var limited *core.LimitedError
	var paused *httplimit.PauseError
	keyed := func(key string, err error) httplimit.TransportOption {
		return httplimit.WithRequestKey(func(*http.Request) (string, error) { return key, err })
	}
	for name, c := range map[string]struct {
		options []httplimit.TransportOption
		pause   bool          // in place of a used-up limit
		within  time.Duration // until the deadline; below 0 until the caller leaves
		ok      func(error) bool
		takes   time.Duration
	}{
		"without waiting":    {[]httplimit.TransportOption{httplimit.WithoutWait()}, false, time.Hour, func(err error) bool { return errors.As(err, &limited) && limited.Decision.RetryAfter == time.Minute }, 0},
		"too late":           {nil, false, 20 * time.Second, func(err error) bool { return errors.As(err, &limited) && errors.Is(err, context.DeadlineExceeded) }, 0},
		"a pause":            {[]httplimit.TransportOption{httplimit.WithoutWait()}, true, time.Hour, func(err error) bool { return errors.As(err, &paused) && paused.RetryAfter == 30*time.Second }, 0},
		"too late a pause":   {nil, true, 20 * time.Second, func(err error) bool { return errors.As(err, &paused) && errors.Is(err, context.DeadlineExceeded) }, 0},
		"a key that fails":   {[]httplimit.TransportOption{keyed("", broken)}, false, time.Hour, func(err error) bool { return errors.Is(err, broken) }, 0},
		"no key":             {[]httplimit.TransportOption{keyed("", nil)}, false, time.Hour, func(err error) bool { return errors.Is(err, core.ErrNoKey) }, 0},
		"the caller leaves":  {nil, false, -10 * time.Second, func(err error) bool { return errors.Is(err, context.Canceled) }, 10 * time.Second},
		"leaves the pause":   {nil, true, -10 * time.Second, func(err error) bool { return errors.Is(err, context.Canceled) }, 10 * time.Second},
		"left before sent":   {nil, true, -time.Nanosecond, func(err error) bool { return errors.Is(err, context.Canceled) }, time.Nanosecond},
		"the base is broken": {[]httplimit.TransportOption{httplimit.WithBase(brokenBase{})}, false, time.Hour, func(err error) bool { return errors.Is(err, errBase) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, core.NewPolicy("p", core.PerMinute(1)), func(t *testing.T, o *otherSide, client *http.Client) {
				if c.pause {
					o.answers = []said{reply(http.StatusTooManyRequests, "Retry-After", "30")}
				}
				used := "https://a.example/" // whose limit is used up, or which begins the pause
				if name == "the base is broken" {
					used = "https://b.example/"
				}
				_, _ = fetch(t, client, used)
				sent := len(o.sent)
				ctx, cancel := context.WithTimeout(t.Context(), cmp.Or(max(c.within, 0), time.Hour))
				defer cancel()
				if c.within < 0 {
					time.AfterFunc(-c.within, cancel)
				}
				begun := time.Now()
				content := &closing{Reader: strings.NewReader("x")}
				_, err := send(ctx, client, http.MethodPost, "https://a.example/", content)
				if !c.ok(err) {
					t.Errorf("%v", err)
				}
				if took := time.Since(begun); took != c.takes {
					t.Errorf("it took %v", took)
				}
				if !content.closed || len(o.sent) != sent {
					t.Errorf("body closed: %v; %d requests sent", content.closed, len(o.sent)-sent)
				}
				if strings.Contains(fmt.Sprint(errors.Unwrap(err)), "a.example") {
					t.Errorf("the error shows the key: %v", err)
				}
			}, c.options...)
		})
	}
}

var errBase = errors.New("connection refused")

type brokenBase struct{}

func (brokenBase) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
	return nil, errBase
}

// The other side's Retry-After holds for all requests with the key, and is bounded.
func TestTransportPause(t *testing.T) {
	for name, c := range map[string]struct {
		answer said
		pause  time.Duration
	}{
		"seconds":             {reply(429, "Retry-After", "30"), 30 * time.Second},
		"unavailable":         {reply(503, "Retry-After", "7"), 7 * time.Second},
		"none":                {reply(429), 0},
		"zero":                {reply(429, "Retry-After", "0"), 0},
		"white space":         {reply(429, "Retry-After", " 3 "), 3 * time.Second},
		"another status":      {reply(200, "Retry-After", "30"), 0},
		"moved":               {reply(404, "Retry-After", "30"), 0},
		"too long":            {reply(429, "Retry-After", "86400"), 5 * time.Minute},
		"any number":          {reply(429, "Retry-After", "99999999999999999999999999"), 5 * time.Minute},
		"negative":            {reply(429, "Retry-After", "-30"), 0},
		"a fraction":          {reply(429, "Retry-After", "1.5"), 0},
		"not a date":          {reply(429, "Retry-After", "tomorrow"), 0},
		"date":                {reply(429, "Retry-After", "Sat, 01 Jan 2000 00:00:40 GMT"), 40 * time.Second},
		"date of their clock": {reply(429, "Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT", "Date", "Fri, 31 Dec 1999 23:59:29 GMT"), 30 * time.Second},
		"date in old form":    {reply(503, "Retry-After", "Saturday, 01-Jan-00 00:00:40 GMT"), 40 * time.Second},
		"past":                {reply(429, "Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT"), 0},
		"far date":            {reply(429, "Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"), 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, core.NewPolicy("p", core.PerSecond(1000)), func(t *testing.T, o *otherSide, client *http.Client) {
				begun := time.Now() // midnight of 2000-01-01
				o.answers = []said{c.answer}
				if status, err := fetch(t, client, "https://a.example/1"); status != c.answer.status || err != nil {
					t.Fatalf("%d, %v, want the response", status, err)
				}
				if _, err := fetch(t, client, "https://b.example/"); err != nil {
					t.Fatal(err)
				}
				var calls sync.WaitGroup
				for range 2 {
					calls.Go(func() {
						if status, err := fetch(t, client, "https://A.example:443/2"); status != 200 || err != nil {
							t.Error(status, err)
						}
					})
				}
				calls.Wait()
				wantSent(t, o, begun, 0, 0, c.pause, c.pause)
			})
		})
	}
}

// Who waits for a unit when a pause begins is not sent in the pause.
func TestTransportPauseWhileWaiting(t *testing.T) {
	inBubble(t, core.NewPolicy("p", core.Per(1, 10*time.Second)), func(t *testing.T, o *otherSide, client *http.Client) {
		begun := time.Now()
		o.answers = []said{reply(200), reply(429, "Retry-After", "60")}
		var calls sync.WaitGroup
		for range 3 {
			calls.Go(func() {
				if _, err := fetch(t, client, "https://a.example/"); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		wantSent(t, o, begun, 0, 10*time.Second, 70*time.Second)
	})
}

func TestTransportRetries(t *testing.T) {
	short, long := reply(429, "Retry-After", "3"), reply(503, "Retry-After", "4000")
	replayed := func() io.Reader { return strings.NewReader("hello") }
	for name, c := range map[string]struct {
		retries int
		answers []said
		content func() io.Reader
		within  time.Duration
		status  int
		sent    []time.Duration
	}{
		"by default":          {0, []said{short}, nil, time.Hour, 429, []time.Duration{0}},
		"once":                {1, []said{short}, nil, time.Hour, 200, []time.Duration{0, 3 * time.Second}},
		"with its body":       {1, []said{short}, replayed, time.Hour, 200, []time.Duration{0, 3 * time.Second}},
		"not enough":          {1, []said{short, reply(429, "Retry-After", "2")}, nil, time.Hour, 429, []time.Duration{0, 3 * time.Second}},
		"often":               {3, []said{short, reply(503, "Retry-After", "2"), reply(429, "Retry-After", "0")}, replayed, time.Hour, 200, []time.Duration{0, 3 * time.Second, 5 * time.Second, 5 * time.Second}},
		"without Retry-After": {3, []said{reply(429)}, nil, time.Hour, 429, []time.Duration{0}},
		"another status":      {3, []said{reply(500, "Retry-After", "1")}, nil, time.Hour, 500, []time.Duration{0}},
		"longer than pauses":  {3, []said{long}, nil, 2 * time.Hour, 503, []time.Duration{0}},
		"beyond its deadline": {3, []said{short}, nil, 2 * time.Second, 429, []time.Duration{0}},
		"a body that is gone": {3, []said{short}, func() io.Reader { return io.NopCloser(strings.NewReader("hello")) }, time.Hour, 429, []time.Duration{0}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, core.NewPolicy("p", core.PerSecond(1000)), func(t *testing.T, o *otherSide, client *http.Client) {
				begun := time.Now()
				o.answers = c.answers
				ctx, cancel := context.WithTimeout(t.Context(), c.within)
				defer cancel()
				var content io.Reader
				if c.content != nil {
					content = c.content()
				}
				status, err := send(ctx, client, http.MethodPost, "https://a.example/", content)
				if status != c.status || err != nil {
					t.Errorf("%d, %v, want %d", status, err, c.status)
				}
				wantSent(t, o, begun, c.sent...)
				for _, b := range o.bodies {
					if b != "hello" {
						t.Errorf("body %q", b)
					}
				}
			}, httplimit.WithRetries(c.retries))
		})
	}
}

// A retry that the limit has no room for in time is an error, and leaves nothing open.
func TestTransportRetryTooLate(t *testing.T) {
	inBubble(t, core.NewPolicy("p", core.PerMinute(1)), func(t *testing.T, o *otherSide, client *http.Client) {
		o.answers = []said{reply(429, "Retry-After", "1")}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var limited *core.LimitedError
		if _, err := send(ctx, client, http.MethodPost, "https://a.example/", strings.NewReader("x")); !errors.As(err, &limited) {
			t.Errorf("%v, want a LimitedError", err)
		}
	}, httplimit.WithRetries(1))
}

func TestTransportKey(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"https://a.example/1", "https://A.EXAMPLE:443/2?q", true},
		{"http://a.example/", "http://a.example:80", true},
		{"http://a.example/", "http://b.example/", false},
		{"http://a.example/", "http://a.example:8080", false},
		{"http://a.example:443/", "https://a.example/", false},
		{"http://[2001:db8::1]/", "http://[2001:DB8::1]:80/", true},
	} {
		inBubble(t, core.NewPolicy("p", core.PerHour(1)), func(t *testing.T, _ *otherSide, client *http.Client) {
			if _, err := fetch(t, client, c.a); err != nil {
				t.Fatal(err)
			}
			if _, err := fetch(t, client, c.b); (err != nil) != c.same {
				t.Errorf("%s and %s: %v", c.a, c.b, err)
			}
		}, httplimit.WithoutWait())
	}
}

// Processes that share a store share the limit, over a real network.
func TestTransportFleet(t *testing.T) {
	var served atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		_, _ = io.Copy(w, r.Body)
	}))
	defer server.Close()
	s := core.NewMemory()
	defer s.Close()
	p := core.NewPolicy("p", core.PerHour(20))
	var calls sync.WaitGroup
	var failed atomic.Int64
	for range 4 {
		limiter := core.New(sharedStore{s})
		defer limiter.Close()
		base := &http.Transport{}
		client := &http.Client{Transport: httplimit.NewTransport(limiter, p, httplimit.WithBase(base)), Timeout: time.Minute}
		defer client.CloseIdleConnections()
		for range 10 {
			calls.Go(func() {
				resp, err := client.Post(server.URL, "text/plain", strings.NewReader("hello"))
				if err != nil {
					failed.Add(1)
					return
				}
				defer resp.Body.Close()
				if text, err := io.ReadAll(resp.Body); string(text) != "hello" || err != nil {
					t.Errorf("%q, %v", text, err)
				}
			})
		}
	}
	calls.Wait()
	if served.Load() != 20 || failed.Load() != 20 {
		t.Errorf("%d served, %d failed, want 20 each", served.Load(), failed.Load())
	}
}

// sharedStore is a store of several limiters, which close it later.
type sharedStore struct{ core.Store }

func (sharedStore) Close() error { return nil }

func TestTransportMisuse(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	p := core.NewPolicy("p", core.PerHour(1))
	for name, f := range map[string]func(){
		"limiter": func() { httplimit.NewTransport(nil, p) },
		"policy":  func() { httplimit.NewTransport(limiter, nil) },
		"option":  func() { httplimit.NewTransport(limiter, p, nil) },
		"slots":   func() { httplimit.NewTransport(limiter, core.NewConcurrency("p", 1, time.Minute)) },
		"base":    func() { httplimit.WithBase(nil) },
		"key":     func() { httplimit.WithRequestKey(nil) },
		"pause":   func() { httplimit.WithMaxPause(0) },
		"retries": func() { httplimit.WithRetries(-1) },
		"both":    func() { httplimit.NewTransport(limiter, p, httplimit.WithRetries(1), httplimit.WithoutWait()) },
	} {
		func() {
			defer func() {
				if text := fmt.Sprint(recover()); !strings.HasPrefix(text, "httplimit: ") {
					t.Errorf("%s: %s", name, text)
				}
			}()
			f()
		}()
	}
	httplimit.NewTransport(limiter, p, httplimit.WithBase(http.DefaultTransport), httplimit.WithMaxPause(time.Second))
	if len(limiter.Policies()) != 1 {
		t.Error("the policy is not registered")
	}
}
