package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/httplimit"
)

// site is a gateway before a model, with a clock that moves when told to.
type site struct {
	t       *testing.T
	limiter *core.Limiter
	url     string
	ahead   atomic.Int64 // of the clock, nanoseconds
}

// open serves a gateway before a model.
func open(t *testing.T, model http.Handler) *site {
	t.Helper()
	s := &site{t: t}
	begun := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	s.limiter = core.New(core.NewMemory(core.WithClock(func() time.Time { return begun.Add(time.Duration(s.ahead.Load())) })))
	t.Cleanup(func() { s.limiter.Close() })
	behind := httptest.NewServer(model)
	t.Cleanup(behind.Close)
	server := httptest.NewServer(newGateway(s.limiter, behind.URL, []string{"ann", "bob"}, keyLimits()))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// ask asks for a completion. The body is the caller's to close.
func (s *site) ask(ctx context.Context, key, body string) *http.Response {
	s.t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp
}

// want asks for a completion, checks the status and returns the whole answer.
func (s *site) want(status int, key, body string) (string, http.Header) {
	s.t.Helper()
	resp := s.ask(s.t.Context(), key, body)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		s.t.Fatalf("status %d, %v, want %d: %s", resp.StatusCode, err, status, text)
	}
	return string(text), resp.Header
}

// used returns what a key has used of each limit: requests, tokens a minute, tokens a month.
func (s *site) used(key string) string {
	s.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.Header.Set("Authorization", "Bearer "+key)
	id, err := httplimit.KeyFunc(s.limiter, httplimit.ByBearer())(r)
	if err != nil {
		s.t.Fatal(err)
	}
	var all []string
	for _, name := range []string{"requests", "tokens", "month"} {
		p, _ := s.limiter.Policy(name)
		d, err := s.limiter.Peek(s.t.Context(), p, id)
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, fmt.Sprint(d.Limit.Max-d.Remaining))
	}
	return strings.Join(all, " ")
}

func (s *site) wantUsed(key, want string) {
	s.t.Helper()
	// The charge is corrected after the client has its answer.
	for until := time.Now().Add(10 * time.Second); s.used(key) != want && time.Now().Before(until); {
		time.Sleep(time.Millisecond)
	}
	if got := s.used(key); got != want {
		s.t.Errorf("%s has used %s, want %s", key, got, want)
	}
}

func (s *site) wantField(h http.Header, name, want string) {
	s.t.Helper()
	if got := h.Get(name); got != want {
		s.t.Errorf("%s: %q, want %q", name, got, want)
	}
}

const count = `{"messages":[{"role":"user","content":"count to 7"}],"max_tokens":500,"stream":true}`

// A stream takes its estimate, and is settled at what the model says. The prompt has ten
// bytes, three tokens by the estimate, and three words, which the model counts.
func TestStream(t *testing.T) {
	s := open(t, fakeModel{})
	text, fields := s.want(http.StatusOK, "ann", count)
	if n := strings.Count(text, `"content"`); n != 7 || !strings.HasSuffix(text, "data: [DONE]\n\n") || !strings.Contains(text, `"total_tokens":10`) {
		t.Errorf("%d tokens: %s", n, text)
	}
	s.wantField(fields, "Content-Type", "text/event-stream")
	for name, want := range map[string]string{
		"X-RateLimit-Limit-Requests": "60", "X-RateLimit-Remaining-Requests": "59", "X-RateLimit-Reset-Requests": "1m0s",
		"X-RateLimit-Limit-Tokens": "100000", "X-RateLimit-Remaining-Tokens": "99497", "X-RateLimit-Reset-Tokens": "1m0s",
	} {
		s.wantField(fields, name, want)
	}
	if got, want := fields.Get("RateLimit-Policy"), `"requests";q=60;w=60, "in-flight";q=5;qu="concurrent-requests", "tokens";q=100000;w=60;qu="tokens", "month";q=5000000;qu="tokens"`; got != want {
		t.Errorf("RateLimit-Policy: %s, want %s", got, want)
	}
	s.wantUsed("ann", "1 10 10")
	s.wantUsed("bob", "0 0 0")
}

// An answer in one piece is settled too.
func TestWhole(t *testing.T) {
	s := open(t, fakeModel{})
	text, _ := s.want(http.StatusOK, "ann", `{"messages":[{"role":"user","content":"count to 7"}],"n":4}`)
	if !strings.Contains(text, `"content":"1 2 3 4 5 6 7"`) {
		t.Error(text)
	}
	s.wantUsed("ann", "1 10 10")
}

// endless is a model whose stream ends when the gateway ends it.
type endless struct {
	first   int           // tokens that it sends
	again   chan int      // and more of them
	stopped chan struct{} // is closed at the end
}

func newEndless(first int) *endless {
	return &endless{first, make(chan int), make(chan struct{})}
}

func (e *endless) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer close(e.stopped)
	_, _ = io.Copy(io.Discard, r.Body) // so that the server sees the client leave
	send := func(n int) {
		for range n {
			fmt.Fprint(w, "data: {\"choices\":[{\"delta\":{\"content\":\"word \"}}]}\n\n")
		}
		_ = http.NewResponseController(w).Flush()
	}
	w.Header().Set("Content-Type", "text/event-stream")
	send(e.first)
	for {
		select {
		case n, more := <-e.again:
			if !more {
				fmt.Fprint(w, "data: {\"choices\":[],\"usage\":{\"total_tokens\":90}}\n\n")
				return
			}
			send(n)
		case <-r.Context().Done():
			return
		}
	}
}

// readEvents reads n events of a stream.
func readEvents(t *testing.T, from *bufio.Reader, n int) {
	t.Helper()
	for n > 0 {
		line, err := from.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(line, "data: ") {
			n--
		}
	}
}

// Who hangs up is charged for what has come, and the model's work ends.
func TestHangUp(t *testing.T) {
	model := newEndless(5)
	s := open(t, model)
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	resp := s.ask(ctx, "ann", count)
	defer resp.Body.Close()
	readEvents(t, bufio.NewReader(resp.Body), 5)
	s.wantUsed("ann", "1 503 503") // the estimate, as long as the stream lasts
	hangUp()
	select {
	case <-model.stopped:
	case <-time.After(10 * time.Second):
		t.Fatal("the model works on")
	}
	s.wantUsed("ann", "1 8 8")
}

// A stream that outlasts the minute is no longer of the minute's limit, and still corrects the
// longer one.
func TestOutlastsWindow(t *testing.T) {
	model := newEndless(5)
	s := open(t, model)
	resp := s.ask(t.Context(), "ann", count)
	defer resp.Body.Close()
	events := bufio.NewReader(resp.Body)
	readEvents(t, events, 5)
	s.ahead.Add(int64(2 * time.Minute))
	s.wantUsed("ann", "0 0 503")
	model.again <- 3
	readEvents(t, events, 3)
	close(model.again)
	readEvents(t, events, 1)
	<-model.stopped
	s.wantUsed("ann", "0 0 90")
}

// A key has five requests in flight. The sixth is denied, and takes nothing. The end of a
// stream makes room at once.
func TestInFlight(t *testing.T) {
	s := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { newEndless(1).ServeHTTP(w, r) }))
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	for range 5 {
		resp := s.ask(ctx, "ann", count)
		defer resp.Body.Close()
		readEvents(t, bufio.NewReader(resp.Body), 1)
	}
	_, fields := s.want(http.StatusTooManyRequests, "ann", count)
	s.wantField(fields, "Retry-After", "")
	s.wantUsed("ann", "5 2515 2515")
	hangUp()
	s.wantUsed("ann", "5 20 20")
	last, cancel := context.WithCancel(t.Context())
	defer cancel()
	resp := s.ask(last, "ann", count)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("after the streams have ended: %d", resp.StatusCode)
	}
}

// A request that the tokens have no room for takes nothing of the others.
func TestDenied(t *testing.T) {
	s := open(t, fakeModel{})
	ctx, hangUp := context.WithCancel(t.Context())
	model := newEndless(1)
	long := open(t, model)
	resp := long.ask(ctx, "ann", `{"messages":[{"content":"x"}],"max_tokens":99000,"stream":true}`)
	defer resp.Body.Close()
	text, fields := long.want(http.StatusTooManyRequests, "ann", `{"messages":[{"content":"x"}],"max_tokens":1000}`)
	var problem core.Problem
	if err := json.Unmarshal([]byte(text), &problem); err != nil || problem.Detail != "100000 tokens per minute; retry in 60s" {
		t.Errorf("%v, %s", err, text)
	}
	long.wantField(fields, "Retry-After", "60")
	long.wantField(fields, "X-RateLimit-Remaining-Requests", "59")
	long.wantField(fields, "X-RateLimit-Remaining-Tokens", "999")
	long.wantUsed("ann", "1 99001 99001")
	hangUp()
	<-model.stopped
	long.wantUsed("ann", "1 2 2")

	for range 60 {
		s.want(http.StatusOK, "bob", count)
	}
	_, fields = s.want(http.StatusTooManyRequests, "bob", count)
	s.wantField(fields, "X-RateLimit-Remaining-Requests", "0")
	s.wantUsed("bob", "60 600 600")
}

// A request that the model does not take costs no tokens.
func TestModelFails(t *testing.T) {
	s := open(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, `{"error":"out of order"}`)
	}))
	if text, fields := s.want(http.StatusInternalServerError, "ann", count); text != `{"error":"out of order"}` || fields.Get("Content-Type") != "application/json" {
		t.Error(text)
	}
	s.wantUsed("ann", "1 0 0")

	s = open(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	s.want(http.StatusBadGateway, "ann", count)
	s.wantUsed("ann", "1 0 0")

	// The provider's own limit is not the client's.
	s = open(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	_, fields := s.want(http.StatusServiceUnavailable, "ann", count)
	s.wantField(fields, "Retry-After", "3600")
	s.wantUsed("ann", "1 0 0")
}

func TestRefused(t *testing.T) {
	s := open(t, fakeModel{})
	for body, status := range map[string]int{
		`{`:              http.StatusBadRequest,
		`{}`:             http.StatusBadRequest,
		`{"messages":1}`: http.StatusBadRequest,
		`{"messages":[{"content":"x"}],"max_tokens":0}`:                     http.StatusBadRequest,
		`{"messages":[{"content":"x"}],"max_tokens":-9223372036854775808}`:  http.StatusBadRequest,
		`{"messages":[{"content":"x"}],"max_tokens":9223372036854775807}`:   http.StatusBadRequest,
		`{"messages":[{"content":"x"}],"max_tokens":100000}`:                http.StatusBadRequest, // with its prompt, above the limit
		`{"messages":[{"content":"` + strings.Repeat("x", maxBody) + `"}]}`: http.StatusRequestEntityTooLarge,
	} {
		s.want(status, "ann", body)
	}
	s.want(http.StatusUnauthorized, "mallory", count)
	s.want(http.StatusUnauthorized, "", count)
	s.wantUsed("ann", "0 0 0")
}
