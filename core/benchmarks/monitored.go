package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"time"
	"weak"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
	"github.com/streamlimit/streamlimit/core/redisstream"
)

const (
	watched   = "with the monitor"
	unwatched = "without"
)

// measureMonitor compares decisions of a limiter that the monitor watches, while a
// page is open, with those of one without, on many keys.
func measureMonitor(b *bench) error {
	const keys, callers = 100_000, 64
	length := time.Duration(b.pick(3, 60)) * time.Second // of decisions of each
	b.step("Monitor: %d keys", keys)
	s := newStage()
	defer s.close()
	names := make([]string, keys)
	for i := range names {
		names[i] = fmt.Sprintf("client-%06d", i)
	}
	policy := core.NewPolicy("benchmark", core.PerHour(plenty.max))
	take := func(l *core.Limiter, from int) func(i int) error {
		return func(i int) error {
			_, err := l.Allow(context.Background(), policy, names[(from+i)%keys])
			return err
		}
	}
	link := newLink(s.addr)
	s.Cleanup(link.close)
	plain := core.New(redisstream.New(link.rdb))
	s.Cleanup(func() { _ = plain.Close() })
	drive(callers, keys, time.Minute, take(plain, 0)) // new logs cost more than warm ones
	with := newMonitored(redisstream.New(link.rdb))
	w, err := watch(with.page.URL)
	if err != nil {
		return err
	}

	const slice = 500 * time.Millisecond
	rates, p50 := series{}, series{}
	from := 0
	for round := range int(length / slice) {
		order := []string{unwatched, watched}
		if round%2 == 1 {
			order = []string{watched, unwatched}
		}
		for _, name := range order {
			l, turn := plain, slice/2 // nothing is built up here, so that half of it does
			if name == watched {
				l, turn = with.limiter, slice
			}
			r := drive(callers, 200_000, turn, take(l, from))
			from = (from + r.done) % keys
			b.errors(name, r)
			rates.add(name, r.perSecond())
			p50.add(name, micros(r.quantile(0.5)))
		}
	}
	events, gap := w.end()
	used, recorder := heap(), weak.Make(with.recorder)
	with.close()
	with = nil //nolint:wastedassign // so that its memory is free
	rest := heap()
	for range 50 { // what waits for a server holds it a little longer
		if recorder.Value() == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
		rest = heap()
	}
	if recorder.Value() != nil {
		return errors.New("the monitor is closed and not freed")
	}

	t := table{Name: "monitor", Title: fmt.Sprintf("Decisions of %d callers on %d keys, with and without the monitor; its page is open", callers, keys)}
	for _, name := range []string{watched, unwatched} {
		t.set(name, "decisions a second", rates.median(name))
		t.set(name, "p50, µs", p50.median(name))
	}
	t.set(watched, "heap, kB", float64(used-rest)/1000)
	t.set(watched, "events on the page a second", float64(events)/w.took.Seconds())
	t.set(watched, "longest wait for one, ms", gap.Seconds()*1000)
	t.keep("time", unwatched, rates.ratio(unwatched, watched))
	t.Digits = 1
	b.add(t, gaugeObserve(b, policy, names))
	return nil
}

// gaugeObserve gauges what a decision's caller pays for the monitor, of a key that is
// not near its limit. With so many keys each takes the place of another in the
// recorder.
func gaugeObserve(b *bench, policy *core.Policy, names []string) table {
	t := table{Name: "observe", Title: fmt.Sprintf("What the monitor adds to a decision, on %d keys", len(names)), Digits: 2}
	store := core.NewMemory()
	defer store.Close()
	recorder := monitor.NewRecorder(store)
	defer recorder.Close()
	o := core.Observation{
		Context: context.Background(), Policy: policy, Route: "/route", Cost: 1, Result: core.ResultAllowed,
		Source: core.SourceRedis, Limit: policy.Limits()[0], Remaining: policy.Limits()[0].Max / 2, Took: time.Millisecond,
	}
	i := 0
	observe := func() {
		o.Key = names[i]
		i = (i + 1) % len(names)
		recorder.Observe(o)
	}
	alternate(b.pick(3, 7), time.Duration(b.pick(50, 200))*time.Millisecond, &t, "", []gauged{{"Observe", observe}})
	return t
}

// monitored is a limiter that is watched, and the page.
type monitored struct {
	limiter  *core.Limiter
	recorder *monitor.Recorder
	page     *httptest.Server
}

func newMonitored(store core.Store) *monitored {
	recorder := monitor.NewRecorder(store)
	limiter := core.New(store, core.WithObserver(recorder))
	return &monitored{limiter, recorder, httptest.NewServer(monitor.New(limiter, recorder, monitor.WithAuthorize(anyone)))}
}

// anyone may see the page.
func anyone(*http.Request) bool { return true }

func (m *monitored) close() {
	_ = m.recorder.Close()
	m.page.Close()
	_ = m.limiter.Close()
}

// heap is what is in use after collections: the first leaves what pools hold.
func heap() int64 {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// watcher reads the events of an open page.
type watcher struct {
	began, last time.Time
	took, gap   time.Duration
	events      int
	stop        context.CancelFunc
	stopped     chan struct{}
}

func watch(url string) (*watcher, error) {
	ctx, stop := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/api/live", nil)
	if err != nil {
		stop()
		return nil, err
	}
	answer, err := http.DefaultClient.Do(r) //nolint:bodyclose // by the reader below
	if err != nil {
		stop()
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		stop()
		_ = answer.Body.Close()
		return nil, fmt.Errorf("the monitor's page answers %s", answer.Status)
	}
	w := &watcher{began: time.Now(), stop: stop, stopped: make(chan struct{})}
	w.last = w.began
	go func() {
		defer close(w.stopped)
		defer answer.Body.Close()
		lines := bufio.NewScanner(answer.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "event: second") {
				now := time.Now()
				w.gap = max(w.gap, now.Sub(w.last))
				w.last = now
				w.events++
			}
		}
	}()
	return w, nil
}

// end is how many events there were, and the longest wait for one.
func (w *watcher) end() (events int, gap time.Duration) {
	w.took = time.Since(w.began)
	w.stop()
	<-w.stopped
	return w.events, max(w.gap, time.Since(w.last))
}
