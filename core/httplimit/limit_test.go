package httplimit_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
	"github.com/streamlimit/streamlimit/core/adaptertest"
	"github.com/streamlimit/streamlimit/core/httplimit"
)

func TestAdapter(t *testing.T) {
	adaptertest.Run(t, adaptertest.Adapter[*http.Request, func(http.Handler) http.Handler]{
		Name:  "httplimit",
		Lacks: []string{"WithFrameworkErrors", "SetContext", "Refuse"},
		Serve: serve,
		New:   httplimit.New,
		Defaults: func(limiter *core.Limiter, options ...adapter.Option[*http.Request]) func(*core.Policy, ...adapter.Option[*http.Request]) func(http.Handler) http.Handler {
			return httplimit.Defaults(limiter, options...).New
		},
		ZeroPreset:  httplimit.Preset{}.New,
		FromContext: httplimit.FromContext,
		Decisions:   httplimit.Decisions,

		ByAddress:   httplimit.ByAddress,
		ByHeader:    httplimit.ByHeader,
		ByBearer:    httplimit.ByBearer,
		ByBasicUser: httplimit.ByBasicUser,
		BySecret:    httplimit.BySecret,
		ByFunc:      httplimit.ByFunc,
		ByConstant:  httplimit.ByConstant,
		ByAll:       httplimit.ByAll,
		ByFirst:     httplimit.ByFirst,
		KeyFunc:     httplimit.KeyFunc,

		WithKey:    httplimit.WithKey,
		WithPolicy: httplimit.WithPolicy,
		WithCost:   httplimit.WithCost,
		WithSkip:   httplimit.WithSkip,
		WithTier:   httplimit.WithTier,
		WithRefund: httplimit.WithRefund,
		WithSettle: httplimit.WithSettle,
		WithDenied: func(denied func(*http.Request, core.Decision) error) adapter.Option[*http.Request] {
			return httplimit.WithDenied(withWriter(denied))
		},
		WithErrorHandler: func(failed func(*http.Request, error) error) adapter.Option[*http.Request] {
			return httplimit.WithErrorHandler(withWriter(failed))
		},
		WithHeaders: httplimit.WithHeaders,

		OnSuccess: httplimit.OnSuccess,
		OnFailure: httplimit.OnFailure,

		Header:  func(r *http.Request, name string) string { return r.Header.Get(name) },
		Param:   func(r *http.Request, name string) string { return r.PathValue(name) },
		Context: func(r *http.Request) context.Context { return r.Context() },
		Stream: func(r *http.Request, write func(io.Writer, func())) error {
			w := r.Context().Value(writerKey{}).(http.ResponseWriter)
			write(w, w.(http.Flusher).Flush)
			return nil
		},
		Answer: func(r *http.Request, status int, body string) error {
			w := r.Context().Value(writerKey{}).(http.ResponseWriter)
			w.WriteHeader(status)
			_, err := w.Write([]byte(body))
			if errors.Is(err, http.ErrBodyNotAllowed) {
				return nil
			}
			return err
		},
		Forward: func(r *http.Request, path string) error {
			handler := r.Context().Value(http.ServerContextKey).(*http.Server).Handler
			r.URL.Path = path
			handler.ServeHTTP(r.Context().Value(writerKey{}).(http.ResponseWriter), r)
			return nil
		},
		Endings:  endings(),
		SetField: setField,
	})
}

func endings() map[string]adaptertest.Ending[*http.Request, func(http.Handler) http.Handler] {
	type ending = adaptertest.Ending[*http.Request, func(http.Handler) http.Handler]
	writerOf := func(r *http.Request) http.ResponseWriter { return r.Context().Value(writerKey{}).(http.ResponseWriter) }
	return map[string]ending{
		adaptertest.EndAbort: {Handler: func(*http.Request) error { panic(http.ErrAbortHandler) }},
		adaptertest.EndHijack: {Saw: http.StatusSwitchingProtocols, Handler: func(r *http.Request) error {
			conn, _, err := http.NewResponseController(writerOf(r)).Hijack()
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = io.WriteString(conn, adaptertest.Switching)
			return err
		}},
		adaptertest.EndStream: {Saw: http.StatusOK, Handler: func(r *http.Request) error {
			w := writerOf(r)
			if _, err := io.WriteString(w, "part"); err != nil {
				return err
			}
			w.(http.Flusher).Flush()
			return errors.New("the rest is missing")
		}},
		adaptertest.EndTimeout: {
			Saw: http.StatusServiceUnavailable,
			Use: []func(http.Handler) http.Handler{func(next http.Handler) http.Handler {
				return http.TimeoutHandler(next, time.Millisecond, "too late")
			}},
			Handler: func(r *http.Request) error { <-r.Context().Done(); return nil },
		},
		adaptertest.EndRewritten: {
			Saw: http.StatusPreconditionFailed,
			Use: []func(http.Handler) http.Handler{func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					next.ServeHTTP(failedPrecondition{w}, r)
				})
			}},
			Handler: func(r *http.Request) error { writerOf(r).WriteHeader(http.StatusOK); return nil },
		},
		adaptertest.EndLatePanic: {Saw: http.StatusOK, Handler: func(r *http.Request) error {
			_, _ = io.WriteString(writerOf(r), "ok")
			panic("panic after the answer")
		}},
		adaptertest.EndHints: {Saw: http.StatusNotFound, Handler: func(r *http.Request) error {
			writerOf(r).WriteHeader(http.StatusEarlyHints)
			writerOf(r).WriteHeader(http.StatusNotFound)
			return nil
		}},
	}
}

// failedPrecondition changes 200 to 412.
type failedPrecondition struct{ http.ResponseWriter }

func (w failedPrecondition) WriteHeader(int) {
	w.ResponseWriter.WriteHeader(http.StatusPreconditionFailed)
}

func setField(name, value string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(name, value)
			next.ServeHTTP(w, r)
		})
	}
}

// writerKey is the context key of the writer for the suite's handlers, which get only the
// request.
type writerKey struct{}

func withWriter[A any](f func(*http.Request, A) error) func(http.ResponseWriter, *http.Request, A) {
	if f == nil {
		return nil
	}
	return func(w http.ResponseWriter, r *http.Request, a A) {
		if err := f(r.WithContext(context.WithValue(r.Context(), writerKey{}, w)), a); err != nil {
			http.Error(w, "failed", http.StatusInternalServerError)
		}
	}
}

func serve(t *testing.T, app adaptertest.App[*http.Request, func(http.Handler) http.Handler]) string {
	mux := http.NewServeMux()
	for _, g := range app.Groups {
		for _, r := range g.Routes {
			handle := withWriter(func(req *http.Request, _ struct{}) error { return r.Handler(req) })
			var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handle(w, r, struct{}{}) })
			h = wrap(wrap(h, r.Use), g.Use)
			path := g.Prefix + strings.Replace(r.Path, ":id", "{id}", 1)
			if r.Path == "/" {
				path += "{$}"
			}
			mux.Handle("GET "+path, h) // and HEAD
			mux.Handle("POST "+path, h)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: recovered(wrap(mux, app.Use)), ErrorLog: log.New(io.Discard, "", 0)}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return "http://" + listener.Addr().String()
}

// wrap puts limits around a handler, the first one outermost.
func wrap(h http.Handler, limits []func(http.Handler) http.Handler) http.Handler {
	for i := len(limits) - 1; i >= 0; i-- {
		h = limits[i](h)
	}
	return h
}

// recovered responds with 500 where net/http would close the connection.
func recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch failed := recover(); failed {
			case nil:
			case http.ErrAbortHandler:
				panic(failed)
			default:
				w.WriteHeader(http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

func TestClientMistakes(t *testing.T) {
	adaptertest.CheckBodies(t, func(t *testing.T, limiter *core.Limiter, policy *core.Policy) string {
		cost := func(r *http.Request) (int64, error) {
			var o struct {
				Units int64 `json:"units"`
			}
			err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 100)).Decode(&o)
			return o.Units, err
		}
		server := httptest.NewServer(httplimit.New(limiter, policy, httplimit.WithCost(cost))(
			http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
		t.Cleanup(server.Close)
		return server.URL
	})
}

func TestForwardedClone(t *testing.T) {
	adaptertest.CheckClone(t, func(limiter *core.Limiter, policy *core.Policy) http.Handler {
		mux := http.NewServeMux()
		handler := httplimit.New(limiter, policy)(mux)
		mux.HandleFunc("/old", func(w http.ResponseWriter, r *http.Request) {
			r = r.Clone(r.Context())
			r.URL.Path = "/new"
			handler.ServeHTTP(w, r)
		})
		mux.HandleFunc("/new", func(http.ResponseWriter, *http.Request) {})
		return handler
	})
}

var get = adaptertest.Get
