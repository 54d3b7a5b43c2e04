package redisstream

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

// The first argument of a layout's script says what to do with the log. As any,
// it takes no memory in each call.
var (
	modeLook    any = "look"    // decide and change nothing
	modeTake    any = "take"    // decide, and take the units if there is room
	modeCorrect any = "correct" // correct what was taken
)

// charge is what a script is asked: to take units from the log of one policy
// and key.
type charge struct {
	policy *store.Log
	key    string
	log    string // the log's key in Redis
	cost   int64
	token  string // the member of a slot in its set: see memberOf

	// For a log with calendar limits:
	clock *ruleClock // what is known of the time of the store's servers
	at    int64      // the log's time as its server has told it, Unix milliseconds; 0 before
}

// decision returns the call of the layout's script for one charge, as the head of
// each script describes it.
func decision(c *charge, mode any) []any {
	return appendDecision(callFor(c, 4+2*len(c.policy.Limits)+3*len(c.policy.Earlier)), c, mode)
}

// callFor returns the call of the script that decides on one charge, with room for so
// many arguments, which follow.
func callFor(c *charge, arguments int) []any {
	sc := scriptOf(c.policy)
	if len(c.policy.Earlier) == 0 {
		return sc.call(arguments, c.log)
	}
	return sc.call(arguments, appendEarlier([]string{c.log}, c)...)
}

// appendEarlier appends the keys of the earlier logs of a charge. They have the hash
// tag of its log.
func appendEarlier(logs []string, c *charge) []string {
	for _, p := range c.policy.Earlier {
		logs = append(logs, scratch(c.log)+":"+p.Name)
	}
	return logs
}

// appendDecision appends the arguments of the script that decides on a charge.
func appendDecision(args []any, c *charge, mode any) []any {
	return appendArgs(append(args, mode), c)
}

// logsOf returns the keys of the logs of n charges, and after them those of the earlier
// logs. It reports whether there are any of these.
func logsOf(n int, charge func(int) *charge) (logs []string, earlier bool) {
	logs = make([]string, n)
	for i := range n {
		logs[i] = charge(i).log
	}
	for i := range n {
		logs = appendEarlier(logs, charge(i))
	}
	return logs, len(logs) > n
}

// appendLogs appends the arguments for the logs of n charges, as many.lua and
// together.lua describe them: those of the script of each, which add appends.
func appendLogs(call []any, n int, charge func(int) *charge, add func(args []any, i int) []any) []any {
	pair := n + 1
	for i := range n {
		p := charge(i).policy
		letter, earlier := string(p.Layout), len(p.Earlier)
		if earlier > 0 {
			letter = earlierLetter
		}
		call = append(call, letter, 0)
		head := len(call)
		call = add(call, i)
		call[head-1] = len(call) - head
		if earlier > 0 {
			call[len(call)-1] = pair
			pair += earlier
		}
	}
	return call
}

// appendArgs appends the arguments of a script after the first: those of the layout's,
// or of earlier.lua for a call on one log.
func appendArgs(args []any, c *charge) []any {
	p := c.policy
	switch {
	case p.Layout == store.Calendar:
		return appendCalendarArgs(args, c)
	case len(p.Earlier) == 0:
		return appendLayoutArgs(args, c)
	}
	args = append(args, string(p.Layout), len(p.Earlier))
	for _, e := range p.Earlier {
		args = append(args, string(e.Layout), e.Longest.Milliseconds(), e.Lease.Milliseconds())
	}
	const pair = 2 // of the first earlier log
	return append(appendLayoutArgs(args, c), pair)
}

// appendLayoutArgs appends the arguments of the layout's script after the first. For
// a counted log, cost is the number of requests that are decided at once.
func appendLayoutArgs(args []any, c *charge) []any {
	p, cost := c.policy, c.cost
	switch p.Layout {
	case store.Slots:
		args = append(args, c.token)
	case store.Counted:
		args = append(args, cost)
	case store.Refunded:
		args = append(args, cost, p.Longest.Milliseconds(), start())
	default:
		args = append(args, cost, p.Longest.Milliseconds(), p.Slice.Milliseconds())
	}
	for i := range len(p.Limits) {
		l := p.Limits[i]
		args = append(args, l.Max, l.Window.Milliseconds())
	}
	return args
}

// start returns the total at which a new log with refunds starts: see
// refunded.lua.
func start() int64 { return rand.Int64N(1 << 48) }

// decisionOfSeveral returns the call of together.lua: all charges or none. A
// policy in shadow mode does not hold up the others.
func decisionOfSeveral(charges []charge) (*script, []any) {
	holds := make([]byte, len(charges))
	for i := range charges {
		holds[i] = '1'
		if charges[i].policy.Shadow {
			holds[i] = '0'
		}
	}
	charge := func(i int) *charge { return &charges[i] }
	sc := together
	logs, earlier := logsOf(len(charges), charge)
	if earlier {
		sc = togetherChanged
	}
	call := append(sc.call(1+8*len(charges), logs...), string(holds))
	return sc, appendLogs(call, len(charges), charge, func(args []any, i int) []any {
		return appendArgs(args, &charges[i])
	})
}

// parseUsage reads the reply of the layout's script to a decision.
func parseUsage(reply []int64, p *store.Log) (store.Usage, error) {
	if len(reply) == 1 && p.Layout == store.Counted {
		window := p.Longest.Milliseconds()
		reply = []int64{1, 0, window, reply[0], window}
	}
	if err := outsidePeriod(reply, p); err != nil {
		return store.Usage{}, err
	}
	n := 3 + 2*len(p.Limits)
	want := n
	if hasEntryID(p) {
		want = n + 2
	}
	if len(reply) != want {
		return store.Usage{}, fmt.Errorf("the script answered %d numbers, want %d", len(reply), want)
	}
	u := store.Usage{
		Source:     store.SourceRedis,
		Allowed:    reply[0] == 1,
		RetryAfter: time.Duration(reply[1]) * time.Millisecond,
		ResetAfter: time.Duration(reply[2]) * time.Millisecond,
	}
	for i := range len(p.Limits) {
		u.Limits[i].Used = reply[3+2*i]
		u.Limits[i].FreeIn = time.Duration(reply[4+2*i]) * time.Millisecond
	}
	if hasEntryID(p) {
		u.Entry = store.EntryID{Time: reply[n], Total: reply[n+1]}
	}
	return u, nil
}

// hasEntryID reports whether the reply to a decision ends with the ID of the new entry.
func hasEntryID(p *store.Log) bool {
	return p.Layout == store.Refunded || p.Layout == store.Calendar
}

// parseSeveral reads the reply of together.lua. After an outside error the charges have the
// times of their logs.
func parseSeveral(replies []int64, charges []charge) ([]store.Usage, error) {
	usages := make([]store.Usage, len(charges))
	var moved error
	for i, c := range charges {
		reply, others, err := first(replies)
		if err != nil {
			return nil, err
		}
		usages[i], err = parseUsage(reply, c.policy)
		var o *outside
		switch {
		case errors.As(err, &o):
			charges[i].at, moved = o.log, err
		case err != nil:
			return nil, err
		}
		replies = others
	}
	if moved != nil {
		return nil, moved
	}
	if len(replies) > 0 {
		return nil, errMore
	}
	return usages, nil
}

// first splits the replies of several scripts, each of which stands behind its
// length, into the first reply and the others.
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
