package core

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
)

// former is a log that a policy had before a change, or that another process registered.
type former struct {
	policy *Policy
	until  time.Time // it holds nothing that counts after that
}

// lateWrites is how long after a change others may still write to the earlier log:
// decisions under way, and processes that follow a rule or a file later.
const lateWrites = time.Minute

var errManyLogs = errors.New("its limits were changed too often of late: the change waits until an earlier log is empty")

// recordChanges notes which logs are written from now on, and which were before. A
// policy's new limits are known already.
func (v *view) recordChanges(before *view, now time.Time) {
	v.former = maps.Clone(before.former)
	v.written = make(map[string]*Policy, len(before.written)+1)
	maps.DeleteFunc(v.former, func(_ string, f former) bool { return !now.Before(f.until) })
	record := func(p, was *Policy) {
		next, _, _ := v.ruled(v.base(p))
		v.written[next.logName] = next
		if !next.sameLog(was) {
			v.noteFormer(was, now.Add(was.longest+lateWrites))
		}
	}
	for p, was := range before.policies {
		record(p, was)
	}
	for _, known := range before.names {
		record(known.first, known.now)
	}
}

// noteFormer notes a log until a time. It reports whether that is news.
func (v *view) noteFormer(p *Policy, until time.Time) bool {
	known, ok := v.former[p.logName]
	if ok && !known.until.Before(until) {
		return false
	}
	if v.former == nil {
		v.former = make(map[string]former)
	}
	if ok {
		p = known.policy
	}
	v.former[p.logName] = former{policy: p, until: until}
	return !ok
}

// withFormer returns p with the earlier logs of its name. Logs that other policies of the name
// write in this process are theirs. A change beyond maxEarlier logs waits: the policy is
// what it was.
func (v *view) withFormer(p, was *Policy) *Policy {
	var all []former
	for log, f := range v.former {
		if f.policy.name == p.name && log != p.logName && v.written[log] == nil {
			all = append(all, f)
		}
	}
	if len(all) > maxEarlier {
		if was != nil && !was.sameLog(p) {
			v.unfit = policyError(p, errManyLogs)
			return was
		}
		slices.SortFunc(all, func(a, b former) int { return b.until.Compare(a.until) })
		all = all[:maxEarlier]
	}
	earlier := make([]*Policy, len(all))
	for i, f := range all {
		earlier[i] = f.policy
	}
	slices.SortFunc(earlier, func(a, b *Policy) int { return strings.Compare(a.logName, b.logName) })
	return p.After(earlier...)
}

// dropFormer forgets the earlier logs that hold nothing any more.
func (l *Limiter) dropFormer(now time.Time) {
	over := func(v *view) bool {
		for _, f := range v.former {
			if !now.Before(f.until) {
				return true
			}
		}
		return false
	}
	if !over(l.view.Load()) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.view.Load()
	l.show(newView(v, v.replaced, v.ruleset))
}

// policyOfLog returns a policy with the log of a name; nil for a name of another version's.
func policyOfLog(name string) *Policy {
	at := strings.LastIndexByte(name, ':')
	if at < 0 || len(name) < at+3 {
		return nil
	}
	window, err := parseWindow(name[at+2:])
	if err != nil {
		return nil
	}
	options := []PolicyOption{Limit{Max: MaxUnits, Window: window}}
	switch Layout(name[at+1]) {
	case Counted:
	case Summed:
		options = append(options, VariableCost())
	case Refunded:
		options = append(options, Refundable(0))
	default:
		return nil
	}
	p, err := newPolicy(name[:at], options)
	if err != nil || p.logName != name {
		return nil
	}
	return p
}
