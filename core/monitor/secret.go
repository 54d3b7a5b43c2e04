package monitor

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"

	"github.com/streamlimit/streamlimit/core"
)

var (
	// guesses limits the wrong secrets of a client that get 401. Further ones get 429.
	guesses = core.NewPolicy("monitor-guesses", core.PerMinute(20))

	// notices limits the log lines about a client with too many guesses.
	notices = core.NewPolicy("monitor-notices", core.PerMinute(1))
)

// maxGuessers bounds the clients whose guesses are counted at a time. Other clients get
// 401 for any number of guesses.
const maxGuessers = 10_000

// secret admits requests with the handler's password or token.
//
// Every secret is checked, so nobody can lock out a client with the right one. The count
// of guesses does not slow an attacker down. The length of the secret does. One core
// checks some 300,000 guesses a second (BenchmarkGuess), and a server that also reads
// requests some 30,000. The package comment has the consequences for passwords.
type secret struct {
	digest [sha256.Size]byte // the secret itself is not stored
	token  bool              // it is a token, not a password
	client func(*http.Request) string
	counts *core.Limiter // of guesses, by client
	logger *slog.Logger
}

func newPassword(password string) *secret {
	return &secret{digest: sha256.Sum256([]byte(password))}
}

// newToken makes a secret with a random token of 130 bits, and also returns the token.
func newToken() (*secret, string) {
	token := rand.Text()
	return &secret{digest: sha256.Sum256([]byte(token)), token: true}, token
}

// open starts to count guesses by client, as limiter identifies clients.
func (s *secret) open(limiter *core.Limiter) {
	s.client = func(r *http.Request) string { return clientOf(limiter, r) }
	s.logger = limiter.Seam().Warnings.Logger
	s.counts = core.New(core.NewMemory(core.WithMaxKeys(maxGuessers)), core.WithFailureMode(core.FailClosed),
		core.WithLogger(slog.New(slog.DiscardHandler)))
}

// clientOf returns the client of a request, in the form of the limiter's keys.
func clientOf(limiter *core.Limiter, r *http.Request) string {
	client, err := limiter.Seam().Identity.Address(sender{r})
	if err != nil {
		return "no address"
	}
	return client
}

func (s *secret) close() { _ = s.counts.Close() } // never fails

// is reports whether text is the secret, in constant time.
func (s *secret) is(text string) bool {
	digest := sha256.Sum256([]byte(text))
	return subtle.ConstantTimeCompare(digest[:], s.digest[:]) == 1
}

// admits reports whether the request has the secret. It responds to requests without it,
// and to requests that follow the link.
func (s *secret) admits(w http.ResponseWriter, r *http.Request) bool {
	if s.token && s.followed(w, r) {
		return false
	}
	offered := s.offered(r)
	if slices.ContainsFunc(offered, s.is) {
		return true
	}
	if len(offered) > 0 && s.tooMany(r) {
		w.Header().Set("Retry-After", "60")
		refuse(w, http.StatusTooManyRequests, "too many wrong passwords or tokens; the right one gets in")
		return false
	}
	challenge, advice := `Basic realm="rate limits", charset="UTF-8"`, "the monitor needs its password, with any user name"
	if s.token {
		challenge, advice = `Bearer realm="rate limits"`, "open the monitor with the link that the server showed when it started"
	}
	w.Header().Set("WWW-Authenticate", challenge)
	refuse(w, http.StatusUnauthorized, advice)
	return false
}

// offered returns what the request sends as the secret.
func (s *secret) offered(r *http.Request) []string {
	if s.token {
		return tokens(r)
	}
	if _, password, ok := r.BasicAuth(); ok {
		return []string{password}
	}
	return nil
}

// tooMany counts a wrong guess, and reports whether there were too many.
func (s *secret) tooMany(r *http.Request) bool {
	client := s.client(r)
	d, err := s.counts.Allow(r.Context(), guesses, client)
	if err != nil || d.Allowed {
		return false
	}
	if d, err := s.counts.Allow(r.Context(), notices, "all"); err == nil && d.Allowed {
		s.logger.Warn("streamlimit: many wrong passwords or tokens sent to the monitor", "client", client)
	}
	return true
}

// sender adapts a request for a limiter's identity.
type sender struct{ *http.Request }

func (s sender) Peer() netip.Addr {
	peer, err := netip.ParseAddrPort(s.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return peer.Addr()
}

func (s sender) Header(name string) string { return s.Request.Header.Get(name) }

func (s sender) HeaderValues(name string) []string { return s.Request.Header.Values(name) }
