package adaptertest

import (
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// A request holds a slot while its handler runs. What it finds with others in flight is
// what the response says.
func checkSlots(t *testing.T, s suite) {
	limiter, _ := newLimiter(t)
	uploads := core.NewConcurrency("uploads", 2, 30*time.Second)
	inside, leave := make(chan struct{}), make(chan struct{})
	w := s.open(t, app{groups: []group{{routes: []route{
		{path: "/slow", limits: []limit{{limiter: limiter, policy: uploads}}, handler: func(v visit) error {
			inside <- struct{}{}
			<-leave
			return v.answer(http.StatusOK, "done")
		}},
		{path: "/fast", limits: []limit{{limiter: limiter, policy: uploads}, {limiter: limiter, policy: uploads}}},
	}}}})
	var slow sync.WaitGroup
	slow.Go(func() {
		w.get("/slow").want(http.StatusOK).
			wantField("RateLimit-Policy", `"uploads";q=2;qu="concurrent-requests"`).
			wantField("RateLimit", `"uploads";r=1`)
	})
	<-inside
	// A request takes one slot, also behind two limits.
	for range 3 {
		w.get("/fast").want(http.StatusOK).wantField("RateLimit", `"uploads";r=0`)
	}
	slow.Go(func() { w.get("/slow").want(http.StatusOK) })
	<-inside
	w.get("/fast").want(http.StatusTooManyRequests).
		wantField("RateLimit-Policy", `"uploads";q=2;qu="concurrent-requests"`).
		wantField("RateLimit", `"uploads";r=0`).
		wantField("Retry-After", "").
		wantProblem(`{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Too Many Requests","status":429,` +
			`"detail":"2 in flight; retry when one has ended","violated-policies":["uploads"]}`)
	leave <- struct{}{}
	leave <- struct{}{}
	slow.Wait()
	w.get("/fast").want(http.StatusOK)
}

// A slot is free however the request ends.
func checkSlotEndings(t *testing.T, s suite) {
	endings := map[string]func(visit) error{
		"return": func(v visit) error { return v.answer(http.StatusOK, "ok") },
		"error":  func(visit) error { return errors.New("no database today") },
		"panic":  func(visit) error { panic("panic in a handler") },
	}
	for name, own := range s.endings {
		if own.without == "" {
			endings[name] = nil
		}
	}
	for name, handler := range endings {
		t.Run(name, func(t *testing.T) {
			limiter, _ := newLimiter(t)
			p := core.NewConcurrency("uploads", 1, 30*time.Second)
			shown := route{path: "/", limits: []limit{{limiter: limiter, policy: p}}, handler: handler}
			if handler == nil {
				shown.ending = name
			}
			w := s.open(t, app{groups: []group{{routes: []route{shown}}}})
			_, _ = w.askIn(t.Context(), http.MethodGet, "/")
			waitFree(t, limiter, p, 1)
		})
	}
	t.Run("panic of WithSettle", func(t *testing.T) {
		limiter, store := newSpy(t)
		p := core.NewConcurrency("uploads", 1, 30*time.Second)
		w := s.openRoute(t, limit{limiter, tokens("tokens"), options{
			also: []also{{p, byAddress()}},
			cost: units,
			used: func(visit, int) int64 { panic("panic in a function") },
		}})
		_, _ = w.askIn(t.Context(), http.MethodGet, "/1", "X-Cost: 20")
		waitFree(t, limiter, p, 1)
		store.wantSettled(t)
	})
	t.Run("with a rate", func(t *testing.T) {
		limiter, _ := newLimiter(t)
		p := core.NewConcurrency("uploads", 1, 30*time.Second)
		rate := core.NewPolicy("rate", core.PerMinute(1))
		w := s.openRoute(t, limit{limiter: limiter, policy: p, options: options{also: []also{{rate, byAddress()}}}})
		w.get("/1").want(http.StatusOK).
			wantField("RateLimit-Policy", `"uploads";q=1;qu="concurrent-requests", "rate";q=1;w=60`).
			wantField("RateLimit", `"uploads";r=0, "rate";r=0;t=60`)
		w.get("/1").wantDeniedBy("rate").wantField("Retry-After", "60")
		waitFree(t, limiter, p, 1)
	})
}

// waitFree waits until so many slots are free. A release can follow the response.
func waitFree(t *testing.T, limiter *core.Limiter, p *core.Policy, want int64) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		d, err := limiter.Peek(t.Context(), p, "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		if d.Remaining == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d slots are free, want %d", d.Remaining, want)
		}
	}
}
