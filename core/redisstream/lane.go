package redisstream

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
)

const (
	// maxFlights is how many round trips of a lane are under way at once.
	maxFlights = 2

	// maxTogether is how many decisions share a round trip at most, and maxLogs on how
	// many logs: the server does nothing else meanwhile, for less than a millisecond.
	// One log alone is a fifth faster with 128 than with 64.
	maxTogether = 128
	maxLogs     = 64

	// maxWaiting bounds the decisions that wait for a round trip to end.
	maxWaiting = 8192
)

// errCrowded is for a decision for which there is no room in the lane.
var errCrowded = fmt.Errorf("more than %d decisions wait for Redis", maxWaiting)

// lane is the way of decisions to a server. A decision that finds it free goes
// alone and at once. While maxFlights are under way, others wait for the next to
// end, and then go together.
type lane struct {
	mu      sync.Mutex
	flights int
	waiting []*ticket
	gone    int // of those that wait
	users   int // of a lane for one log: see lanes
}

// ticket is a decision that waits, or travels.
type ticket struct {
	policy *core.Policy
	log    string
	cost   int64

	sent  bool          // these two are under the lane's lock
	gone  bool          // the caller is, before it was sent
	done  chan struct{} // gets a value when usage and err are there
	late  *time.Timer   // ends the wait for it; a new one each time takes 3 % longer
	usage core.Usage
	err   error
}

var tickets = sync.Pool{New: func() any {
	return &ticket{done: make(chan struct{}, 1), late: time.NewTimer(time.Hour)}
}}

// lanes are one for all logs of a single server; where there are several
// servers, one for each log that is asked for now.
type lanes struct {
	shared bool
	one    lane

	mu    sync.Mutex
	byLog map[string]*lane
}

func (l *lanes) enter(log string) *lane {
	if l.shared {
		return &l.one
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	own := l.byLog[log]
	if own == nil {
		own = &lane{}
		if l.byLog == nil {
			l.byLog = make(map[string]*lane)
		}
		l.byLog[log] = own
	}
	own.users++
	return own
}

func (l *lanes) leave(log string, own *lane) {
	if l.shared {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(l.byLog, log)
	}
}

// takeShared takes units of one log, together with what others ask for.
func (s *Store) takeShared(caller context.Context, p *core.Policy, key string, cost int64) (core.Usage, error) {
	log := s.logKey(p, key)
	way := s.lanes.enter(log)
	defer s.lanes.leave(log, way)
	t, err := way.start(p, log, cost)
	switch {
	case err != nil:
		return core.Usage{}, fmt.Errorf("redisstream: %w", err)
	case t == nil:
		defer s.land(way)
		return s.decide(caller, p, log, cost, true)
	}
	t.late.Reset(s.timeout)
	select {
	case <-t.done:
		return t.answer()
	case <-caller.Done():
		err = caller.Err()
	case <-t.late.C:
		err = s.noAnswer()
	}
	way.abandon(t)
	select {
	case <-t.done: // at the same moment
		return t.answer()
	default:
		return core.Usage{}, fmt.Errorf("redisstream: %w", err)
	}
}

// answer is what has become of a ticket that is done, which is used again.
func (t *ticket) answer() (core.Usage, error) {
	u, err := t.usage, t.err
	t.late.Stop()
	*t = ticket{done: t.done, late: t.late}
	tickets.Put(t)
	return u, err
}

// start begins a flight for a decision alone, and there is no ticket; or lets it
// wait for one.
func (l *lane) start(p *core.Policy, log string, cost int64) (*ticket, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.flights < maxFlights {
		l.flights++
		return nil, nil //nolint:nilnil // it goes alone
	}
	if len(l.waiting)-l.gone >= maxWaiting {
		return nil, errCrowded
	}
	t := tickets.Get().(*ticket)
	t.policy, t.log, t.cost = p, log, cost
	l.waiting = append(l.waiting, t)
	return t, nil
}

// abandon has a ticket that waits never be sent. One that travels goes on, and
// nobody looks at what becomes of it.
func (l *lane) abandon(t *ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.sent {
		return
	}
	t.gone = true
	// Now and then all who are gone are taken out, which is too much work for each.
	if l.gone++; l.gone > len(l.waiting)/2 {
		l.waiting = slices.DeleteFunc(l.waiting, func(t *ticket) bool { return t.gone })
		l.gone = 0
	}
}

// land ends a flight. Those who wait go next.
func (s *Store) land(way *lane) {
	if next := way.next(); next != nil {
		go s.carry(way, next)
	}
}

func (s *Store) carry(way *lane, next []*ticket) {
	for ; next != nil; next = way.next() {
		s.takeMany(next)
	}
}

// next are those who go next; none ends the flight.
func (l *lane) next() []*ticket {
	l.mu.Lock()
	defer l.mu.Unlock()
	var next []*ticket
	taken, logs, last := 0, 0, ""
	for _, t := range l.waiting {
		if t.gone {
			taken++
			l.gone--
			continue
		}
		if t.log != last {
			logs, last = logs+1, t.log
		}
		if len(next) == maxTogether || logs > maxLogs {
			break
		}
		taken++
		t.sent = true
		next = append(next, t)
	}
	l.waiting = slices.Delete(l.waiting, 0, taken)
	if next == nil {
		l.flights--
	}
	return next
}

// group are decisions that are one for the script: requests that are counted by
// the same limit on the same log.
type group []*ticket

// takeMany decides on all tickets in one round trip, and hands out the answers.
func (s *Store) takeMany(all []*ticket) {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	s.takeGroups(ctx, grouped(all))
}

func (s *Store) takeGroups(ctx context.Context, groups []group) {
	if len(groups) == 1 {
		s.takeGroup(ctx, groups[0])
		return
	}
	logs := make([]string, len(groups))
	for i, g := range groups {
		logs[i] = g[0].log
	}
	call := many.call(8*len(groups), logs...)
	for _, g := range groups {
		call = appendAsk(call, g[0].policy, g.cost())
	}
	replies, err := s.run(ctx, many, call)
	if redis.HasErrorPrefix(err, "TRYAGAIN") {
		// A slot moves, and allows a script one key only: one log, that is.
		for _, g := range groups {
			s.takeGroup(ctx, g)
		}
		return
	}
	var failed []group // of which the script has not said why
	for _, g := range groups {
		var reply []int64
		if err == nil {
			reply, replies, err = first(replies)
		}
		if err == nil && len(reply) == 0 {
			failed = append(failed, g)
			continue
		}
		g.deliver(reply, err)
	}
	for _, g := range failed {
		g.deliver(nil, s.whyFailed(ctx, g[0]))
	}
}

// takeGroup decides on a group alone.
func (s *Store) takeGroup(ctx context.Context, g group) {
	p := g[0].policy
	reply, err := s.run(ctx, scriptOf(p), decision(p, g[0].log, g.cost(), true))
	g.deliver(reply, err)
}

// grouped puts tickets together that one question answers.
func grouped(all []*ticket) []group {
	groups := make([]group, 0, len(all))
	places := make(map[string]int, len(all)) // of counted logs, in groups
	for i, t := range all {
		if t.policy.Layout() == core.Counted {
			place, known := places[t.log]
			if known && groups[place][0].policy == t.policy {
				groups[place] = append(groups[place], t)
				continue
			}
			places[t.log] = len(groups)
		}
		groups = append(groups, all[i:i+1:i+1])
	}
	return groups
}

func (g group) cost() int64 {
	if len(g) > 1 {
		return int64(len(g))
	}
	return g[0].cost
}

// deliver hands out what the script has answered, or why it has not.
func (g group) deliver(reply []int64, err error) {
	if err == nil {
		err = g.answer(reply)
	}
	for _, t := range g {
		if err != nil {
			t.err = fmt.Errorf("redisstream: %w", err)
		}
		t.done <- struct{}{}
	}
}

// answer is what each of the group gets: the first get what is left.
func (g group) answer(reply []int64) error {
	u, err := parseUsage(reply, g[0].policy)
	if err != nil {
		return err
	}
	if len(g) == 1 {
		g[0].usage = u
		return nil
	}
	granted := int64(len(g))
	if len(reply) > 1 {
		granted = reply[0]
	}
	for i, t := range g {
		t.usage = u
		if int64(i) >= granted {
			t.usage.Allowed = false
			continue
		}
		t.usage.Allowed, t.usage.RetryAfter = true, 0
		left := granted - 1 - int64(i) // who come after this one
		if left > 0 {
			t.usage.Limits[0].Used -= left
			t.usage.Limits[0].FreeIn = u.ResetAfter
		}
	}
	return nil
}

// whyFailed is the error of a script that has failed among many, by looking at
// the log alone. The request may have been counted, so it is not asked again.
func (s *Store) whyFailed(ctx context.Context, t *ticket) error {
	if _, err := s.run(ctx, scriptOf(t.policy), decision(t.policy, t.log, t.cost, false)); err != nil {
		return err
	}
	return fmt.Errorf("%w: the script failed", core.ErrRefused)
}
