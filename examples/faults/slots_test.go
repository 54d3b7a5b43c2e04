package faults

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core/redistest"
)

// Six servers, one of each framework, call one upstream, which counts the requests in
// flight. While the store responds and the servers live, never more than the limit are in
// flight. What else holds:
//
//   - The slots of a killed server are free after the hold. A slot is renewed three times
//     in a hold, so that takes at least two thirds of the hold.
//   - While Redis does not respond, a policy with FailClosed admits no request. One with
//     FailLocal admits at most the limit in each process, beside the requests that have
//     slots of Redis.
//   - A Redis server that was restarted with its data has lost no slot, if it was away for
//     less than the rest of a hold. A Redis server that lost its data, also by a failover,
//     admits anew. At the next renewal, Slot.Lost reports the lost slots, so the handlers
//     can stop.
//   - A process that is cut off from Redis loses its slots after the hold, and reports
//     them by its own clock, before Redis gives them to others.
func TestRow39_InFlight(t *testing.T) {
	r := row(t, 39)
	t.Run("crowd", func(t *testing.T) { r.Figure("%s", slotCrowd(t)) })
	var outage, failover string
	t.Run("faults", func(t *testing.T) {
		t.Run("outage", func(t *testing.T) {
			t.Parallel()
			outage = slotOutage(t)
		})
		t.Run("failover", func(t *testing.T) {
			t.Parallel()
			failover = slotFailover(t)
		})
	})
	r.Figure("%s", outage)
	r.Figure("%s", failover)
}

// slotMargin is what a slow machine adds to a time.
const slotMargin = time.Second

// slotCrowd sends requests from many goroutines, and kills a server meanwhile. Then it
// kills one that has all slots.
func slotCrowd(t *testing.T) string {
	redis := redistest.Start(t)
	f := startFleet(t, 2*time.Second, func(int) []string { return []string{"FAULTS_REDIS=" + redis.Addr} })
	goroutines, length := scale(600, 10_000), scale(3*time.Second, 40*time.Second)
	var admitted, denied, overloaded, others atomic.Int64
	var killed atomic.Bool
	first, left := f.servers[0], f.servers[1:]
	end := time.Now().Add(length)
	kill := time.AfterFunc(length/2, func() {
		killed.Store(true)
		first.kill()
	})
	defer kill.Stop()
	atOnce(goroutines, func(i int) {
		for ; time.Now().Before(end); i++ {
			s := f.servers[i%len(f.servers)]
			switch status := f.get(s, slotsClosed); {
			case s == first && killed.Load():
			case status == http.StatusOK:
				admitted.Add(1)
			case status == http.StatusTooManyRequests:
				denied.Add(1)
			case status == http.StatusServiceUnavailable:
				overloaded.Add(1) // the documented answer to a caller who comes too late
			default:
				others.Add(1)
			}
			// All of them send a thousand requests a second.
			time.Sleep(rand.N(time.Duration(goroutines) * 2 * time.Millisecond))
		}
	})
	crowd := f.peak(slotsClosed)
	if h := f.health(left...); crowd > slotsMax || crowd < slotsMax*9/10 || others.Load() > 0 || denied.Load() == 0 || h.lost+h.local+h.failures > 0 {
		t.Errorf("%d in flight, want %d; %d admitted, %d denied, %d overloaded, %d with other results; %+v",
			crowd, slotsMax, admitted.Load(), denied.Load(), overloaded.Load(), others.Load(), h)
	}

	victim, left := left[0], left[1:]
	f.fill(slotsClosed, slotsMax, victim)
	f.wants(0, 2*len(f.servers), http.StatusTooManyRequests)(f.send(slotsClosed, 2*len(f.servers), f.without(first)...))
	time.Sleep(f.hold*5/4 + rand.N(f.hold/3)) // which renewals outlast
	f.wants(0, 2*len(left), http.StatusTooManyRequests)(f.send(slotsClosed, 2*len(left), left...))
	if n, h := f.now(slotsClosed), f.health(victim); n != slotsMax || h.lost > 0 {
		t.Errorf("%d in flight after more than a hold, want %d; %+v", n, slotsMax, h)
	}
	begun := time.Now()
	victim.kill()
	f.await(slotMargin, "closed connections", func() bool { return f.now(slotsClosed) == 0 })
	firstFree, lastFree := f.fill(slotsClosed, slotsMax, left...)
	if firstFree.Sub(begun) < f.hold/2 || lastFree.Sub(begun) > f.hold+slotMargin {
		t.Errorf("the slots of a killed server are free after %v to %v, want %v to %v", firstFree.Sub(begun), lastFree.Sub(begun), f.hold*2/3, f.hold)
	}
	f.wants(0, len(left), http.StatusTooManyRequests)(f.send(slotsClosed, len(left), left...))
	peak := f.peak(slotsClosed)
	if peak != slotsMax {
		t.Errorf("%d in flight after a server was killed, want %d", peak, slotsMax)
	}
	return fmt.Sprintf("%d goroutines, a server killed meanwhile: most in flight %d, %d admitted, %d denied, %d overloaded; %d slots of a killed server free after %.2f s of a hold of %v",
		goroutines, max(crowd, peak), admitted.Load(), denied.Load(), overloaded.Load(), slotsMax, lastFree.Sub(begun).Seconds(), f.hold)
}

// slotOutage stops Redis, restarts it with its data and without, and cuts servers off.
func slotOutage(t *testing.T) string {
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	proxy := redistest.NewProxy(t, server.Addr)
	f := startFleet(t, 4*time.Second, func(i int) []string {
		if i < 4 {
			return []string{"FAULTS_REDIS=" + server.Addr}
		}
		return []string{"FAULTS_REDIS=" + proxy.Addr}
	})
	near, far := f.servers[:4], f.servers[4:]
	perServer := slotsMax + 10
	f.wants(slotsMax, 20, http.StatusTooManyRequests)(f.send(slotsClosed, slotsMax+20, f.servers...))
	f.wants(slotsMax, 20, http.StatusTooManyRequests)(f.send(slotsLocal, slotsMax+20, f.servers...))

	// Redis is away, and comes back with its data.
	server.Kill()
	f.wants(0, 60, http.StatusServiceUnavailable)(f.send(slotsClosed, 60, f.servers...))
	f.wants(6*slotsMax, 60, http.StatusTooManyRequests)(f.send(slotsLocal, 6*perServer, f.servers...))
	server.Restart()
	back := time.Now()
	f.await(f.hold, "renewals after a restart", func() bool { return renewedSince(t, server, f.hold, back) == 2*slotsMax })
	f.healthy()
	f.wants(0, 60, http.StatusTooManyRequests)(f.send(slotsClosed, 60, f.servers...))
	f.wants(0, 60, http.StatusTooManyRequests)(f.send(slotsLocal, 60, f.servers...))
	closed, local := f.peak(slotsClosed), f.peak(slotsLocal)
	if h := f.health(f.servers...); closed != slotsMax || local != 7*slotsMax || h.lost > 0 {
		t.Errorf("Redis restarted with its data: in flight %d and %d, want %d and %d; %+v, want none lost", closed, local, slotsMax, 7*slotsMax, h)
	}
	figure := fmt.Sprintf("Redis away: FailClosed admits 0, FailLocal %d in each of 6 processes; back with its data: 0 of %d slots lost", (local-slotsMax)/6, 2*slotsMax)

	// Redis loses its data.
	f.end(slotsLocal)
	f.fill(slotsLocal, slotsMax, f.servers...)
	if err := server.Client().FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	server.Restart()
	f.fill(slotsClosed, slotsMax, f.servers...)
	f.await(f.hold, "reports of lost slots", func() bool { return f.health(f.servers...).lost == 2*slotsMax })
	reported := time.Since(begun)
	f.await(slotMargin, "the end of requests whose slots are lost", func() bool { return f.now(slotsClosed) == slotsMax && f.now(slotsLocal) == 0 })
	closed = f.peak(slotsClosed)
	if closed > 2*slotsMax || reported > f.hold/2+slotMargin {
		t.Errorf("Redis lost its data: %d in flight, want at most %d; reported after %v", closed, 2*slotsMax, reported)
	}
	figure += fmt.Sprintf("; without its data: %d of %d lost slots reported after %.1f s, most in flight %d", 2*slotsMax, 2*slotsMax, reported.Seconds(), closed)

	// Two servers are cut off.
	f.healthy()
	f.fill(slotsLocal, slotsMax, near...)
	f.peak(slotsLocal)
	before := f.health(f.servers...).lost
	cut := f.now(slotsClosed, far...)
	begun = time.Now()
	proxy.Down()
	f.wants(0, 20, http.StatusServiceUnavailable)(f.send(slotsClosed, 20, far...))
	f.wants(2*slotsMax, 20, http.StatusTooManyRequests)(f.send(slotsLocal, 2*perServer, far...))
	f.wants(0, 20, http.StatusTooManyRequests)(f.send(slotsClosed, 20, near...))
	f.await(f.hold+slotMargin, "the end of requests that are cut off", func() bool { return f.now(slotsClosed, far...) == 0 })
	stopped := time.Since(begun)
	f.fill(slotsClosed, cut, near...)
	closed, local = f.peak(slotsClosed), f.peak(slotsLocal)
	lost := f.health(f.servers...).lost - before
	if closed > slotsMax+cut || local != 3*slotsMax || lost != int64(cut) || cut < slotsMax/6 {
		t.Errorf("2 servers cut off: in flight %d and %d, want at most %d and %d; %d lost, want %d", closed, local, slotsMax+cut, 3*slotsMax, lost, cut)
	}
	for _, s := range far {
		if !strings.Contains(s.log.String(), "a slot ended before its request") {
			t.Errorf("%s has not logged a lost slot", s.name)
		}
	}
	proxy.Up()
	f.healthy()
	f.wants(0, 20, http.StatusTooManyRequests)(f.send(slotsClosed, 20, far...))
	return figure + fmt.Sprintf("; 2 of 6 cut off: %d of %d lost slots reported after %.1f s of a hold of %v, most in flight %d with FailClosed and %d with FailLocal",
		lost, cut, stopped.Seconds(), f.hold, closed, local)
}

// slotFailover kills a primary whose replica lacks some slots.
func slotFailover(t *testing.T) string {
	s := redistest.Sentinel(t)
	f := startFleet(t, 8*time.Second, func(int) []string {
		return []string{"FAULTS_REDIS=" + s.Sentinel.Addr, "FAULTS_MASTER=" + s.Master}
	})
	const lacks = 10
	f.fill(slotsClosed, slotsMax-lacks, f.servers...)
	f.await(slotMargin, "replication", func() bool { return renewedSince(t, s.Replica, f.hold, time.Time{}) == slotsMax-lacks })
	s.Replica.Freeze()
	if err := s.Primary.Client().ClientKillByFilter(t.Context(), "type", "replica").Err(); err != nil {
		t.Fatal(err)
	}
	f.fill(slotsClosed, lacks, f.servers...)
	s.Primary.Kill()
	begun := time.Now()
	s.Replica.Thaw()
	s.AwaitFailover()
	f.healthy()
	back := time.Since(begun)
	f.fill(slotsClosed, lacks, f.servers...)
	f.await(f.hold, "reports of lost slots", func() bool { return f.health(f.servers...).lost == lacks })
	reported := time.Since(begun)
	f.await(slotMargin, "the end of requests whose slots are lost", func() bool { return f.now(slotsClosed) == slotsMax })
	f.wants(0, 20, http.StatusTooManyRequests)(f.send(slotsClosed, 20, f.servers...))
	peak := f.peak(slotsClosed)
	if peak > slotsMax+lacks {
		t.Errorf("%d in flight after a failover that lost %d slots", peak, lacks)
	}
	return fmt.Sprintf("failover: back after %.1f s, the %d of %d slots that the replica lacked reported after %.1f s, most in flight %d",
		back.Seconds(), lacks, slotsMax, reported.Seconds(), peak)
}

// healthy waits until all limiters use Redis.
func (f *fleet) healthy() {
	f.Helper()
	f.await(recovery+slotMargin, "recovery", func() bool { return f.health(f.servers...).down == 0 })
}

// renewedSince returns how many slots a server has that were taken or renewed since a
// time.
func renewedSince(t *testing.T, server *redistest.Server, hold time.Duration, since time.Time) (n int) {
	t.Helper()
	rdb := server.Client()
	for _, key := range rdb.Keys(t.Context(), "*:i").Val() {
		n += int(rdb.ZCount(t.Context(), key, fmt.Sprint(since.Add(hold).UnixMilli()), "+inf").Val())
	}
	return n
}
