package redisstream

import (
	"errors"
	"fmt"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// parseUsage reads what the script of the policy's layout replies to a decision.
func parseUsage(reply []int64, p *core.Policy) (core.Usage, error) {
	if len(reply) == 1 && p.Layout() == core.Counted {
		window := p.Longest().Milliseconds()
		reply = []int64{1, 0, window, reply[0], window}
	}
	n := 3 + 2*p.Len()
	want := n
	if p.Layout() == core.Refunded {
		want = n + 2
	}
	if len(reply) != want {
		return core.Usage{}, fmt.Errorf("the script answered %d numbers, want %d", len(reply), want)
	}
	u := core.Usage{
		Source:     core.SourceRedis,
		Allowed:    reply[0] == 1,
		RetryAfter: time.Duration(reply[1]) * time.Millisecond,
		ResetAfter: time.Duration(reply[2]) * time.Millisecond,
	}
	for i := range p.Len() {
		u.Limits[i].Used = reply[3+2*i]
		u.Limits[i].FreeIn = time.Duration(reply[4+2*i]) * time.Millisecond
	}
	if p.Layout() == core.Refunded {
		u.Entry = core.EntryID{Time: reply[n], Total: reply[n+1]}
	}
	return u, nil
}

// first takes the first off the replies of several scripts, each of which stands
// behind its length.
func first(replies []int64) (reply, others []int64, err error) {
	if len(replies) == 0 || replies[0] < 0 || replies[0] > int64(len(replies)-1) {
		return nil, nil, errCut
	}
	n := 1 + replies[0]
	return replies[1:n], replies[n:], nil
}

var (
	errCut  = errors.New("the script answered too little")
	errMore = errors.New("the script answered too much")
)
