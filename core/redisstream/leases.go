package redisstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/internal/lease"
	"github.com/streamlimit/streamlimit/core/store"
)

// leases is the layer between the cache and the batcher. It decides on leased logs by the
// units that this process has taken ahead, and takes more of them through the batcher.
type leases struct {
	store *Store
	table *lease.Table[leased, logState]

	returns context.Context // of all of them; it ends some time after close
	end     context.CancelFunc

	mu     sync.Mutex
	calls  sync.WaitGroup // calls in flight, and returns
	closed bool
}

// leased is the key of a lease. Each policy has its own leases, also if policies share a
// log.
type leased struct {
	log *store.Log
	key string
}

// modeLease is the mode that takes units for several requests, and some units ahead.
var modeLease any = "lease"

const (
	// maxReturns bounds the keys of a call that returns units.
	maxReturns = maxLogs

	// returnsInFlight bounds the calls of one sweep that are in flight.
	returnsInFlight = 8

	// A return is tried this often while there is no connection, with pauses between.
	returnTries, returnPause = 4, 20 * time.Millisecond
)

func newLeases(s *Store) *leases {
	l := &leases{store: s}
	l.returns, l.end = context.WithCancel(context.Background())
	l.table = lease.NewTable(lease.Config[leased, logState]{
		Now:    lease.Now,
		Ask:    l.ask,
		Return: l.giveBack,
		After:  func(d time.Duration, f func()) { time.AfterFunc(d, f) },
	})
	return l
}

// hasLeases reports whether decisions on a log come from leases. Decisions do not come
// from leases while earlier logs count.
func hasLeases(p *store.Log) bool { return p.Lease > 0 && len(p.Earlier) == 0 }

// termsOf returns what a log says about its leases.
func termsOf(p *store.Log) lease.Terms {
	least := p.Limits[0].Max
	for _, l := range p.Limits[1:] {
		least = min(least, l.Max)
	}
	return lease.Terms{Length: p.Lease, Ahead: least / 8}
}

// start runs f in a goroutine that close waits for. It reports false after close.
func (l *leases) start(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.calls.Go(f)
	}
	return !l.closed
}

// close returns all units, also the units of calls in flight. It gives up after the time
// that a caller waits.
func (l *leases) close() {
	l.table.Close() // its returns are in flight then
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	defer l.end()
	defer time.AfterFunc(l.store.patience(), l.end).Stop()
	l.calls.Wait()
}

// ask sends a call to the log.
func (l *leases) ask(c *lease.Call[leased, logState]) {
	sent := l.start(func() {
		r, err := l.send(c)
		c.Done(r, err)
	})
	if !sent {
		go c.Done(lease.Reply[logState]{}, fmt.Errorf("redisstream: %w", store.ErrClosed))
	}
}

func (l *leases) send(c *lease.Call[leased, logState]) (lease.Reply[logState], error) {
	if units, ok := c.Alone(); ok {
		return l.store.askAlone(context.Background(), c.Key.log, c.Key.key, units)
	}
	return l.store.askLease(context.Background(), c.Key.log, c.Key.key, c.Ahead, c.Wants...)
}

// askAlone takes units for one request, as without leases.
func (s *Store) askAlone(ctx context.Context, p *store.Log, key string, units int64) (r lease.Reply[logState], err error) {
	c := s.charge(p, key, units)
	u, err := s.askUsage(ctx, c, appendDecision(nil, &c, modeTake))
	if err != nil {
		return r, err
	}
	r.State = newLogState(u.ResetAfter, u.Entry, u.Limits[:len(p.Limits)])
	if u.Allowed {
		r.Room = units
	} else {
		r.Waits = []lease.Wait{{Least: units, For: u.RetryAfter}}
	}
	return r, nil
}

// askLease takes units for requests, and up to ahead more.
func (s *Store) askLease(ctx context.Context, p *store.Log, key string, ahead int64, wants ...lease.Want) (lease.Reply[logState], error) {
	c := s.charge(p, key, ahead)
	args := appendDecision(make([]any, 0, 5+2*len(p.Limits)+3*len(wants)), &c, modeLease)
	for _, w := range wants {
		args = append(args, w.Count, w.Least, w.Most)
	}
	reply, err := s.batcher.ask(ctx, c, append(args, len(wants)))
	if err != nil {
		return lease.Reply[logState]{}, err
	}
	r, err := parseLease(reply, p)
	return r, prefixed(err)
}

// parseLease reads the reply of refunded.lua to a lease.
func parseLease(reply []int64, p *store.Log) (r lease.Reply[logState], err error) {
	n := 3 + 2*len(p.Limits)
	if len(reply) < n+2 || len(reply)%2 != 1 {
		return r, fmt.Errorf("the script answered %d numbers, want %d or more", len(reply), n+2)
	}
	r.Room, r.Ahead = reply[0], reply[1]
	var limits [store.MaxLimits]store.LimitUsage
	for i := range p.Limits {
		limits[i] = store.LimitUsage{Used: reply[3+2*i], FreeIn: time.Duration(reply[4+2*i]) * time.Millisecond}
	}
	reset, entry := time.Duration(reply[2])*time.Millisecond, store.EntryID{Time: reply[n], Total: reply[n+1]}
	r.State = newLogState(reset, entry, limits[:len(p.Limits)])
	for wait := range slices.Chunk(reply[n+2:], 2) {
		r.Waits = append(r.Waits, lease.Wait{Least: wait[0], For: time.Duration(wait[1]) * time.Millisecond})
	}
	return r, nil
}

// giveBack returns what leases had left, many keys in one call, and few calls at once.
func (l *leases) giveBack(all []lease.Return[leased, logState]) {
	places := make(map[string][]lease.Return[leased, logState])
	for _, r := range all {
		place := l.store.batcher.topology.place(l.store.logKey(r.Key.log, r.Key.key))
		places[place] = append(places[place], r)
	}
	var calls [][]lease.Return[leased, logState]
	for _, together := range places {
		calls = slices.AppendSeq(calls, slices.Chunk(together, maxReturns))
	}
	var next atomic.Int64
	send := func() {
		for i := next.Add(1) - 1; i < int64(len(calls)); i = next.Add(1) - 1 {
			l.sendBack(l.returns, calls[i])
		}
	}
	for range min(len(calls), returnsInFlight) {
		if !l.start(send) {
			send() // of a call that has ended after close, which waits for it
		}
	}
}

// sendBack returns units to logs in one place. It tries again if there was no connection
// to send them on. After any other error the units stay charged until they leave the
// window, since the script may have run.
func (l *leases) sendBack(ctx context.Context, all []lease.Return[leased, logState]) {
	charges := make([]charge, len(all))
	logs := make([]string, len(all))
	for i, r := range all {
		charges[i] = l.store.charge(r.Key.log, r.Key.key, 0)
		logs[i] = charges[i].log
	}
	call := many.call(8*len(all), logs...)
	for i, r := range all {
		call = append(call, string(store.Refunded), correctionArgs)
		call = appendCorrection(call, charges[i].policy, r.State.entry, -r.Units)
	}
	var err error
	for try := 1; ; try++ {
		_, err = l.store.batcher.run(ctx, charges[0], many, call)
		if !errors.Is(err, errNoConnection) || try == returnTries || ctx.Err() != nil {
			break
		}
		time.Sleep(returnPause)
	}
	if redis.HasErrorPrefix(err, "TRYAGAIN") || l.store.batcher.apart(err) {
		// A script may use only one log here. No script has run.
		for i, r := range all {
			_, _ = l.store.batcher.ask(ctx, charges[i], appendCorrection(nil, charges[i].policy, r.State.entry, -r.Units))
		}
	}
	for _, r := range all {
		l.store.cache.forget(r.Key.log, r.Key.key) // a cached denial may be wrong now
	}
}
