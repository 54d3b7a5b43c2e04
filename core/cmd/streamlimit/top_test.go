package main

import (
	"context"
	"encoding/json"
	"io"
	"testing"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
)

func TestTopOnceIsOnePicture(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := newService(t, server)
	s.ask(t, api, client, 8)
	if err := s.SetRule(t.Context(), core.Rule{Kind: core.RuleOverride, Policy: "api", Limits: []core.Limit{core.PerMinute(6)}}); err != nil {
		t.Fatal(err)
	}
	s.tell()
	var p shownPicture
	r := tool(t, server, "top", "-once")
	r.want(t, exitOK)
	r.decode(t, &p)
	if len(p.Policies) != 1 || p.Policies[0].Name != "api" || p.Policies[0].Allowed != 5 || p.Policies[0].Denied != 3 {
		t.Fatalf("%+v", p.Policies)
	}
	if len(p.Rules) != 1 || p.Rules[0].Policy != "api" || !p.Policies[0].Overridden || p.Policies[0].Limits[0] != core.PerMinute(6) {
		t.Errorf("rules %+v, policies %+v", p.Rules, p.Policies)
	}
	if len(p.Processes) != 1 || p.Processes[0].Store != "redis" || p.Now < p.Processes[0].Seen-60_000 {
		t.Errorf("%+v", p.Processes)
	}
	if top := p.Top.Denied; len(top) != 1 || top[0].Key != client || top[0].Count != 3 {
		t.Errorf("%+v", top)
	}
}

func TestTopWritesPictures(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := newService(t, server)
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	lines, out := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, streams{out: out, err: io.Discard}, []string{"top", "-json", "-redis", "redis://" + server.Addr})
		out.Close()
	}()
	pictures := json.NewDecoder(lines)
	next := func() (p shownPicture) {
		if err := pictures.Decode(&p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	next()
	s.ask(t, api, client, 8)
	for rate := int64(0); rate == 0; {
		for _, p := range next().Policies {
			rate = p.Rate.Allowed
			if rate > 5 {
				t.Errorf("%d a second, want 5 in all", rate)
			}
		}
	}
	server.Kill()
	for next().Error == "" {
	}
	stop()
	go func() { _, _ = io.Copy(io.Discard, lines) }()
	if c := <-code; c != exitOK {
		t.Errorf("exit code %d", c)
	}
}
