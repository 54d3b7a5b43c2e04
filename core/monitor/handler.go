package monitor

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/internal/warning"
)

// Handler is the page and what it asks for. Make one with [New].
type Handler struct {
	limiter  *core.Limiter
	recorder *Recorder
	reader   *Reader
	mux      *http.ServeMux

	guard    *guard // nil without a password
	may      func(*http.Request) bool
	readOnly bool
	keyName  func(policy, key string) string

	streams atomic.Int64

	mu    sync.Mutex
	known known // the last state
}

// Option is a setting for [New].
type Option func(*Handler)

// WithPassword lets in whoever sends the password, with any user name, by HTTP
// Basic: serve the page over TLS. "" changes nothing.
func WithPassword(password string) Option {
	return func(h *Handler) {
		if password != "" {
			h.guard = newGuard(password)
		}
	}
}

// WithAuthorize lets in the requests that f reports true for, from anywhere: for a
// service that knows its users. With a password a request needs both.
func WithAuthorize(f func(*http.Request) bool) Option {
	if f == nil {
		panic("monitor: WithAuthorize: nil function: leave the option out")
	}
	return func(h *Handler) { h.may = f }
}

// WithReadOnly serves the page without its actions.
func WithReadOnly() Option { return func(h *Handler) { h.readOnly = true } }

// WithKeyNames gives the keys names on the page, such as a customer's for the
// digest of its API key; "" for none. It is called often.
func WithKeyNames(f func(policy, key string) string) Option {
	if f == nil {
		panic("monitor: WithKeyNames: nil function: leave the option out")
	}
	return func(h *Handler) { h.keyName = f }
}

const warnUntold = "STREAMLIMIT_W010"

// New makes the page of a limiter, for a place of its own in a server, the prefix
// of which is stripped (see [http.StripPrefix]). Without [WithPassword] or
// [WithAuthorize] it is for clients on the same machine only: those whose
// connection comes from a loopback address and was not forwarded by a proxy, and
// that ask for a loopback host.
func New(limiter *core.Limiter, recorder *Recorder, options ...Option) *Handler {
	if limiter == nil || recorder == nil {
		panic("monitor: New: nil limiter or recorder: make them with core.New and monitor.NewRecorder")
	}
	h := &Handler{
		limiter: limiter, recorder: recorder, mux: http.NewServeMux(),
		reader:  &Reader{feed: recorder.feed, self: recorder.id, picture: recorder.picture},
		keyName: func(string, string) string { return "" },
	}
	for _, o := range options {
		if o == nil {
			panic("monitor: New: a nil option: leave it out")
		}
		o(h)
	}
	if !limiter.Tells(recorder) {
		warning.Log(limiter.Logger(), warnUntold, "the monitor is not told of its limiter's decisions; give core.New the option core.WithObserver(recorder)")
	}
	recorder.Follow(limiter)
	if h.guard != nil {
		recorder.onClose(h.guard.close)
	}
	h.routes()
	return h
}

func (h *Handler) routes() {
	h.mux.HandleFunc("GET /api/state", h.state)
	h.mux.HandleFunc("GET /api/history", h.history)
	h.mux.HandleFunc("GET /api/live", h.live)
	h.mux.HandleFunc("GET /api/key", h.key)
	h.mux.HandleFunc("GET /api/search", h.search)
	for name, do := range map[string]func(*http.Request, request) error{
		"reset": h.reset, "ban": h.ban, "unban": h.unban, "override": h.override, "restore": h.restore,
	} {
		h.mux.Handle("/api/"+name, h.action(do))
	}
	h.mux.HandleFunc("/api/", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusNotFound, "the monitor has no such address, or not for this method")
	})
	h.mux.Handle("/", assets())
}

// clock is the one that all that is shown goes by.
func (h *Handler) clock() *clock { return h.recorder.picture.clock }

// contentPolicy lets the page have nothing but its own files.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", contentPolicy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-store")
	if !h.admits(w, r) {
		return
	}
	if r.Context().Value(http.ServerContextKey) == nil {
		// Not net/http's server: Fiber uses the context again after the request, while
		// a client of the store may still look at it.
		r = r.WithContext(context.Background())
	}
	switch {
	case r.URL.Path == "":
		toSlash(w, r)
	case !strings.HasPrefix(r.URL.Path, "/"):
		refuse(w, http.StatusNotFound, "strip the prefix without its last slash, so that the path begins with one")
	default:
		h.mux.ServeHTTP(w, r)
	}
}

// toSlash leads from the mount point to the same with a slash, by which the page's
// relative addresses go. The prefix is stripped from all but the request's URI.
func toSlash(w http.ResponseWriter, r *http.Request) {
	uri, query, asked := strings.Cut(r.RequestURI, "?")
	to := "./" + uri[strings.LastIndexByte(uri, '/')+1:] + "/"
	if asked {
		to += "?" + query
	}
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusFound)
}
