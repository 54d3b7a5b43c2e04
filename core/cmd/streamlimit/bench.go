package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

const (
	benchKeys = "bench:" // what keys begin with that nobody is counted by
	maxBench  = 10_000_000
)

var benchCommand = command{
	name:  "bench",
	about: "makes decisions on a Redis, and says how many and how fast",
	help: `
Callers ask side by side until there have been -n decisions, or -duration is over.
They share round trips and remember denials as those of one service do. It uses up
units of the key, so it asks before it begins unless the key starts with bench: or
there is -yes; the log of a key that starts so is forgotten before and after. Ctrl-C
ends it early. Unless it is told otherwise, the limit is one that admits all.

	streamlimit bench -n 100000 -callers 64
	streamlimit bench -limits 1000/second`,
	flags: func(f *flag.FlagSet) action {
		t, p := targetFlags(f), policyFlags(f)
		b := &bench{}
		f.StringVar(&b.key, "key", benchKeys+"1", "the `key` to count by")
		f.IntVar(&b.n, "n", 10_000, "how many decisions")
		f.IntVar(&b.callers, "callers", 16, "how many ask at once")
		f.DurationVar(&b.most, "duration", 10*time.Second, "how long at most")
		yes := f.Bool("yes", false, "don't ask")
		return func(ctx context.Context, s streams) error {
			if err := b.check(); err != nil {
				return err
			}
			if p.name == "" {
				p.name = "bench"
				if p.limits == "" {
					p.limits = "1000000/second" // all admitted: a denial may not need Redis
				}
			}
			if err := p.check(); err != nil {
				return err
			}
			limiter, policy, err := p.on(ctx, t)
			if err != nil {
				return err
			}
			defer limiter.Close()
			own := strings.HasPrefix(b.key, benchKeys)
			switch {
			case own:
				err = limiter.Reset(ctx, policy, b.key)
			case !*yes:
				err = confirm(ctx, s, policy, b.key)
			}
			if err != nil {
				return err
			}
			result := b.run(ctx, limiter, policy)
			if own {
				err = limiter.Reset(context.WithoutCancel(ctx), policy, b.key) // after Ctrl-C too
			}
			return cmp.Or(b.report(s, t, result), err)
		}
	},
}

// bench is what is asked for.
type bench struct {
	key     string
	n       int
	callers int
	most    time.Duration
}

func (b *bench) check() error {
	switch {
	case b.n < 1 || b.n > maxBench:
		return usage("-n is %d: it must be from 1 to %d", b.n, maxBench)
	case b.callers < 1 || b.callers > 10_000:
		return usage("-callers is %d: it must be from 1 to 10000", b.callers)
	case b.most <= 0:
		return usage("-duration is %v: it must be above 0", b.most)
	}
	return errNoKey(b.key)
}

// confirm asks before a key's quota is used up. Who can't be asked has said no.
func confirm(ctx context.Context, s streams, p *core.Policy, key string) error {
	fmt.Fprintf(s.err, "This uses up units of %s for %s. Go on? [y/N] ", p.Name(), clean(key))
	answer := make(chan string, 1)
	go func() { // ends with the process at the latest: a read can't be called off
		line, _ := bufio.NewReader(s.in).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case line := <-answer:
		if line == "y" || line == "yes" {
			return nil
		}
	case <-ctx.Done():
	}
	return errors.New("nothing done; -yes goes on without asking")
}

// benchResult is what came of it.
type benchResult struct {
	Policy   string       `json:"policy"`
	Limits   []core.Limit `json:"limits"`
	Key      string       `json:"key"`
	Callers  int          `json:"callers"`
	Admitted int64        `json:"admitted"`
	Denied   int64        `json:"denied"`
	Errors   int64        `json:"errors"`
	Error    string       `json:"error,omitempty"` // the first
	Took     int64        `json:"took"`
	Rate     float64      `json:"rate"` // decisions a second
	P50      float64      `json:"p50"`
	P99      float64      `json:"p99"`
}

// caller is what one has seen.
type caller struct {
	admitted, denied, errors int64
	err                      error
	took                     []time.Duration
}

func (b *bench) run(ctx context.Context, limiter *core.Limiter, p *core.Policy) benchResult {
	ctx, cancel := context.WithTimeout(ctx, b.most)
	defer cancel()
	var begun atomic.Int64
	callers := make([]caller, b.callers)
	start := time.Now()
	var wait sync.WaitGroup
	for i := range callers {
		wait.Go(func() {
			for ctx.Err() == nil && begun.Add(1) <= int64(b.n) {
				// What has begun is waited for: it may be counted.
				callers[i].ask(context.WithoutCancel(ctx), limiter, p, b.key)
			}
		})
	}
	wait.Wait()
	return b.sum(p, callers, time.Since(start))
}

func (c *caller) ask(ctx context.Context, limiter *core.Limiter, p *core.Policy, key string) {
	start := time.Now()
	d, err := limiter.Allow(ctx, p, key)
	switch {
	case err != nil:
		c.errors++
		if c.err == nil {
			c.err = err
		}
		return
	case d.Allowed:
		c.admitted++
	default:
		c.denied++
	}
	c.took = append(c.took, time.Since(start))
}

func (b *bench) sum(p *core.Policy, callers []caller, took time.Duration) benchResult {
	r := benchResult{Policy: p.Name(), Limits: p.Limits(), Key: b.key, Callers: b.callers, Took: took.Milliseconds()}
	var all []time.Duration
	for i := range callers {
		c := &callers[i]
		r.Admitted += c.admitted
		r.Denied += c.denied
		r.Errors += c.errors
		if c.err != nil && r.Error == "" {
			r.Error = c.err.Error()
		}
		all = append(all, c.took...)
	}
	slices.Sort(all)
	if n := len(all); n > 0 {
		r.Rate = float64(n) / took.Seconds()
		r.P50, r.P99 = milliseconds(all[n/2]), milliseconds(all[n*99/100])
	}
	return r
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (b *bench) report(s streams, t *target, r benchResult) error {
	if t.json {
		if err := writeJSON(s.out, r); err != nil {
			return err
		}
	} else if err := table(s.out, [][]string{
		{"policy", r.Policy + ": " + limits(r.Limits)},
		{"key", clean(r.Key)},
		{"admitted", decimal(r.Admitted)},
		{"denied", decimal(r.Denied)},
		{"errors", decimal(r.Errors)},
		{"took", short(milli(r.Took))},
		{"throughput", fmt.Sprintf("%.0f decisions a second by %s", r.Rate, plural(r.Callers, "caller"))},
		{"latency", fmt.Sprintf("p50 %.3f ms, p99 %.3f ms", r.P50, r.P99)},
	}); err != nil {
		return err
	}
	if r.Errors > 0 {
		return fmt.Errorf("%s failed, the first since: %s", plural(int(r.Errors), "decision"), r.Error)
	}
	return nil
}
