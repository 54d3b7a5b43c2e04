package adaptertest

import (
	"fmt"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
)

// keepAliveRequests is enough requests for a framework that reuses memory to overwrite
// everything that was not copied.
const keepAliveRequests = 1000

func checkKeepAlive(t *testing.T, s suite) {
	limiter, store := newSpy(t)
	param := func(v visit) (string, error) { return v.param("id"), nil }
	both := byAll(byFunc("id", param), byFunc("user", user), byHeader("X-API-Key"))
	outer := limit{limiter, core.NewPolicy("outer", core.PerMinute(1)), options{key: byFunc("id", param)}}
	inner := limit{limiter, core.NewPolicy("inner", core.PerMinute(1)), options{key: both}}
	w := s.openRoute(t, outer, inner)

	var dialled int
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if !info.Reused {
			dialled++
		}
	}})
	visitor := func(i int) (id, user, credential string) {
		return fmt.Sprintf("%04d-%x", i, i*i), fmt.Sprintf("user-%d", i*7919), fmt.Sprintf("secret-%d", i)
	}
	ask := func(i int) response {
		id, user, credential := visitor(i)
		r, err := w.askIn(ctx, http.MethodGet, "/"+id, "X-User: "+user, "X-API-Key: "+credential)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for i := range keepAliveRequests {
		ask(i).want(http.StatusOK)
	}
	// On a busy machine the client closes a connection sometimes.
	if dialled > keepAliveRequests/100 {
		t.Fatalf("%d connections for %d requests, want 1", dialled, keepAliveRequests)
	}
	// The record of the first request must be unchanged after the last one.
	var kept []string
	for i, decisions := range w.passed {
		id, user, credential := visitor(i)
		want, err := adapter.JoinKeys("id="+id, "user="+user, digest("x-api-key", credential))
		if err != nil {
			t.Fatal(err)
		}
		if len(decisions) != 2 || decisions[0].Key != "id="+id || decisions[1].Key != want {
			t.Fatalf("request %d left the decisions %+v", i, decisions)
		}
		kept = append(kept, "id="+id, want)
	}
	if !slices.Equal(store.asked(), kept) {
		t.Error("keys that the store was given have changed since")
	}
	for i := range keepAliveRequests {
		ask(i).wantDeniedBy("outer")
	}
}

func checkConcurrent(t *testing.T, s suite) {
	const requests, most, clients = 200, 50, 20
	limiter, _ := newLimiter(t)
	w := s.open(t, app{
		limits: []limit{{limiter: limiter, policy: core.NewPolicy("app", core.PerMinute(requests))}},
		groups: []group{{routes: []route{{path: "/", limits: []limit{{limiter: limiter, policy: core.NewPolicy("api", core.PerMinute(most))}}}}}},
	})
	var admitted, denied atomic.Int64
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			for range requests / clients {
				r, err := w.ask(http.MethodGet, "/")
				switch {
				case err != nil:
					t.Error(err)
				case r.status == http.StatusOK:
					admitted.Add(1)
				case r.status == http.StatusTooManyRequests:
					denied.Add(1)
				default:
					t.Errorf("status %d", r.status)
				}
			}
		})
	}
	group.Wait()
	if admitted.Load() != most || denied.Load() != requests-most || w.handled() != most {
		t.Errorf("%d admitted, %d denied and %d handled, want %d, %d and %d",
			admitted.Load(), denied.Load(), w.handled(), most, requests-most, most)
	}
	// The app has counted each request once: the next one is denied.
	w.get("/").wantDeniedBy("app")
	left := map[int64]bool{}
	for _, decisions := range w.passed {
		left[decisions[1].Remaining] = true
	}
	if len(left) != most {
		t.Errorf("%d different numbers of requests left, want %d", len(left), most)
	}
}

func checkPanics(t *testing.T, s suite) {
	boom := func(v visit, where string) {
		if v.header("X-Panic") == where {
			panic("panic in " + where)
		}
	}
	limiter, _ := newLimiter(t)
	w := s.openRoute(t, limit{limiter, core.NewPolicy("api", core.PerMinute(2), core.VariableCost()), options{
		key:  byFunc("user", func(v visit) (string, error) { boom(v, "key"); return v.header("X-User"), nil }),
		cost: func(v visit) (int64, error) { boom(v, "cost"); return 1, nil },
		skip: func(v visit) bool { boom(v, "skip"); return false },
		tier: func(v visit) *core.Policy { boom(v, "tier"); return nil },
		denied: func(v visit, _ core.Decision) error {
			boom(v, "denied")
			return v.answer(http.StatusTooManyRequests, "no")
		},
		failed: func(v visit, _ error) error { boom(v, "failed"); return v.answer(http.StatusUnauthorized, "no") },
	}})
	for _, where := range []string{"key", "cost", "skip", "tier"} {
		w.get("/1", "X-User: alice", "X-Panic: "+where).want(http.StatusInternalServerError)
	}
	w.get("/1", "X-Panic: failed").want(http.StatusInternalServerError)
	w.get("/1").want(http.StatusUnauthorized)
	if w.handled() != 0 {
		t.Error("a request came through a panic")
	}
	// These requests took nothing.
	w.get("/1", "X-User: alice").want(http.StatusOK).wantField("RateLimit", `"api";r=1;t=60`)
	w.get("/1", "X-User: alice").want(http.StatusOK)
	w.get("/1", "X-User: alice", "X-Panic: denied").want(http.StatusInternalServerError)
	w.get("/1", "X-User: alice").want(http.StatusTooManyRequests)
	w.get("/1", "X-User: bob").want(http.StatusOK)
}
