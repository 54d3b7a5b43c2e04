package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
)

var inspectCommand = command{
	name:  "inspect",
	about: "shows the use, the log and the bans of a key under a policy",
	help: `
It counts nothing. For each limit it shows when the oldest entry leaves the window and
frees its units. The log has the requests that still count, and the refunds. Under a
concurrency policy it shows the requests in flight, and when their slots were renewed.

	streamlimit inspect -policy search -key 192.0.2.1`,
	flags: func(f *flag.FlagSet) action {
		t, p, key := targetFlags(f), policyFlags(f), keyFlag(f)
		most := f.Int("entries", 20, "how many `entries` of the log, the newest first")
		return func(ctx context.Context, s streams) error {
			if err := cmp.Or(p.check(), errNoKey(*key)); err != nil {
				return err
			}
			if *most < 0 {
				return usage("-entries is %d: it must be 0 at least", *most)
			}
			limiter, store, err := t.limiter(ctx)
			if err != nil {
				return err
			}
			defer limiter.Close()
			policy, err := p.find(ctx, limiter, store)
			if err != nil {
				return err
			}
			found, err := inspect(ctx, limiter, store, policy, *key, *most)
			if err != nil {
				return err
			}
			noteEmpty(ctx, s, limiter, policy, *key)
			if t.json {
				return writeJSON(s.out, found)
			}
			return found.write(s.out)
		}
	},
}

// inspection is the state of a key under a policy.
type inspection struct {
	Now        int64          `json:"now"`
	Policy     string         `json:"policy"`
	Key        string         `json:"key"`
	Allowed    bool           `json:"allowed"` // whether a request of cost 1 would be allowed
	Reason     string         `json:"reason"`
	RetryAfter int64          `json:"retryAfter"`
	Unit       string         `json:"unit"`
	Slots      bool           `json:"slots,omitempty"` // a concurrency policy: an entry is the last renewal of a slot
	Limits     []use          `json:"limits"`
	Rules      []monitor.Rule `json:"rules"`
	Entries    []logged       `json:"entries"`

	rules []core.Rule
}

type use struct {
	Limit  core.Limit `json:"limit"`
	Used   int64      `json:"used"`
	Left   int64      `json:"left"`
	FreeIn int64      `json:"freeIn"`
	Since  int64      `json:"since,omitempty"` // when the calendar period began, Unix milliseconds
}

type logged struct {
	Time   int64 `json:"t"`
	Cost   int64 `json:"cost"`
	Refund int64 `json:"refund"`
}

// fedStore is a store with a feed.
type fedStore interface {
	core.Store
	monitor.Feed
}

// inspect returns the state of a key, at a time by the store's clock, which the entries
// use. The use of the limits is by the log, even if a rule decides without it.
func inspect(ctx context.Context, limiter *core.Limiter, store fedStore, p *core.Policy, key string, most int) (*inspection, error) {
	rules, err := limiter.Rules(ctx)
	if err != nil {
		return nil, err
	}
	d, err := limiter.Peek(ctx, p, key)
	if err != nil {
		return nil, err
	}
	usage, err := store.Peek(ctx, d.Policy.Log(), d.Key, 1)
	if err != nil {
		return nil, err
	}
	now, err := store.Now(ctx)
	if err != nil {
		return nil, err
	}
	i := &inspection{
		Now: now.UnixMilli(), Policy: p.Name(), Key: d.Key,
		Allowed: d.Allowed, Reason: string(d.Reason), RetryAfter: d.RetryAfter.Milliseconds(), Unit: d.Policy.Unit(), Slots: d.Policy.Concurrency(),
		Rules: []monitor.Rule{}, Entries: []logged{},
	}
	for _, r := range rules {
		if shown := monitor.ShowRule(r); shown.Concerns(i.Policy, i.Key) {
			i.rules = append(i.rules, r)
			i.Rules = append(i.Rules, shown)
		}
	}
	if d.Reason == core.ReasonLimits {
		i.Allowed, i.RetryAfter = usage.Allowed, usage.RetryAfter.Milliseconds() // from one read together with the limits
	}
	for n, l := range d.Policy.Limits() {
		u := usage.Limits[n]
		limit := use{Limit: l, Used: u.Used, Left: max(l.Max-u.Used, 0), FreeIn: u.FreeIn.Milliseconds()}
		if onLog := d.Policy.Log().Limits[n]; onLog.Period != nil {
			since, _ := onLog.Bounds(now, u.FreeIn)
			limit.Since = since.UnixMilli()
		}
		i.Limits = append(i.Limits, limit)
	}
	if most == 0 {
		return i, nil
	}
	entries, err := limiter.Entries(ctx, p, key, most)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		i.Entries = append(i.Entries, logged{e.Time.UnixMilli(), e.Cost, e.Refund})
	}
	return i, nil
}

func (i *inspection) write(w io.Writer) error {
	fmt.Fprintf(w, "%s of %s: %s\n", clean(i.Key), i.Policy, i.verdict())
	for _, r := range i.rules {
		fmt.Fprintln(w, line(r, i.Slots))
	}
	fmt.Fprintln(w)
	rows := [][]string{{"LIMIT", "USED", "LEFT", "NEXT FREE"}}
	calendar := slices.ContainsFunc(i.Limits, func(l use) bool { return l.Since != 0 })
	if calendar {
		rows[0] = append(rows[0], "USED SINCE")
	}
	for _, l := range i.Limits {
		free := "-"
		switch {
		case l.Used > 0 && i.Slots:
			free = "when a request ends"
		case l.Used > 0:
			free = "in " + short(milli(l.FreeIn))
		}
		row := []string{limitText(l.Limit, i.Slots), decimal(l.Used), decimal(l.Left), free}
		if calendar {
			row = append(row, "-")
			if l.Since != 0 {
				row[4] = time.UnixMilli(l.Since).Format("2006-01-02 15:04:05")
			}
		}
		rows = append(rows, row)
	}
	if i.Unit != "requests" && i.Unit != "units" {
		rows[0][0] = "LIMIT OF " + strings.ToUpper(i.Unit)
	}
	if err := table(w, rows); err != nil {
		return err
	}
	if len(i.Entries) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	rows = [][]string{{"TIME", "AGO", "COST", "REFUND"}}
	if i.Slots {
		rows[0] = []string{"RENEWED", "AGO"}
	}
	for _, e := range i.Entries {
		at := time.UnixMilli(e.Time)
		row := []string{at.Format("2006-01-02 15:04:05.000"), short(milli(max(i.Now-e.Time, 0)))}
		if !i.Slots {
			row = append(row, figure(e.Cost), figure(e.Refund))
		}
		rows = append(rows, row)
	}
	return table(w, rows)
}

func (i *inspection) verdict() string {
	words := "a request is allowed"
	if !i.Allowed {
		words = "a request is denied"
		switch {
		case i.RetryAfter > 0:
			words += " for " + short(milli(i.RetryAfter))
		case i.Slots && i.Reason == string(core.ReasonLimits):
			words += " until one in flight ends"
		}
	}
	if i.Reason != string(core.ReasonLimits) {
		words += " (" + i.Reason + ")"
	}
	return words
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// figure returns a number as text, or "" for 0.
func figure(n int64) string {
	if n == 0 {
		return ""
	}
	return decimal(n)
}
