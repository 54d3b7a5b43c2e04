package monitortest

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// process is a limiter with its own store and recorder, like a separate process.
type process struct {
	t        *testing.T
	limiter  *core.Limiter
	recorder *monitor.Recorder
}

func newProcess(t *testing.T, redis *redistest.Server) *process {
	t.Helper()
	store := redisstream.New(redis.Client(), redisstream.WithTimeout(10*time.Second)) // the machine may be busy
	recorder := monitor.NewRecorder(store)
	p := &process{t, core.New(store, core.WithObserver(recorder), core.WithLogger(slog.New(slog.DiscardHandler))), recorder}
	t.Cleanup(func() {
		recorder.Close()
		if err := p.limiter.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// page serves the process's monitor, and returns its link. The link has a token, unless
// the options set another way to log in.
func (p *process) page(options ...monitor.Option) string {
	query := ""
	h := monitor.New(p.limiter, p.recorder, append(options, monitor.WithLink(func(q string) { query = q }))...)
	return p.serve(h) + query
}

// anyone allows every request.
func anyone(*http.Request) bool { return true }

func (p *process) serve(h http.Handler) string {
	mux := http.NewServeMux()
	mounted := http.StripPrefix("/ratelimit", h)
	mux.Handle("/ratelimit/", mounted)
	mux.Handle("/ratelimit", mounted)
	server := httptest.NewServer(mux)
	p.t.Cleanup(func() {
		p.recorder.Close() // ends the streams
		server.Close()
	})
	return server.URL + "/ratelimit/"
}

// ask makes n requests, and returns how many were allowed.
func (p *process) ask(policy *core.Policy, key string, n int) (allowed int) {
	p.t.Helper()
	for range n {
		d, err := p.limiter.Allow(p.t.Context(), policy, key)
		if err != nil {
			p.t.Fatal(err)
		}
		if d.Allowed {
			allowed++
		}
	}
	return allowed
}
