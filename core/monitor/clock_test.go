package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

var skews = []time.Duration{-3 * time.Hour, -10 * time.Second, 10 * time.Second, 3 * time.Hour}

// skewedStore uses another clock than the test for its logs and its feed.
type skewedStore struct {
	core.Store
	ahead atomic.Int64

	mu      sync.Mutex
	ids     []string
	entries [][]byte
	asked   int
	err     error
}

func newSkewedStore(ahead time.Duration) *skewedStore {
	s := &skewedStore{}
	s.ahead.Store(int64(ahead))
	s.Store = core.NewMemory(core.WithClock(s.now))
	return s
}

func (s *skewedStore) now() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }

func (s *skewedStore) Now(context.Context) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.now(), s.err
}

func (s *skewedStore) AddEntry(_ context.Context, data []byte) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return time.Time{}, s.err
	}
	at := s.now()
	s.ids = append(s.ids, fmt.Sprintf("%d-%d", at.UnixMilli(), len(s.ids)))
	s.entries = append(s.entries, data)
	return at, nil
}

func (s *skewedStore) EntriesAfter(_ context.Context, after string, _ int, each func(id string, data []byte)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, id := range s.ids {
		if idTime(id) > idTime(after) || strings.Contains(after, "-") && i > position(s.ids, after) {
			each(id, s.entries[i])
		}
	}
	return s.err
}

func position(ids []string, id string) int {
	for i := range ids {
		if ids[i] == id {
			return i
		}
	}
	return len(ids)
}

func (s *skewedStore) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// streamed is a response that supports streaming.
type streamed struct{ *httptest.ResponseRecorder }

func (streamed) SetWriteDeadline(time.Time) error { return nil }
func (streamed) SetReadDeadline(time.Time) error  { return nil }

var forAll = WithAuthorize(func(*http.Request) bool { return true })

func ask(t *testing.T, page *Handler, path string) string {
	t.Helper()
	w := streamed{httptest.NewRecorder()}
	page.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	if w.Code != 200 {
		t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	return w.Body.String()
}

func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// All times on the page are by the feed's clock, whatever the machine's clock is.
func TestPageGoesByTheFeedsClock(t *testing.T) {
	for _, ahead := range skews {
		t.Run(ahead.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testPage(t, ahead) })
		})
	}
}

func testPage(t *testing.T, ahead time.Duration) {
	store := newSkewedStore(ahead)
	here, there := NewRecorder(store), NewRecorder(store)
	limiter := core.New(store, core.WithObserver(here))
	page := New(limiter, here, forAll)
	defer limiter.Close()
	defer there.Close()

	var stream string
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		stream = ask(t, page, "/api/live")
	}()
	// Each process makes one decision in the middle of each second of the feed's clock.
	const seconds = 20
	begun := store.now()
	time.Sleep(500 * time.Millisecond)
	for range seconds {
		if _, err := limiter.Allow(t.Context(), api, "k"); err != nil {
			t.Error(err)
		}
		there.Observe(observed(api, "k", core.ResultAllowed))
		time.Sleep(time.Second)
	}
	both := func(c Counts) bool { return c.Allowed == 2 && c.Total() == 2 }
	last := store.now().Truncate(time.Second).Add(-time.Second).UnixMilli()

	now := decode[state](t, ask(t, page, "/api/state"))
	if off := now.Now - store.now().UnixMilli(); off < -1000 || off > 0 {
		t.Errorf("the state is %d ms off", off)
	}
	if len(now.Processes) != 2 || now.Processes[0].Rate != 1 || now.Processes[1].Rate != 1 {
		t.Errorf("processes %+v", now.Processes)
	}
	if len(now.Policies) != 1 || now.Policies[0].Allowed != 2*seconds {
		t.Errorf("policies %+v", now.Policies)
	}

	past := decode[past](t, ask(t, page, "/api/history?minutes=5"))
	n := len(past.Policies["api"].Allowed)
	if end := past.From + int64(n-1)*past.Step; end < last-1000 || end > last {
		t.Errorf("history ends %d ms late", end-last)
	}
	for i, c := range past.Policies["api"].Allowed {
		if at := past.From + int64(i)*past.Step; (at >= begun.UnixMilli()) != (c == 2) {
			t.Errorf("%d allowed %d ms after the beginning", c, at-begun.UnixMilli())
		}
	}

	key := decode[shownKey](t, ask(t, page, "/api/key?policy=api&key=k"))
	if off := key.Now - store.now().UnixMilli(); off < -10 || off > 0 || len(key.Entries) != seconds {
		t.Errorf("the key is %d ms off, with %d entries", off, len(key.Entries))
	}
	for i, e := range key.Entries { // newest first
		if age := key.Now - e.Time; age < int64(i)*1000 || age > int64(i+1)*1000+10 {
			t.Errorf("entry %d is %d ms old", i, age)
		}
	}
	keys := decode[found](t, ask(t, page, "/api/search?q=k")).Keys
	if len(keys) != 1 || keys[0].Allowed < seconds || keys[0].Allowed > 2*seconds {
		t.Errorf("found %+v", keys)
	}

	polled := 0
	for line := range strings.Lines(ask(t, page, "/api/live?poll=1")) {
		event := decode[struct {
			Event string
			Data  json.RawMessage
		}](t, line)
		if event.Event == "second" {
			polled++
			if s := decode[shownSecond](t, string(event.Data)); s.Time < last-recent*1000 || s.Time > last || !both(s.Policies["api"]) {
				t.Errorf("polled %+v, %d ms before the last", s, last-s.Time)
			}
		}
	}
	if polled != recent {
		t.Errorf("%d seconds polled, want %d", polled, recent)
	}

	// Without the feed the clock keeps its last offset.
	store.fail(errors.New("down"))
	time.Sleep(10 * time.Second)
	now = decode[state](t, ask(t, page, "/api/state"))
	if off := now.Now - store.now().UnixMilli(); off < -1000 || off > 0 {
		t.Errorf("without the feed the state is %d ms off", off)
	}
	if a := now.Alone; a == nil || a.Others != 1 || a.Since < now.Now-12_000 || a.Since > now.Now-9_000 {
		t.Errorf("without the feed for 10 s it is alone: %+v at %d", a, now.Now)
	}

	here.Close()
	<-watching
	seen := 0
	var before int64
	for line := range strings.Lines(stream) {
		data, ok := strings.CutPrefix(line, `data: {"t":`)
		if !ok {
			continue
		}
		s := decode[shownSecond](t, `{"t":`+data)
		if before != 0 && s.Time != before+1000 {
			t.Errorf("a second comes %d ms after another", s.Time-before)
		}
		before = s.Time
		if both(s.Policies["api"]) {
			seen++
		}
	}
	if seen != seconds {
		t.Errorf("%d seconds on the live page, want %d", seen, seconds)
	}
}

// A page that is opened in an outage has never seen the others. It shows no time since
// when.
func TestAloneFromTheBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSkewedStore(0)
		store.fail(errStore)
		here := NewRecorder(store)
		limiter := core.New(store, core.WithObserver(here))
		page := New(limiter, here, forAll)
		defer limiter.Close()
		defer here.Close()
		if now := decode[state](t, ask(t, page, "/api/state")); now.Alone == nil || *now.Alone != (alone{}) {
			t.Errorf("alone: %+v", now.Alone)
		}
		store.fail(nil)
		time.Sleep(freshness)
		if now := decode[state](t, ask(t, page, "/api/state")); now.Alone != nil {
			t.Errorf("it sees the feed, and is alone: %+v", now.Alone)
		}
	})
}

// Without a feed the clock is the process's own clock.
func TestPageWithoutFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := core.NewMemory()
		recorder := NewRecorder(store)
		limiter := core.New(store, core.WithObserver(recorder))
		page := New(limiter, recorder, forAll)
		defer limiter.Close()
		defer recorder.Close()
		time.Sleep(100 * time.Millisecond)
		if now := decode[state](t, ask(t, page, "/api/state")); now.Now != time.Now().UnixMilli() {
			t.Errorf("%d ms off", now.Now-time.Now().UnixMilli())
		}
	})
}

// A recorder without a response at its start uses the feed's clock from its first added
// entry on. Earlier publications by its own clock do no harm.
func TestFeedAnswersLate(t *testing.T) {
	for _, ahead := range skews {
		synctest.Test(t, func(t *testing.T) {
			store := newSkewedStore(ahead)
			store.fail(errors.New("down"))
			defer store.Close()
			r := NewRecorder(store)
			time.Sleep(500 * time.Millisecond)
			for i := range 60 {
				if i == 30 {
					store.fail(nil)
				}
				time.Sleep(time.Second)
				r.Observe(observed(api, "k", core.ResultAllowed))
			}
			if off := r.picture.clock.now().Sub(store.now()); off < -time.Millisecond || off > time.Millisecond {
				t.Errorf("%v: the clock is %v off", ahead, off)
			}
			// Each second since then has its decision, except the current one.
			if n := r.picture.fine.sum(store.now().UnixMilli(), 25)["api"]; n == nil || n[atAllowed] != 24 {
				t.Errorf("%v: counted %v in the last 24 seconds, want 24", ahead, n)
			}
			_ = r.Close()
		})
	}
}

// The first second is already by the feed's clock.
func TestFirstSecond(t *testing.T) {
	for _, ahead := range skews {
		synctest.Test(t, func(t *testing.T) {
			store := newSkewedStore(ahead)
			defer store.Close()
			r := NewRecorder(store)
			begun := store.now()
			time.Sleep(500 * time.Millisecond)
			r.Observe(observed(api, "k", core.ResultAllowed))
			_ = r.Close()
			if n := r.picture.fine.at(begun.UnixMilli())["api"]; n == nil || n[atAllowed] != 1 {
				t.Errorf("%v: counted %v in the first second", ahead, n)
			}
		})
	}
}

// The page reads the feed's time at most as often as it reads entries.
func TestClockIsAskedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSkewedStore(time.Hour)
		recorder := NewRecorder(store)
		limiter := core.New(store, core.WithObserver(recorder))
		page := New(limiter, recorder, forAll)
		defer limiter.Close()
		defer recorder.Close()
		for range 100 {
			_ = ask(t, page, "/api/state")
			time.Sleep(10 * time.Millisecond)
		}
		if store.asked > 7 {
			t.Errorf("time was read %d times within a second", store.asked)
		}
	})
}

// A response changes the clock only as far as necessary, since its latency is not known.
func TestClockTakesWhatIsCertain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		for _, a := range []struct{ there, back, told, want time.Duration }{
			{0, 0, time.Hour, time.Hour},
			{time.Second, 0, time.Hour, time.Hour},
			{0, time.Second, time.Hour, time.Hour},
			{time.Second, time.Second, time.Hour + 3*time.Second, time.Hour + 2*time.Second},
			{0, time.Millisecond, -time.Hour, -time.Hour},
		} {
			asked := c.own()
			time.Sleep(a.there)
			told := time.Now().Add(a.told).Round(0)
			time.Sleep(a.back)
			c.set(told, asked)
			if got := c.now().Sub(c.own()); got != a.want {
				t.Errorf("%+v: %v ahead", a, got)
			}
		}
	})
}
