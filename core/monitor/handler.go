package monitor

import (
	"context"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/internal/warning"
)

// Handler serves the page and the requests that it makes. Make one with [New].
type Handler struct {
	limiter  *core.Limiter
	recorder *Recorder
	reader   *Reader
	mux      *http.ServeMux

	secret   *secret // nil with WithAuthorize alone
	may      func(*http.Request) bool
	showLink func(query string)
	readOnly bool
	keyName  func(policy, key string) string

	streams chan struct{} // has one value for each open stream

	mu    sync.Mutex
	known known // the last state
}

// Option is a setting for [New].
type Option func(*Handler)

// WithPassword lets in whoever sends the password, with any user name, by HTTP
// Basic authentication. Serve the page over TLS then. "" changes nothing.
//
// Use a long random password. Guesses are counted and logged, but each one is checked:
// see "Who gets in" in the package comment.
func WithPassword(password string) Option {
	return func(h *Handler) {
		if password != "" {
			h.secret = newPassword(password)
		}
	}
}

// WithAuthorize allows the requests for which f returns true, without a token. It is for
// a service that knows its users. With [WithPassword] a request needs both.
func WithAuthorize(f func(*http.Request) bool) Option {
	if f == nil {
		panic("monitor: WithAuthorize: nil function: leave the option out")
	}
	return func(h *Handler) { h.may = f }
}

// WithLink passes the query of the link, "?token=...", to show, for a program that
// knows the address of the page. The default is to log the query. [New] calls show
// once, but not with [WithPassword] or [WithAuthorize].
func WithLink(show func(query string)) Option {
	if show == nil {
		panic("monitor: WithLink: nil function: leave the option out")
	}
	return func(h *Handler) { h.showLink = show }
}

// WithReadOnly sets that the page has no actions.
func WithReadOnly() Option { return func(h *Handler) { h.readOnly = true } }

// WithKeyNames sets a function that returns the name of a key on the page, such as a
// customer's name for the digest of its API key. It returns "" for none. It is called
// often.
func WithKeyNames(f func(policy, key string) string) Option {
	if f == nil {
		panic("monitor: WithKeyNames: nil function: leave the option out")
	}
	return func(h *Handler) { h.keyName = f }
}

const warnUntold = "STREAMLIMIT_W010"

// New returns the page of a limiter. It handles requests without the prefix of the
// page's path: see [http.StripPrefix].
//
// Without [WithPassword] or [WithAuthorize], New makes a random token and logs it
// once, as the query of a link. The token is the only way in, from this machine
// too: see "Who gets in" in the package comment.
func New(limiter *core.Limiter, recorder *Recorder, options ...Option) *Handler {
	if limiter == nil || recorder == nil {
		panic("monitor: New: nil limiter or recorder: make them with core.New and monitor.NewRecorder")
	}
	h := &Handler{
		limiter: limiter, recorder: recorder, mux: http.NewServeMux(),
		streams: make(chan struct{}, maxStreams),
		reader:  &Reader{feed: recorder.feed, self: recorder.id, picture: recorder.picture},
		keyName: func(string, string) string { return "" },
		showLink: func(query string) {
			limiter.Seam().Warnings.Logger.Info("streamlimit: add this to the address of the monitor to open it", "link", query)
		},
	}
	for _, o := range options {
		if o == nil {
			panic("monitor: New: a nil option: leave it out")
		}
		o(h)
	}
	if !slices.Contains(limiter.Seam().Observers, any(recorder)) {
		warning.Log(limiter.Seam().Warnings.Logger, warnUntold, "the monitor does not receive its limiter's decisions; give core.New the option core.WithObserver(recorder)")
	}
	recorder.Follow(limiter)
	h.protect()
	h.routes()
	return h
}

// protect makes a token if there is neither a password nor an authorize function.
func (h *Handler) protect() {
	if h.secret == nil && h.may == nil {
		made, token := newToken()
		h.secret = made
		h.showLink("?" + tokenName + "=" + token)
	}
	if h.secret != nil {
		h.secret.open(h.limiter)
		h.recorder.onClose(h.secret.close)
	}
}

func (h *Handler) routes() {
	h.mux.HandleFunc("GET /api/state", h.state)
	h.mux.HandleFunc("GET /api/history", h.history)
	h.mux.HandleFunc("GET /api/live", h.live)
	h.mux.HandleFunc("GET /api/key", h.key)
	h.mux.HandleFunc("POST /api/key", h.key)
	h.mux.HandleFunc("GET /api/search", h.search)
	h.mux.HandleFunc("POST /api/search", h.search)
	for name, do := range map[string]func(*http.Request, *request) error{
		"reset": h.reset, "ban": h.ban, "unban": h.unban, "override": h.override, "restore": h.restore,
		"block": h.block, "unblock": h.unblock, "exempt": h.exempt, "unexempt": h.unexempt,
		"switch": h.switchTo,
	} {
		h.mux.Handle("/api/"+name, h.action(do))
	}
	none := func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusNotFound, "the monitor does not serve this address, or not with this method")
	}
	h.mux.HandleFunc("/api/", none)
	h.mux.HandleFunc("/api", none) // else the mux redirects, to an absolute path
	h.mux.HandleFunc("/", asset)
}

// clock returns the clock for all times that are shown.
func (h *Handler) clock() *clock { return h.recorder.picture.clock }

// contentPolicy allows the page to load its own files only.
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
	if r.Context().Value(http.ServerContextKey) == nil {
		// Use another context with Fiber, which reuses the request's context after the
		// request, while a client of the store may still read it.
		r = r.WithContext(context.Background())
	}
	if !h.admits(w, r) {
		return
	}
	switch {
	case r.URL.Path == "":
		move(w, addSlash)
	case !strings.HasPrefix(r.URL.Path, "/"):
		refuse(w, http.StatusNotFound, "strip the prefix without its last slash, so that the path begins with one")
	case !clean(r.URL.Path):
		refuse(w, http.StatusNotFound, "the monitor has no such address") // the mux would redirect, to an absolute path
	default:
		h.mux.ServeHTTP(w, r)
	}
}

// clean reports whether a path has no empty elements, "." or "..".
func clean(p string) bool {
	c := path.Clean(p)
	return !strings.Contains(p, "//") && (p == c || p == c+"/")
}
