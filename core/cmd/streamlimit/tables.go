package main

import (
	"fmt"
	"time"

	"github.com/streamlimit/streamlimit/core/monitor"
)

// policies shows requests a second by policy, with the allowed ones above the denied
// ones.
func (s *screen) policies(f *frame, row int) int {
	all := byDenials(s.last.picture.Policies)
	if len(all) == 0 {
		return s.nothing(f, row, "No process has published a policy within the last hour: processes need a recorder of package monitor.")
	}
	const limit, denied, rate = 22, 7, 8
	name := min(max(f.width/5, 16), 32)
	chart := name + limit + denied + rate + 4
	seconds := min(max(f.width-chart, 0), maxSeconds)
	f.put(row, 0, name, bold, "POLICY")
	f.put(row, name+1, limit, bold, "LIMITS")
	f.right(row, name+limit+2, denied, bold, "DENIED")
	f.right(row, name+limit+denied+2, rate, bold, "/S")
	f.put(row, chart, seconds, bold, fmt.Sprintf("LAST %d SECONDS", seconds))
	for i, p := range all {
		passed, kept := series(s.last.seconds[p.Name], seconds)
		highest := max(most(passed), most(kept))
		now := s.last.rate(p.Name)
		if row, ok := s.line(f, row+1, 2*i); ok {
			f.put(row, 0, name, bold, p.Name)
			f.put(row, name+1, limit, plain, limits(p.Limits, hasSlots(p)))
			f.right(row, name+limit+2, denied, plain, share(p.Denied, p.Total()))
			f.right(row, name+limit+denied+2, rate, green, decimal(now.Allowed+now.ShadowDenied))
			f.put(row, chart, seconds, green, bars(passed, highest))
		}
		if row, ok := s.line(f, row+1, 2*i+1); ok {
			f.put(row, 0, name+limit+denied+1, yellow, further(p))
			f.right(row, name+limit+denied+2, rate, red, decimal(now.Denied))
			f.put(row, chart, seconds, red, bars(kept, highest))
		}
	}
	return 2 * len(all)
}

// series returns the last n seconds of a policy, allowed and denied.
func series(seconds []monitor.Counts, n int) (passed, kept []int64) {
	seconds = seconds[max(len(seconds)-n, 0):]
	for _, c := range seconds {
		passed = append(passed, c.Allowed+c.ShadowDenied)
		kept = append(kept, c.Denied)
	}
	return passed, kept
}

func most(values []int64) (highest int64) {
	for _, v := range values {
		highest = max(highest, v)
	}
	return highest
}

// keys shows the keys with the most requests of the last minute.
func (s *screen) keys(f *frame, row int) int {
	half := f.width/2 - 1
	top := s.last.picture.Top
	s.ranking(f, row, 0, half, red, "DENIED MOST", top.Denied)
	s.ranking(f, row, half+2, half, green, "ALLOWED MOST", top.Allowed)
	return max(len(top.Allowed), len(top.Denied))
}

func (s *screen) ranking(f *frame, row, column, width int, look style, title string, keys []monitor.TopKey) {
	const count = 9
	chart := max((width-count)/6, 0)
	policy := max((width-count-chart)*2/5, 0)
	key := max(width-count-chart-policy-2, 0)
	f.put(row, column, key+policy, bold, title)
	f.right(row, column+width-chart-count-1, count, bold, "A MINUTE")
	if len(keys) == 0 {
		f.put(row+1, column, width, faint, "none")
	}
	for i, k := range keys {
		row, ok := s.line(f, row+1, i)
		if !ok {
			continue
		}
		number := decimal(k.Count)
		if k.Error > 0 {
			number = "~" + number
		}
		f.put(row, column, key, plain, k.Key)
		f.put(row, column+key+1, policy, faint, k.Policy)
		f.right(row, column+width-chart-count-1, count, plain, number)
		f.put(row, column+width-chart, chart, look, bar(k.Count, keys[0].Count, chart))
	}
}

// idle is the time without a publication after which a process makes no decisions.
const idle = 5 * time.Second

// processes shows the processes, with their stores and their speed.
func (s *screen) processes(f *frame, row int) int {
	all := s.last.picture.Processes
	if len(all) == 0 {
		return s.nothing(f, row, "No process has published anything within the last hour.")
	}
	const (
		host, pid, store, rate, latency = 20, 8, 7, 8, 9
		state                           = host + pid + store + rate + 2*latency + 3
	)
	f.put(row, 0, host, bold, "HOST")
	f.right(row, host, pid, bold, "PID")
	f.put(row, host+pid+2, store, bold, "STORE")
	f.right(row, host+pid+store+1, rate, bold, "/S")
	f.right(row, host+pid+store+rate+1, latency, bold, "P50 MS")
	f.right(row, host+pid+store+rate+latency+1, latency, bold, "P99 MS")
	f.put(row, state, f.width, bold, "STATE")
	for i, p := range all {
		row, ok := s.line(f, row+1, i)
		if !ok {
			continue
		}
		f.put(row, 0, host-1, plain, p.Host)
		f.right(row, host, pid, plain, decimal(int64(p.PID)))
		f.put(row, host+pid+2, store, plain, p.Store)
		f.right(row, host+pid+store+1, rate, plain, decimal(p.Rate))
		f.right(row, host+pid+store+rate+1, latency, plain, fmt.Sprintf("%.2f", p.P50))
		f.right(row, host+pid+store+rate+latency+1, latency, plain, fmt.Sprintf("%.2f", p.P99))
		words, look := s.state(p)
		f.put(row, state, f.width, look, words)
	}
	return len(all)
}

func (s *screen) state(p monitor.Process) (words string, look style) {
	now := s.last.at
	if len(p.Down) > 0 {
		d := p.Down[0]
		return fmt.Sprintf("%s down for %s: %s", d.Server, short(now.Sub(time.UnixMilli(d.Since)).Round(time.Second)), d.Error), red
	}
	if quiet := now.Sub(time.UnixMilli(p.Seen)); quiet > idle {
		return "idle for " + short(quiet.Round(time.Second)), faint
	}
	return "answers", green
}

// rules shows the rules: bans, overrides and others.
func (s *screen) rules(f *frame, row int) int {
	if len(s.last.rules) == 0 {
		return s.nothing(f, row, "No rule holds.")
	}
	const kind, ends = 10, 14
	who := max(f.width-kind-ends-2, 0)
	f.put(row, 0, kind, bold, "RULE")
	f.put(row, kind, who, bold, "OF")
	f.right(row, kind+who+1, ends, bold, "ENDS IN")
	for i, r := range s.last.rules {
		row, ok := s.line(f, row+1, i)
		if !ok {
			continue
		}
		f.put(row, 0, kind, plain, string(r.Kind))
		f.put(row, kind, who, plain, about(r, concurrency(s.last.picture.Policies, r.Policy)))
		if !r.Until.IsZero() {
			f.right(row, kind+who+1, ends, plain, short(r.Until.Sub(s.last.at).Round(time.Second)))
		}
	}
	return len(s.last.rules)
}

// nothing shows why a table is empty, after the first reading.
func (s *screen) nothing(f *frame, row int, why string) int {
	if !s.last.at.IsZero() {
		f.put(row, 0, f.width, faint, why)
	}
	return 0
}
