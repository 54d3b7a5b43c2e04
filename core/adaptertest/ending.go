package adaptertest

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"
)

// Ending is a way in which a handler ends, in the framework's own form. The handler's
// route gets one request.
type Ending[C, M any] struct {
	// Without is the reason why the framework has no such ending. The other fields are
	// empty then.
	Without string

	Use     []M // between the limit and the handler
	Handler func(c C) error
	Saw     int // the status that the client sees, 0 if it sees none
}

// The endings that an adapter's test supplies.
const (
	// EndAbort ends the request early: by http.ErrAbortHandler, or by a method of the
	// framework.
	EndAbort = "abort"
	// EndHijack takes over the connection and switches protocols.
	EndHijack = "hijack"
	// EndStream sends a status below 400 and a part of the body. Then it fails, if the
	// framework allows it.
	EndStream = "stream"
	// EndTimeout is middleware that responds in place of a handler that waits for the end
	// of its context.
	EndTimeout = "timeout"
	// EndRewritten is middleware that changes the handler's 200 to 412.
	EndRewritten = "rewritten"
	// EndLatePanic responds with 200 and then panics.
	EndLatePanic = "late panic"
	// EndHints sends an informational status, and then 404.
	EndHints = "early hints"
)

// Switching is the response of a handler that has taken over the connection.
const Switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n"

var endings = []string{EndAbort, EndHijack, EndStream, EndTimeout, EndRewritten, EndLatePanic, EndHints}

// ending is how a request ends, and the status it counts as.
type ending struct {
	name    string
	handler func(visit) error // nil for an ending of the adapter
	saw     int               // by the client; 0 for nothing
	counts  int               // the status for the limit
}

// taken returns the units that a request takes.
const taken = 20

// reckoning is a correction by a limit after a request.
type reckoning struct {
	name string
	options
	charged func(status int) int64
}

var reckonings = []reckoning{
	{"refund on success", options{refundOn: "success"}, func(status int) int64 {
		if status < 400 {
			return 0
		}
		return taken
	}},
	{"refund on failure", options{refundOn: "failure"}, func(status int) int64 {
		if status < 400 {
			return taken
		}
		return 0
	}},
	{"settle", options{used: func(_ visit, status int) int64 { return used(status) }}, used},
}

// used returns the units that a request with a status has used.
func used(status int) int64 {
	if status < 400 {
		return 5
	}
	return 2
}

// The charge of a request matches the status that its client saw, for every ending.
func checkEndings(t *testing.T, s suite) {
	all := []ending{
		{"return", func(v visit) error { return v.answer(http.StatusOK, "ok") }, 200, 200},
		{"return 404", func(v visit) error { return v.answer(http.StatusNotFound, "no") }, 404, 404},
		{"return nothing", func(visit) error { return nil }, 200, 200},
		{"error", func(visit) error { return errors.New("no database today") }, 500, 500},
		{"panic", func(visit) error { panic("panic in a handler") }, 500, 500},
		// The response is written, but no client reads it.
		{"client gone", nil, 0, 200},
	}
	for _, name := range endings {
		own := s.endings[name]
		if own.without != "" {
			t.Logf("%s is left out: %s", name, own.without)
			continue
		}
		counts := own.saw
		if counts == 0 {
			counts = http.StatusInternalServerError
		}
		all = append(all, ending{name, nil, own.saw, counts})
	}
	for _, e := range all {
		for _, r := range reckonings {
			t.Run(e.name+", "+r.name, func(t *testing.T) { s.checkEnding(t, e, r) })
		}
	}
}

func (s suite) checkEnding(t *testing.T, e ending, r reckoning) {
	limiter, store := newSpy(t)
	policy := tokens("tokens")
	o := r.options
	o.cost = func(visit) (int64, error) { return taken, nil }
	// The outer limit gets the status after the inner limit is done.
	outer, _ := newLimiter(t)
	ended := make(chan int, 1)
	limits := []limit{
		{outer, refundable(), options{refund: func(_ visit, status int) bool { ended <- status; return false }}},
		{limiter, policy, o},
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	shown := route{path: "/", limits: limits, handler: e.handler, ending: e.name}
	left := make(chan struct{})
	if e.name == "client gone" {
		shown.handler = func(v visit) error {
			cancel()
			<-left
			waitGone(t, v)
			return v.answer(http.StatusOK, "too late")
		}
	}
	w := s.open(t, app{groups: []group{{routes: []route{shown}}}})
	answer, err := w.askIn(ctx, http.MethodGet, "/")
	close(left)
	if answer.status != e.saw || (err != nil) != (e.saw == 0) {
		t.Errorf("the client saw %d, %v; want %d", answer.status, err, e.saw)
	}
	select {
	case status := <-ended:
		if status != e.counts {
			t.Errorf("the limit was given %d, want %d", status, e.counts)
		}
	case <-time.After(patience):
		t.Fatal("the limit has not seen the end of the request")
	}
	d, err := limiter.Peek(t.Context(), policy, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	charged, want := 100-d.Remaining, r.charged(e.counts)
	if charged != want {
		t.Errorf("charged %d units, want %d", charged, want)
	}
	if want != taken {
		store.wantSettled(t, want-taken)
	} else {
		store.wantSettled(t)
	}
	t.Logf("the client saw %d, %d of %d units were charged", answer.status, charged, taken)
}

// waitGone waits until the handler can see that its client has left, in a framework that
// supports it.
func waitGone(t *testing.T, v visit) {
	done := v.context().Done()
	if done == nil {
		return
	}
	select {
	case <-done:
	case <-time.After(patience):
		t.Error("the context of a client that has gone is not done")
	}
}
