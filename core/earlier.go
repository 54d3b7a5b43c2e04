package core

import "slices"

// maxEarlier bounds the earlier logs of a policy, each of which a decision reads.
const maxEarlier = 8

// After returns p as it is after a change of limits: decisions on it also count what
// the logs of the earlier policies still hold, and write p's own log alone. An entry
// of an earlier log counts for no longer than that log's longest window. Policies
// with one log count once, and those with p's own log not at all.
//
// A [Limiter] calls it when an [RuleOverride], [Limiter.Replace] or a new deployment
// changes a policy, and leaves a log out again once that can hold nothing. So no window as
// long as the shortest in force, before and after, has more than the largest Max in
// force. A longer window is exact from one window after the change on. There are two
// bounds to that:
//
//   - A process that does not know of a change counts the earlier limits' log alone. It
//     reads a rule within a second, see [WithRulesInterval]. In a store that is a
//     [Registrar] it reads the logs of other processes within 20 seconds. After an idle
//     time it reads them with its first decision, which does not wait for that. The
//     first decisions on a policy wait, for 250 ms at most and half of the time that
//     the caller has.
//   - A policy has at most 8 earlier logs. A further change in one process waits until one
//     of them is empty, and a log line says so.
//
// After is exported for authors of stores.
func (p *Policy) After(earlier ...*Policy) *Policy {
	var logs []*Policy
	for _, e := range earlier {
		if e.logName != p.logName && !slices.ContainsFunc(logs, e.sameLog) {
			logs = append(logs, e)
		}
	}
	if len(logs) == 0 && len(p.earlier) == 0 {
		return p
	}
	changed := *p
	changed.earlier = logs
	return &changed
}

// Earlier returns the policies whose logs a store counts beside the policy's own: see
// [Policy.After]. It is empty unless limits were changed of late. The caller must not
// change it.
func (p *Policy) Earlier() []*Policy { return p.earlier }

func (p *Policy) sameLog(o *Policy) bool { return p.logName == o.logName }
