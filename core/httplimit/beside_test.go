package httplimit_test

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/httplimit"
)

// A handler may serve parts of its request concurrently, such as a batch. All parts can
// read the record of the outer limit. Each response has its own fields, even without a
// decision by the inner limit.
func TestPartsBesideEachOther(t *testing.T) {
	limiter := core.New(core.NewMemory())
	t.Cleanup(func() { limiter.Close() })
	outer := httplimit.New(limiter, core.NewPolicy("outer", core.PerHour(1_000_000)))
	inner := httplimit.New(limiter, core.NewPolicy("inner", core.PerHour(1_000_000)), httplimit.WithKey(httplimit.ByHeader("X-API-Key")))
	part := inner(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	batch := outer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				w := httptest.NewRecorder()
				part.ServeHTTP(w, r)
				if w.Code != http.StatusUnauthorized || len(w.Header()["Ratelimit"]) != 1 || len(w.Header()["Ratelimit-Policy"]) != 1 {
					t.Errorf("status %d, fields %v", w.Code, w.Header())
				}
			})
		}
		all.Wait()
	}))
	for begin := time.Now(); time.Since(begin) < 300*time.Millisecond; {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		batch.ServeHTTP(httptest.NewRecorder(), r)
	}
}

// A handler can change one field of a response without changing another.
func TestFieldsCanBeAddedTo(t *testing.T) {
	limiter := core.New(core.NewMemory())
	t.Cleanup(func() { limiter.Close() })
	limit := httplimit.New(limiter, core.NewPolicy("p", core.PerHour(10)), httplimit.WithHeaders(core.HeadersIETF, core.HeadersX))
	w := httptest.NewRecorder()
	before := http.Header{}
	limit(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		before = w.Header().Clone()
		for name := range before {
			w.Header().Add(name, "more")
		}
	})).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	if len(before) != 5 {
		t.Fatalf("fields %v, want 5", before)
	}
	for name := range before {
		if got := w.Header()[name]; len(got) != 2 || got[0] != before.Get(name) || got[1] != "more" {
			t.Errorf("%s: %q, want what was there and one more", name, got)
		}
	}
}
