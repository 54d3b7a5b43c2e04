package faults

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/streamlimit/streamlimit/core"
)

const (
	reuseConnections = 16
	reusePipelined   = 10 // requests that a connection sends before it reads
	reuseUses        = 5  // requests of each user
)

// The next requests overwrite the buffers of Fiber's strings. Users with names of many
// lengths share connections. Each request must be counted by its own name. The memory
// store must find all keys again.
func TestRow26_ReusedStrings(t *testing.T) {
	t.Parallel()
	r := row(t, 26)
	users := scale(10_000, 200_000)
	corrupt := reused(t, "fiber", users) + reused(t, "fiber3", users)
	r.Figure("%d corruptions in %d requests of %d users on %d connections", corrupt, 2*users*reuseUses, 2*users, 2*reuseConnections)
}

// reused returns how many users of a service have units left after all have used their
// limits.
func reused(t *testing.T, framework string, users int) (corrupt int) {
	l := core.New(core.NewMemory(core.WithMaxKeys(users)))
	defer l.Close()
	p := core.NewPolicy("reuse", core.PerDay(reuseUses), core.VariableCost(), core.Refundable(0))
	addr, stop := serveApp(t, framework, app{limiter: l, policy: p, at: func(string, string) {}})
	var group sync.WaitGroup
	for first := range reuseConnections {
		group.Go(func() { reuse(t, addr, first, users) })
	}
	group.Wait()
	stop()
	for i := range users {
		if d, err := l.Peek(t.Context(), p, "user="+userName(i)); err != nil || d.Remaining != 0 {
			corrupt++
		}
	}
	if corrupt > 0 {
		t.Errorf("%s: %d of %d users have something left", framework, corrupt, users)
	}
	return corrupt
}

// userName returns a name with a length and letters of its own.
func userName(i int) string {
	return fmt.Sprint(i, strings.Repeat(string(rune('a'+i%26)), i*7%60))
}

// reuse sends the requests of every sixteenth user on one connection, in random order.
func reuse(t *testing.T, addr string, first, users int) {
	var names []string
	for i := first; i < users; i += reuseConnections {
		for range reuseUses {
			names = append(names, userName(i))
		}
	}
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for len(names) > 0 {
		batch := names[:min(reusePipelined, len(names))]
		names = names[len(batch):]
		var out strings.Builder
		for _, name := range batch {
			fmt.Fprintf(&out, "GET / HTTP/1.1\r\nHost: x\r\nUser: %s\r\n\r\n", name)
		}
		if _, err := io.WriteString(conn, out.String()); err != nil {
			t.Error(err)
			return
		}
		for _, name := range batch {
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Error(err)
				return
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK || string(body) != "user="+name {
				t.Errorf("status %d, %v: %q was counted as %q", resp.StatusCode, err, name, body)
				return
			}
		}
	}
}
