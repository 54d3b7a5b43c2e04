package faults

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/examples/internal/program"
)

// Servers get SIGTERM while clients send requests as fast as they can. An accepted
// request is in the log, and must have a response. Every request has a connection of its
// own. A server may close an idle connection at the moment of a new request, which the
// client must then repeat.
func TestRow25_ShutdownUnderLoad(t *testing.T) {
	r := row(t, 25)
	redis := redistest.Start(t)
	var all shutdown
	times := scale(1, 10)
	for range times {
		for _, framework := range program.Servers {
			one := endServer(t, redis, framework)
			if one.late == 0 || one.taken != one.answered {
				t.Errorf("%s: %+v", framework, one)
			}
			all.answered, all.late, all.taken = all.answered+one.answered, all.late+one.late, all.taken+one.taken
		}
	}
	r.Figure("%d lost of %d requests, %d answered after SIGTERM; exit code 0 of %d servers",
		all.taken-all.answered, all.taken, all.late, times*len(program.Servers))
}

// shutdown has the results of the requests to one server.
type shutdown struct{ taken, answered, late int64 } // late: answered after SIGTERM

// endServer ends a server under load.
func endServer(t *testing.T, redis *redistest.Server, framework string) shutdown {
	t.Helper()
	for range 20 {
		if err := redis.Client().FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		server := program.Start(t, framework, "REDIS_URL=redis://"+redis.Addr, "POLICY_PROTECTED=1000000/h")
		l := load{url: server.URL + "/protected"}
		l.run(t, server)
		// On a machine that is too busy for the server's timeout, the log does not have
		// all accepted requests. Then the test tries again.
		if !strings.Contains(server.Log(), "failed to answer") {
			return shutdown{logged(t, redis), l.answered.Load(), l.late.Load()}
		}
	}
	t.Fatalf("%s: the machine is too busy for Redis to answer in time", framework)
	return shutdown{}
}

// load is a group of clients of a server.
type load struct {
	url            string
	ending         atomic.Bool
	answered, late atomic.Int64 // late is how many after SIGTERM
}

// run starts the clients, ends the server, and waits until all clients are done.
func (l *load) run(t *testing.T, server *program.Process) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: program.Timeout}
	var clients sync.WaitGroup
	for range 16 {
		clients.Go(func() {
			for l.ask(t, client) {
			}
		})
	}
	for start := time.Now(); l.answered.Load() < 200 && time.Since(start) < program.Timeout; {
		time.Sleep(time.Millisecond)
	}
	l.ending.Store(true)
	server.Stop(t) // checks the exit code
	clients.Wait()
}

// ask returns false after the server stops accepting requests.
func (l *load) ask(t *testing.T, client *http.Client) bool {
	resp, err := client.Get(l.url)
	ending := l.ending.Load()
	if err != nil {
		if !ending {
			t.Errorf("before SIGTERM: %v", err)
		}
		return false
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("status %d, %v", resp.StatusCode, err)
		return false
	}
	l.answered.Add(1)
	if ending {
		l.late.Add(1)
	}
	return true
}

// logged returns the number of requests in the one log in Redis.
func logged(t *testing.T, redis *redistest.Server) int64 {
	t.Helper()
	logs, err := redis.Client().Keys(t.Context(), "*:protected:*").Result()
	if err != nil || len(logs) != 1 {
		t.Fatalf("logs %q, %v", logs, err)
	}
	n, err := redis.Client().XLen(t.Context(), logs[0]).Result()
	if err != nil {
		t.Fatal(err)
	}
	return n
}
