package redisstream

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/store"
)

// result is what a script has answered to the waiters of a group.
type result struct {
	group
	usage   store.Usage
	granted int   // of the group, from its first waiter on
	err     error // of the script
	shared  []*waiter
}

// sendBatch sends what the waiters of a batch ask, and reads the answers. The error is
// that of the request.
func (v *server) sendBatch(batch *batch) ([]result, error) {
	if t := batch.waiters[0]; t.command != nil {
		batch.markSent()
		err := v.batcher.transport.command(&batch.request, t.command)
		return []result{{group: batch.waiters, err: err}}, err
	}
	if t := batch.waiters[0]; t.script != nil {
		reply, err := v.batcher.transport.send(&batch.request, t.script, t.call)
		r := result{group: batch.waiters, granted: 1, err: err}
		switch {
		case err != nil:
		case t.script != together && t.script != togetherChanged:
			t.reply = reply
		default:
			t.usages, r.err = parseSeveral(reply, t.charges)
		}
		return []result{r}, err
	}
	groups := grouped(batch.waiters)
	results := make([]result, len(groups))
	if len(groups) == 1 {
		return results, v.sendGroup(batch, groups[0], &results[0])
	}
	charge := func(i int) *charge { return &groups[i][0].charges[0] }
	sc := many
	logs, earlier := logsOf(len(groups), charge)
	if earlier {
		sc = manyChanged
	}
	call := appendLogs(sc.call(8*len(groups), logs...), len(groups), charge, func(args []any, i int) []any { return groups[i].appendArgs(args) })
	replies, err := v.batcher.transport.send(&batch.request, sc, call)
	if redis.HasErrorPrefix(err, "TRYAGAIN") || v.batcher.apart(err) {
		// One script may use one log only: while a slot moves, and in a cluster that
		// this process took for a single server. No script has run.
		for i, g := range groups {
			if err = v.sendGroup(batch, g, &results[i]); err != nil && !answered(err) {
				for j := range groups[i:] {
					results[i+j] = result{group: groups[i+j], err: err}
				}
				break
			}
		}
		return results, err
	}
	failed := err
	for i, g := range groups {
		results[i].group = g
		var reply []int64
		if failed == nil {
			reply, replies, failed = first(replies)
		}
		switch {
		case failed != nil:
			results[i].err = failed
		case len(reply) == 0:
			results[i].err = errUnexplained
		default:
			results[i].read(reply)
		}
	}
	return results, err
}

// sendGroup decides on a group by a script of its own.
func (v *server) sendGroup(batch *batch, g group, r *result) error {
	r.group = g
	c := &g[0].charges[0]
	call := g.appendArgs(callFor(c, 6+2*store.MaxLimits))
	reply, err := v.batcher.transport.send(&batch.request, scriptOf(c.policy), call)
	if err != nil {
		r.err = err
		return err
	}
	r.read(reply)
	if outsidePeriod(reply, c.policy) != nil {
		return nil // the server has answered
	}
	return r.err
}

// group holds decisions that are one for the script: requests under the same
// limit of the same log.
type group []*waiter

// grouped puts waiters together that one question answers.
func grouped(all []*waiter) []group {
	groups := make([]group, 0, len(all))
	places := make(map[string]int, len(all)) // of counted logs, in groups
	for i, t := range all {
		c := &t.charges[0]
		if t.args == nil && c.policy.Layout == store.Counted {
			place, known := places[c.log]
			if known && groups[place][0].charges[0].policy == c.policy {
				groups[place] = append(groups[place], t)
				continue
			}
			places[c.log] = len(groups)
		}
		groups = append(groups, all[i:i+1:i+1])
	}
	return groups
}

// appendArgs appends the arguments of the layout's script for the group.
func (g group) appendArgs(args []any) []any {
	if g[0].args != nil {
		return append(args, g[0].args...)
	}
	c := g[0].charges[0]
	c.cost = g.cost()
	return appendDecision(args, &c, modeTake)
}

func (g group) cost() int64 {
	if len(g) > 1 {
		return int64(len(g))
	}
	return g[0].charges[0].cost
}

// read reads the reply of the layout's script: the first waiters of the group
// get what is left.
func (r *result) read(reply []int64) {
	if r.group[0].args != nil {
		r.group[0].reply = reply
		return
	}
	r.usage, r.err = parseUsage(reply, r.group[0].charges[0].policy)
	switch {
	case r.err != nil:
	case len(r.group) == 1:
		if r.usage.Allowed {
			r.granted = 1
		}
	case len(reply) > 1:
		r.granted = int(reply[0])
	default:
		r.granted = len(r.group)
	}
}

// deny returns the answer to the waiters that got nothing.
func (r *result) deny() store.Usage {
	u := r.usage
	u.Allowed = false
	return u
}

// deliver answers the waiters of a group that were claimed.
func (r *result) deliver() {
	for _, t := range r.shared { // first: the others' usages are their callers' then
		if t.script == nil {
			t.usage[0] = r.deny()
		} else {
			t.usages = slices.Clone(r.group[0].usages)
		}
		t.answer(nil)
	}
	for i, t := range r.group {
		if r.err == nil && !t.apartFromOthers() && t.args == nil {
			t.usage[0] = r.usageOf(i)
		}
		t.answer(r.err)
	}
}

// usageOf returns the answer to the waiter at a place in the group.
func (r *result) usageOf(place int) store.Usage {
	if len(r.group) == 1 {
		return r.usage
	}
	if place >= r.granted {
		return r.deny()
	}
	u := r.usage
	u.Allowed, u.RetryAfter = true, 0
	if left := int64(r.granted - 1 - place); left > 0 { // for those who come after this one
		u.Limits[0].Used -= left
		u.Limits[0].FreeIn = r.usage.ResetAfter
	}
	return u
}

// errUnexplained is the error of a script that has failed among many.
var errUnexplained = fmt.Errorf("%w: the script failed", store.ErrRejected)

// share lets a denial answer those who had begun to wait before the question was
// sent: its moment lies within each one's wait. It answers the same policy and
// the same cost only, and for several policies the same set of charges. The
// server's lock is held.
func (v *server) share(results []result, number uint64) {
	for i := range results {
		r := &results[i]
		if r.group == nil {
			continue
		}
		asked := r.group[len(r.group)-1]
		if r.err != nil || asked.args != nil || asked.command != nil || asked.script == nil && r.granted == len(r.group) || asked.script != nil && !asked.denied() {
			continue
		}
		l := v.queue.lines[asked.charges[0].log]
		if l == nil {
			continue
		}
		for t := l.first; t != nil; {
			behind := t.links[ofItsLine].after
			if t.number <= number && t.script == asked.script && t.args == nil && t.command == nil && slices.Equal(t.charges, asked.charges) {
				v.queue.remove(t)
				t.claim()
				r.shared = append(r.shared, t)
			}
			t = behind
		}
	}
}

// denied reports whether a waiter with a script of its own was denied.
func (t *waiter) denied() bool {
	for i, u := range t.usages {
		if !u.Allowed && !t.charges[i].policy.Shadow {
			return true
		}
	}
	return false
}

// explain answers a group whose script has failed among many, with what looking
// at the log alone says within one more timeout. The requests may have been counted, so
// they are not sent again.
func (v *server) explain(r result) {
	b := v.batcher
	ctx, cancel := context.WithTimeout(context.Background(), b.transport.timeout)
	defer cancel()
	c := r.group[0].charges[0]
	if _, r.err = b.ask(ctx, c, appendDecision(nil, &c, modeLook)); r.err == nil {
		r.err = errUnexplained
	}
	v.mu.Lock()
	for _, t := range r.group {
		t.claim()
	}
	v.unlock()
	r.deliver()
}
