package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
)

func TestBenchAdmitsTheLimit(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var r benchResult
	done := tool(t, server, "bench", "-n", "500", "-callers", "8", "-limits", "70/hour", "-duration", "30s", "-json")
	done.want(t, exitOK)
	done.decode(t, &r)
	if r.Admitted != 70 || r.Denied != 430 || r.Errors != 0 || r.Policy != "bench" || r.Key != "bench:1" {
		t.Errorf("%+v", r)
	}
	if r.Rate <= 0 || r.P50 <= 0 || r.P99 < r.P50 {
		t.Errorf("%+v", r)
	}
	tool(t, server, "bench", "-n", "5", "-limits", "70/hour").want(t, exitOK, "admitted    5", "denied      0", "p99", "16 callers")
}

func TestBenchLeavesNothingOfItsOwn(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := newService(t, server)
	p := core.NewPolicy("bench", core.PerHour(100))
	s.ask(t, p, "bench:1", 30) // of a run that was killed
	s.ask(t, p, client, 30)
	for range 2 {
		tool(t, server, "bench", "-n", "150", "-limits", "100/hour", "-json").want(t, exitOK, `"admitted":100`, `"denied":50`)
		if entries, err := s.Entries(t.Context(), p, "bench:1", 1); err != nil || len(entries) != 0 {
			t.Fatalf("left %v, %v", entries, err)
		}
	}
	tool(t, server, "bench", "-n", "150", "-policy", "bench", "-limits", "100/hour", "-json", "-yes", "-key", client).want(t, exitOK, `"admitted":70`)
	if entries, err := s.Entries(t.Context(), p, client, 200); err != nil || len(entries) != 100 {
		t.Errorf("%d of somebody's 100 entries are there: %v", len(entries), err)
	}
}

func TestBenchThatIsInterruptedLeavesNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	ctx, interrupt := context.WithCancel(t.Context())
	time.AfterFunc(500*time.Millisecond, interrupt)
	var out, errs bytes.Buffer
	code := run(ctx, streams{out: &out, err: &errs}, []string{
		"bench", "-n", "10000000", "-duration", "1m", "-limits", "10000000/hour", "-json", "-timeout", "10s", "-redis", "redis://" + server.Addr,
	})
	var r benchResult
	done := result{out.String(), errs.String(), code}
	done.want(t, exitOK)
	if done.decode(t, &r); r.Admitted == 0 || r.Errors != 0 {
		t.Errorf("%+v", r)
	}
	if keys, err := server.Client().Keys(t.Context(), "*bench*").Result(); err != nil || len(keys) != 0 {
		t.Errorf("left %v, %v", keys, err)
	}
}

func TestBenchEndsWithItsTime(t *testing.T) {
	t.Parallel()
	var r benchResult
	start := time.Now()
	tool(t, redistest.Start(t), "bench", "-n", "10000000", "-duration", "300ms", "-json").decode(t, &r)
	if took := time.Since(start); took > patience/2 {
		t.Errorf("took %v", took)
	}
	if r.Took < 300 || r.Admitted == 0 || r.Admitted+r.Denied >= 10_000_000 || r.Errors != 0 {
		t.Errorf("%+v", r)
	}
}

func TestBenchAsksBeforeItTakesSomebodysUnits(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	args := strings.Fields("bench -n 3 -policy api -limits 5/minute -json -timeout 10s -key " + client + " -redis redis://" + server.Addr)
	for _, answer := range []string{"", "n\n", "\n"} {
		toolAnswers(t, answer, args...).want(t, exitFailure, "units of api for "+client, "nothing done")
	}
	used := func() int64 {
		var found inspection
		tool(t, server, "inspect", "-policy", "api", "-limits", "5/minute", "-key", client, "-json").decode(t, &found)
		return found.Limits[0].Used
	}
	if n := used(); n != 0 {
		t.Fatalf("%d used without a yes", n)
	}
	toolAnswers(t, "y\n", args...).want(t, exitOK, `"admitted":3`)
	toolAnswers(t, "", append(args, "-yes")...).want(t, exitOK, `"admitted":2`, `"denied":1`)
	if n := used(); n != 5 {
		t.Errorf("%d used, want 5", n)
	}
}

func TestBenchSaysWhatFailed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	if err := server.Client().ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	var r benchResult
	done := tool(t, server, "bench", "-n", "20", "-json")
	done.want(t, exitFailure, "20 decisions failed, the first since:")
	done.decode(t, &r)
	if r.Errors != 20 || r.Admitted != 0 || r.Error == "" {
		t.Errorf("%+v", r)
	}
}
