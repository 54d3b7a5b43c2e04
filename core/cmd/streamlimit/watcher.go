package main

import (
	"context"
	"io"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
)

// watcher reads the publications of processes, and the rules in force.
type watcher struct {
	target  *target
	limiter *core.Limiter // makes no decisions
	reader  *monitor.Reader
}

// maxSeconds is the number of seconds with counts by the second.
const maxSeconds = 300

// reading is a picture, or the error of a read.
type reading struct {
	at      time.Time
	picture monitor.Picture
	seconds map[string][]monitor.Counts // the last maxSeconds, by policy

	requests []monitor.Counts // in the same seconds, each request once
	rules    []core.Rule
	err      error
}

func (w *watcher) read(ctx context.Context) reading {
	picture, err := w.reader.Read(ctx)
	var rules []core.Rule
	if err == nil {
		rules, err = w.limiter.Rules(ctx)
	}
	if err != nil {
		return reading{at: time.Now(), err: w.target.down(err)}
	}
	r := reading{at: picture.Now, picture: picture, rules: rules, seconds: w.reader.Seconds(picture.Now, maxSeconds), requests: w.reader.Requests(picture.Now, maxSeconds)}
	override(picture.Policies, r.rules)
	return r
}

// start reads each second until stop is called.
func (w *watcher) start(ctx context.Context) (news <-chan reading, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	to := make(chan reading)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.watch(ctx, to)
	}()
	return to, func() {
		cancel()
		<-ended
	}
}

func (w *watcher) watch(ctx context.Context, to chan<- reading) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case to <- w.read(ctx):
		case <-ctx.Done():
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// shownPicture is a reading in JSON. After an error it has only the error.
type shownPicture struct {
	Now       int64                     `json:"now"`
	Error     string                    `json:"error,omitempty"`
	Requests  *monitor.Counts           `json:"requests,omitempty"` // of the last minute, each request once
	Policies  []shownPolicy             `json:"policies,omitzero"`
	Top       *monitor.Top              `json:"top,omitempty"`
	Routes    map[string]monitor.Counts `json:"routes,omitzero"`
	Processes []monitor.Process         `json:"processes,omitzero"`
	Rules     []monitor.Rule            `json:"rules,omitzero"`
}

type shownPolicy struct {
	monitor.Policy
	Rate monitor.Counts `json:"rate"` // of one second
}

func (r reading) show() shownPicture {
	shown := shownPicture{Now: r.at.UnixMilli()}
	if r.err != nil {
		shown.Error = r.err.Error()
		return shown
	}
	shown.Policies, shown.Rules = []shownPolicy{}, []monitor.Rule{}
	for _, rule := range r.rules {
		shown.Rules = append(shown.Rules, monitor.ShowRule(rule))
	}
	for _, p := range r.picture.Policies {
		shown.Policies = append(shown.Policies, shownPolicy{p, r.rate(p.Name)})
	}
	shown.Requests = &r.picture.Requests
	shown.Top, shown.Routes, shown.Processes = &r.picture.Top, r.picture.Routes, r.picture.Processes
	return shown
}

// rate returns the decisions by a policy in the last known second.
func (r reading) rate(policy string) monitor.Counts {
	if s := r.seconds[policy]; len(s) > 0 {
		return s[len(s)-1]
	}
	return monitor.Counts{}
}

func (w *watcher) once(ctx context.Context, out io.Writer) error {
	r := w.read(ctx)
	if r.err != nil {
		return r.err
	}
	return writeJSON(out, r.show())
}

// stream writes a picture a second, until ctx ends.
func (w *watcher) stream(ctx context.Context, out io.Writer) error {
	news, stop := w.start(ctx)
	defer stop()
	for {
		select {
		case r := <-news:
			if err := writeJSON(out, r.show()); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}
