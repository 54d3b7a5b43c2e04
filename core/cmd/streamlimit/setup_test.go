package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// patience bounds the waits of a test. It delays only tests that fail.
const patience = 30 * time.Second

// asTool makes the test's program the tool, since a terminal needs a process of its own.
const asTool = "STREAMLIMIT_TEST_AS_TOOL"

func TestMain(m *testing.M) {
	if os.Getenv(asTool) != "" {
		main()
		return
	}
	logging.Disable()
	os.Exit(m.Run())
}

var (
	api   = core.NewPolicy("api", core.PerMinute(5))
	costs = core.NewPolicy("costs", core.PerMinute(100), core.PerHour(1000), core.VariableCost(), core.Refundable(0), core.Unit("tokens"))
)

// service is a process with limits that publishes its decisions.
type service struct {
	*core.Limiter
	recorder *monitor.Recorder
}

func newService(t *testing.T, server *redistest.Server, options ...redisstream.Option) *service {
	t.Helper()
	store := redisstream.New(server.Client(), append(options, redisstream.WithTimeout(10*time.Second))...)
	recorder := monitor.NewRecorder(store)
	s := &service{Limiter: core.New(store, core.WithObserver(recorder)), recorder: recorder}
	recorder.Follow(s.Limiter)
	t.Cleanup(func() {
		_ = recorder.Close()
		_ = s.Close()
	})
	return s
}

func (s *service) ask(t *testing.T, p *core.Policy, key string, n int) (last core.Decision) {
	t.Helper()
	for range n {
		d, err := s.Allow(t.Context(), p, key)
		if err != nil {
			t.Fatal(err)
		}
		last = d
	}
	return last
}

// tell closes the recorder, which publishes everything.
func (s *service) tell() { _ = s.recorder.Close() }

// result is the output of a command and its exit code.
type result struct {
	out, err string
	code     int
}

// tool runs a command on a server, in this process.
func tool(t *testing.T, server *redistest.Server, args ...string) result {
	t.Helper()
	return toolAnswers(t, "", append(args, "-redis", "redis://"+server.Addr, "-timeout", "10s")...)
}

// toolAnswers runs a command that reads the text.
func toolAnswers(t *testing.T, text string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out, err bytes.Buffer
	code := run(ctx, streams{in: strings.NewReader(text), out: &out, err: &err}, args)
	return result{out.String(), err.String(), code}
}

func (r result) want(t *testing.T, code int, parts ...string) {
	t.Helper()
	if r.code != code {
		t.Fatalf("exit code %d, want %d\n%s%s", r.code, code, r.out, r.err)
	}
	for _, part := range parts {
		if !strings.Contains(r.out+r.err, part) {
			t.Errorf("no %q in\n%s%s", part, r.out, r.err)
		}
	}
}

func (r result) decode(t *testing.T, into any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(r.out))
	if err := d.Decode(into); err != nil {
		t.Fatalf("%v in\n%s%s", err, r.out, r.err)
	}
	if d.More() {
		t.Fatalf("more than one JSON value in\n%s", r.out)
	}
}
