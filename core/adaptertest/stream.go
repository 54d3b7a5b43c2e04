package adaptertest

import (
	"context"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// A request goes on until its stream has ended, even if its client has left. Then the
// request is settled at what it used, and its slot is free.
func checkStreams(t *testing.T, s suite) {
	t.Run("to the end", func(t *testing.T) { s.checkStream(t, false, false) })
	t.Run("client gone", func(t *testing.T) { s.checkStream(t, true, false) })
	t.Run("charged outside", func(t *testing.T) { s.checkStream(t, false, true) })
}

// checkStream checks one stream. The client leaves before its end, or a limit outside of
// the one that settles has charged the request.
func (s suite) checkStream(t *testing.T, leaves, outside bool) {
	slots, _ := newLimiter(t)
	streams := core.NewConcurrency("streams", 1, 30*time.Second)
	limiter, store := newSpy(t)
	var used atomic.Int64
	more := make(chan struct{})
	settles := options{
		cost: units,
		used: func(v visit, status int) int64 {
			if d, ok := v.fromContext(); !ok || d.Policy.Name() != "tokens" || status != http.StatusOK || v.header("X-Cost") != "20" {
				t.Errorf("the function got the decision %+v, status %d and cost %s", d, status, v.header("X-Cost"))
			}
			return used.Load()
		},
	}
	policy := tokens("tokens")
	limits := []limit{{limiter: slots, policy: streams}, {limiter, policy, settles}}
	if outside {
		limits = slices.Insert(limits, 1, limit{limiter, policy, options{cost: units}})
	}
	w := s.open(t, app{groups: []group{{routes: []route{{
		path:   "/",
		limits: limits,
		handler: func(v visit) error {
			return v.stream(func(w io.Writer, flush func()) {
				_, _ = io.WriteString(w, "begun")
				flush()
				<-more
				used.Store(30)
				_, _ = io.WriteString(w, ", ended")
				flush()
			})
		},
	}}}}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Cost", "20")
	resp, err := w.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, len("begun"))); err != nil {
		t.Fatal(err)
	}
	waitFree(t, slots, streams, 0)
	w.get("/", "X-Cost: 20").want(http.StatusTooManyRequests)
	store.wantSettled(t)
	if leaves {
		cancel()
		close(more)
	} else {
		close(more)
		if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != ", ended" {
			t.Errorf("%q, %v", rest, err)
		}
	}
	select {
	case units := <-store.settled:
		if units != 10 {
			t.Errorf("a correction of %d units, want 10", units)
		}
	case <-time.After(patience):
		t.Fatal("the request is not settled")
	}
	waitFree(t, slots, streams, 1)
	store.wantSettled(t)
}
