package core

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

// former is a log that a policy had before a change, or that another process registered.
type former struct {
	log   *store.Log
	until time.Time // after this time, no entry of the log counts
}

// lateWrites is how long after a change others may still write to the earlier log:
// decisions under way, and processes that follow a rule or a file later.
const lateWrites = time.Minute

var errManyLogs = errors.New("its limits were changed too often of late: the change waits until an earlier log is empty")

// recordChanges notes which logs are written from now on, and which were before. A
// policy's new limits are known already.
func (v *view) recordChanges(before *view, now time.Time) {
	v.former = maps.Clone(before.former)
	v.written = make(map[string]*store.Log, len(before.written)+1)
	maps.DeleteFunc(v.former, func(_ string, f former) bool { return !now.Before(f.until) })
	record := func(p, was *Policy) {
		next, _, _ := v.ruled(v.base(p))
		v.written[next.log.Name] = next.log
		if !next.log.SameName(was.log) {
			v.noteFormer(was.log, now.Add(was.log.Longest+lateWrites))
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
func (v *view) noteFormer(log *store.Log, until time.Time) bool {
	known, ok := v.former[log.Name]
	if ok && !known.until.Before(until) {
		return false
	}
	if v.former == nil {
		v.former = make(map[string]former)
	}
	if ok {
		log = known.log
	}
	v.former[log.Name] = former{log: log, until: until}
	return !ok
}

// withFormer returns p with the earlier logs of its name. A log that another policy of
// the name writes in this process is not an earlier log of p. A change beyond
// store.MaxEarlier logs waits: the policy stays as it was.
func (v *view) withFormer(p, was *Policy) *Policy {
	if was != nil && changesPeriods(was.log, p.log) && !v.fresh {
		v.unfit = policyError(p, errPeriodsChanged)
		v.refused[p.name] = v.unfit
		return was
	}
	var all []former
	for name, f := range v.former {
		if !changesPeriods(f.log, p.log) && f.log.Policy == p.name && name != p.log.Name && v.written[name] == nil {
			all = append(all, f)
		}
	}
	if len(all) > store.MaxEarlier {
		if was != nil && !was.log.SameName(p.log) {
			v.unfit = policyError(p, errManyLogs)
			return was
		}
		slices.SortFunc(all, func(a, b former) int { return b.until.Compare(a.until) })
		all = all[:store.MaxEarlier]
	}
	earlier := make([]*store.Log, len(all))
	for i, f := range all {
		earlier[i] = f.log
	}
	slices.SortFunc(earlier, func(a, b *store.Log) int { return strings.Compare(a.Name, b.Name) })
	return p.after(earlier)
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
	l.show(l.newView(v, v.replaced, v.ruleset))
}

// logNamed returns the log with a name, or nil for a name in the form of another version.
func logNamed(name string) *store.Log {
	at := strings.LastIndexByte(name, ':')
	if at < 0 || len(name) < at+3 {
		return nil
	}
	text, lease, leased := strings.Cut(name[at+2:], string(leaseMark))
	window, err := parseWindow(text)
	if err != nil {
		return nil
	}
	options := []PolicyOption{Limit{Max: store.MaxUnits, Window: window}}
	if leased {
		d, err := parseWindow(lease)
		if err != nil {
			return nil
		}
		options = append(options, Lease(d))
	}
	switch store.Layout(name[at+1]) {
	case store.Counted:
	case store.Summed:
		options = append(options, VariableCost())
	case store.Refunded:
		if !leased {
			options = append(options, Refundable(0))
		}
	default:
		return nil
	}
	p, err := newPolicy(name[:at], options)
	if err != nil || p.log.Name != name {
		return nil
	}
	return p.log
}
