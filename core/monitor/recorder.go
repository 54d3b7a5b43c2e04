package monitor

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"os"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

const (
	// writeTimeout bounds the time to publish. Only the entry of the next second waits
	// for it.
	writeTimeout = 500 * time.Millisecond

	// detailsInterval is the interval between entries with the top keys and the policies.
	detailsInterval = 10 * time.Second

	// maxBack bounds how far a clock may be set back for the recorder to wait for it.
	maxBack = 5 * time.Second
)

// Recorder counts the decisions of a process: see [core.WithObserver]. It takes
// about 1.5 MB, and 5 MB at most on many processors, whatever the number of keys.
type Recorder struct {
	feed   Feed
	id     string
	host   string
	store  string     // kind of the store
	logs   core.Store // the store whose decisions are recorded
	shards []shard
	next   atomic.Uint32
	near   sync.Pool // of *shard: returns the shard that a processor used before

	limiter atomic.Pointer[core.Limiter] // source of health and policies

	minute  minute
	picture *picture // of this process, and of the others while a page is open
	told    told

	closing  sync.Once
	stop     chan struct{}
	stopped  chan struct{}
	mu       sync.Mutex
	cleanups []func()
}

// told has what this process has published, or would publish with a feed.
type told struct {
	limiter  *core.Limiter
	policies map[string]*core.Policy
	traits   map[string]Traits // by the limiter
	down     []Down
	details  int64 // when the details were last published; Unix milliseconds
	stale    bool  // the details change, even if only because a minute passes
}

// NewRecorder returns a recorder that publishes its decisions to the store's feed, if it
// has one. Close the recorder before the store. Close ends the recorder's goroutine.
func NewRecorder(store core.Store) *Recorder {
	if v := reflect.ValueOf(store); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		panic("monitor: NewRecorder: nil store: use that of the limiter")
	}
	r := newRecorder(feedOf(store))
	r.logs = store
	go r.run()
	return r
}

func newRecorder(feed Feed) *Recorder {
	r := &Recorder{
		feed: feed, id: rand.Text()[:16], store: "memory", picture: newPicture(),
		shards: make([]shard, min(runtime.GOMAXPROCS(0), 16)),
		stop:   make(chan struct{}), stopped: make(chan struct{}),
	}
	if feed != nil {
		r.store = "redis"
	}
	r.host, _ = os.Hostname()
	for i := range r.shards {
		r.shards[i].now, r.shards[i].spare = newSecond(), newSecond()
	}
	r.near.New = func() any { return &r.shards[int(r.next.Add(1))%len(r.shards)] }
	r.told.policies = make(map[string]*core.Policy)
	return r
}

// Observe implements [core.Observer].
func (r *Recorder) Observe(o core.Observation) {
	s := r.near.Get().(*shard)
	s.mu.Lock()
	s.now.observe(&o)
	s.mu.Unlock()
	r.near.Put(s)
}

// Follow publishes the limiter's health, and its policies before their first request.
// [New] calls Follow. A process without a page may call it.
func (r *Recorder) Follow(limiter *core.Limiter) { r.limiter.Store(limiter) }

// Close publishes the last decisions, and ends the streams of the pages and the
// recorder's goroutine. It takes at most a second. Call it before a server's Shutdown,
// which waits for streams. Later decisions are not published. Closing twice is not an
// error.
func (r *Recorder) Close() error {
	r.closing.Do(func() { close(r.stop) })
	<-r.stopped
	return nil
}

// onClose makes Close call f.
func (r *Recorder) onClose(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

// run collects the counts of the shards at the end of each second.
func (r *Recorder) run() {
	defer close(r.stopped)
	r.askTime()
	var end time.Time
	for {
		now := r.picture.clock.now()
		end = endAfter(end, now)
		select {
		case <-time.After(end.Sub(now)):
			r.tick(end)
		case <-r.stop:
			r.tick(end)
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, f := range r.cleanups {
				f()
			}
			return
		}
	}
}

// askTime reads the feed's time, unless the recorder is closed first.
func (r *Recorder) askTime() {
	if r.feed == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	go func() {
		select {
		case <-r.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	_ = r.picture.clock.ask(ctx, r.feed) // after an error, the first added entry sets the clock
}

// endAfter returns the end of the current second. It is later than the last end, since a
// timer can fire early, a clock can be set back, and no second may occur twice. If a
// clock was set back by more than maxBack, it returns the end by that clock, rather than
// wait that long.
func endAfter(last, now time.Time) time.Time {
	end := now.Truncate(time.Second).Add(time.Second)
	if back := last.Sub(end); back >= 0 && back < maxBack {
		end = last.Add(time.Second)
	}
	return end
}

// tick makes the entry of the second that ends, and publishes it.
func (r *Recorder) tick(end time.Time) {
	e := r.collect(end.Add(-time.Second).UnixMilli())
	news, due := r.learn(), r.detailsDue(e.Time)
	if e.Counts == nil && !news && (!due || !r.told.stale) {
		return
	}
	e.Down = r.told.down
	if news || due {
		top := r.minute.top(e.Time)
		e.Top, e.Near, e.Policies = &top, r.minute.near(e.Time), r.told.traits
		// Publish details until the minute is empty. Otherwise other processes would show
		// its keys for longer.
		r.told.details, r.told.stale = e.Time, len(top.Allowed)+len(top.Denied) > 0
	}
	r.picture.add(e, r.picture.clock.now().UnixMilli())
	r.tell(e)
}

func (r *Recorder) detailsDue(now int64) bool {
	age := now - r.told.details
	return age < 0 || age >= detailsInterval.Milliseconds()
}

// collect empties the shards into the entry of the second that began at t.
func (r *Recorder) collect(t int64) entry {
	e := entry{Version: entryVersion, Process: r.id, Host: r.host, PID: os.Getpid(), Store: r.store, Time: t}
	var took latency
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		s.now, s.spare = s.spare, s.now
		s.mu.Unlock()
		for name, p := range s.spare.policies {
			if p.total() == 0 {
				continue
			}
			if e.Counts == nil {
				e.Counts = make(tallies)
			}
			e.Counts.of(name, maxPolicies).add(&p.tally)
			if _, ok := r.told.policies[name]; p.policy != nil && (!ok || r.limiter.Load() == nil) {
				r.meet(p.policy) // otherwise the limiter has it
			}
		}
		if s.spare.requests != (tally{}) {
			if e.Requests == nil {
				e.Requests = new(tally)
			}
			e.Requests.add(&s.spare.requests)
		}
		for name, n := range s.spare.routes {
			if *n == (tally{}) {
				continue
			}
			if e.Routes == nil {
				e.Routes = make(tallies)
			}
			e.Routes.of(name, maxRoutes).add(n)
		}
		took.merge(&s.spare.took)
		r.minute.add(t, s.spare)
		s.spare.clear()
	}
	e.P50, e.P99 = milliseconds(took.quantile(0.5)), milliseconds(took.quantile(0.99))
	r.told.stale = r.told.stale || e.Counts != nil
	return e
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// learn reads the limiter's health and policies, and reports whether they have changed.
func (r *Recorder) learn() (news bool) {
	var down []Down
	l := r.limiter.Load()
	if l != r.told.limiter {
		r.told.limiter, r.told.traits = l, nil
	}
	if l != nil {
		for _, d := range l.Health().Down {
			down = append(down, Down{Server: d.Server, Since: r.picture.clock.at(d.Since).UnixMilli(), Error: d.Error})
		}
		for _, p := range l.Policies() {
			r.meet(p)
		}
	}
	news = r.told.traits == nil && len(r.told.policies) > 0 || !reflect.DeepEqual(down, r.told.down)
	r.told.down = down
	if r.told.traits == nil {
		r.told.traits = make(map[string]Traits, len(r.told.policies))
		for name, p := range r.told.policies {
			r.told.traits[name] = traitsOf(p, l)
		}
	}
	return news
}

// meet records a policy.
func (r *Recorder) meet(p *core.Policy) {
	known, ok := r.told.policies[p.Name()]
	if known == p || !ok && len(r.told.policies) >= maxPolicies {
		return
	}
	r.told.policies[p.Name()] = p
	r.told.traits = nil // to be computed again
}

// tell publishes the entry to the feed. Other processes never see an entry that fails.
func (r *Recorder) tell(e entry) {
	if r.feed == nil {
		return
	}
	for _, d := range e.Down {
		if d.Server == "" {
			return
		}
	}
	data, err := json.Marshal(e)
	if err != nil || len(data) > maxEntry {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	asked := r.picture.clock.own()
	if added, err := r.feed.AddEntry(ctx, data); err == nil { // the limiter logs failures of the store
		r.picture.clock.set(added, asked)
	}
}
