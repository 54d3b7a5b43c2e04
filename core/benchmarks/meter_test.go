package main

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// pinger sends two commands for each decision, one after the other.
var pinger = peer{name: "pinger", commands: []string{"ping"}, make: func(l *link, _ quota) (allow, error) {
	return func(ctx context.Context, _ string) (bool, error) {
		return true, errors.Join(l.rdb.Ping(ctx).Err(), l.rdb.Ping(ctx).Err())
	}, nil
}}

// spinner is a script that takes its time, and calls another command.
var spinner = peer{name: "spinner", make: func(l *link, _ quota) (allow, error) {
	return func(ctx context.Context, _ string) (bool, error) {
		return true, l.rdb.Eval(ctx, "redis.call('PING') local n = 0 for i = 1, 100000 do n = n + i end return n", nil).Err()
	}, nil
}}

func TestWire(t *testing.T) {
	s := testStage(t)
	entrants, err := enter(s, []peer{pinger}, plenty)
	if err != nil {
		t.Fatal(err)
	}
	e := entrants[0]
	e.keys = []string{"k"}
	if err := e.take(0); err != nil { // connects
		t.Fatal(err)
	}
	w := &e.link.wire
	trips, sent, received := w.trips.Load(), w.sent.Load(), w.received.Load()
	if err := e.take(0); err != nil {
		t.Fatal(err)
	}
	if n := w.trips.Load() - trips; n != 2 {
		t.Errorf("%d round trips, want 2", n)
	}
	if n := w.sent.Load() - sent; n != int64(2*len("*1\r\n$4\r\nping\r\n")) {
		t.Errorf("%d bytes sent", n)
	}
	if n := w.received.Load() - received; n != int64(2*len("+PONG\r\n")) {
		t.Errorf("%d bytes received", n)
	}
}

func TestMeter(t *testing.T) {
	s := testStage(t)
	const n = 50
	spent := map[string]time.Duration{}
	for _, p := range []peer{pinger, spinner} {
		entrants, err := enter(s, []peer{p}, plenty)
		if err != nil {
			t.Fatal(err)
		}
		entrants[0].keys = make([]string, n)
		before := s.meter()
		if r := drive(1, n, time.Minute, entrants[0].take); r.err != nil {
			t.Fatal(r.err)
		}
		commands, process := s.meter().since(before, p.sends())
		want := int64(n)
		if p.name == pinger.name {
			want = 2 * n
		}
		if commands.calls != want {
			t.Errorf("%s: %d commands, want %d", p.name, commands.calls, want)
		}
		// Commands are timed by the clock, which advances when others run.
		if process <= 0 || commands.time <= 0 {
			t.Errorf("%s: %v in commands, %v in the process", p.name, commands.time, process)
		}
		spent[p.name] = process
	}
	if spent[spinner.name] < 2*spent[pinger.name] {
		t.Errorf("long scripts are said to take %v, and pings %v", spent[spinner.name], spent[pinger.name])
	}
}

func TestGrow(t *testing.T) {
	const size = 100_000
	holder := peer{name: "holder", make: func(l *link, _ quota) (allow, error) {
		value := strings.Repeat("x", size)
		return func(ctx context.Context, key string) (bool, error) { return true, l.rdb.Set(ctx, key, value, 0).Err() }, nil
	}}
	grown, keys, err := grow(testStage(t), holder, 50, 2)
	if err != nil {
		t.Fatal(err)
	}
	// The allocator gives up to a quarter more than it is asked for.
	for name, bytes := range map[string]float64{"growth": grown, "MEMORY USAGE": keys} {
		if bytes < size || bytes > 1.3*size {
			t.Errorf("%s: %.0f bytes for a key of %d", name, bytes, size)
		}
	}
}

func TestDrive(t *testing.T) {
	var calls [100]atomic.Int64
	r := drive(16, len(calls), time.Minute, func(i int) error {
		calls[i].Add(1)
		if i == 7 {
			return errors.New("seven")
		}
		time.Sleep(time.Millisecond)
		return nil
	})
	for i := range calls {
		if n := calls[i].Load(); n != 1 {
			t.Errorf("call %d was made %d times", i, n)
		}
	}
	if r.done != len(calls) || r.errors != 1 || r.err == nil {
		t.Errorf("%d done, %d errors: %v", r.done, r.errors, r.err)
	}
	if r.quantile(0.5) < time.Millisecond || r.quantile(0.999) < r.quantile(0.5) || r.perSecond() > 16_000 {
		t.Errorf("p50 %v, p99.9 %v, %.0f a second, of calls that take at least 1 ms", r.quantile(0.5), r.quantile(0.999), r.perSecond())
	}
	// A lone caller's time is that of its calls.
	r = drive(1, 50, time.Minute, func(int) error { time.Sleep(time.Millisecond); return nil })
	sum := time.Duration(0)
	for _, took := range r.each {
		sum += took
	}
	if sum > r.took || sum < r.took/2 {
		t.Errorf("a lone caller's calls took %v of %v", sum, r.took)
	}
	if r := drive(4, 1_000_000, 20*time.Millisecond, func(int) error { time.Sleep(time.Millisecond); return nil }); r.done == 0 || r.done > 100 {
		t.Errorf("%d calls of 1 ms in 20 ms by 4 callers", r.done)
	}
}

var sink []byte

func TestGauge(t *testing.T) {
	c := gauge(20*time.Millisecond, func() { sink = make([]byte, 1024) })
	if c.allocs < 0.99 || c.allocs > 1.1 || c.bytes < 1024 || c.bytes > 1100 || c.ns <= 0 {
		t.Errorf("%+v for one allocation of 1024 bytes", c)
	}
}
