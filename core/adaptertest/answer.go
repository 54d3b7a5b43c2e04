package adaptertest

import (
	"net/http"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

func checkDeniedAnswer(t *testing.T, s suite) {
	limiter, clock := newLimiter(t)
	w := s.openRoute(t, limit{limiter: limiter, policy: core.NewPolicy("strict", core.Per(5, 10*time.Second))})
	for i, left := range []string{"4", "3", "2", "1", "0"} {
		w.get("/1").want(http.StatusOK).
			wantField("RateLimit-Policy", `"strict";q=5;w=10`).
			wantField("RateLimit", `"strict";r=`+left+`;t=10`).
			wantField("Retry-After", "")
		if w.handled() != i+1 {
			t.Fatalf("%d requests handled, want %d", w.handled(), i+1)
		}
	}
	clock.advance(3900 * time.Millisecond) // a wait of 6.1 s is 7 whole seconds
	w.get("/1").want(http.StatusTooManyRequests).
		wantField("RateLimit-Policy", `"strict";q=5;w=10`).
		wantField("RateLimit", `"strict";r=0;t=7`).
		wantField("Retry-After", "7").
		wantProblem(`{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Too Many Requests","status":429,` +
			`"detail":"5 requests per 10s; retry in 7s","violated-policies":["strict"]}`)
	clock.advance(6099 * time.Millisecond)
	w.get("/1").wantDeniedBy("strict").wantField("Retry-After", "1")
	if w.handled() != 5 {
		t.Errorf("%d requests handled, want 5: a denied one must not come through", w.handled())
	}
	clock.advance(time.Millisecond)
	w.get("/1").want(http.StatusOK)
}

func checkDeniedByOneOfTwo(t *testing.T, s suite) {
	limiter, clock := newLimiter(t)
	w := s.openRoute(t, limit{limiter: limiter, policy: core.NewPolicy("search", core.PerSecond(1), core.PerHour(2))})
	w.get("/1").want(http.StatusOK).wantField("RateLimit", `"search";r=0;t=1, "search-hour";r=1;t=3600`)
	w.get("/1").wantDeniedBy("search").
		wantField("Retry-After", "1").
		wantField("RateLimit", `"search";r=0;t=1, "search-hour";r=1`) // an hour is later than Retry-After
	clock.advance(time.Second)
	w.get("/1").want(http.StatusOK)
	w.get("/1").wantDeniedBy("search", "search-hour").
		wantField("Retry-After", "3599").
		wantField("RateLimit", `"search";r=0;t=1, "search-hour";r=0;t=3599`)
	clock.advance(time.Second)
	w.get("/1").wantDeniedBy("search-hour")
}

func checkHead(t *testing.T, s suite) {
	limiter, _ := newLimiter(t)
	w := s.openRoute(t, limit{limiter: limiter, policy: core.NewPolicy("api", core.PerMinute(1))})
	r := w.do(http.MethodHead, "/1").want(http.StatusOK).wantField("RateLimit", `"api";r=0;t=60`)
	if r.body != "" {
		t.Errorf("body %q in answer to HEAD", r.body)
	}
	r = w.do(http.MethodHead, "/1").want(http.StatusTooManyRequests).
		wantField("Retry-After", "60").
		wantField("Content-Type", "application/problem+json")
	if r.body != "" {
		t.Errorf("body %q in answer to HEAD", r.body)
	}
	// A client would read a body sent here as the start of the next response.
	w.get("/1").wantDeniedBy("api")
}
