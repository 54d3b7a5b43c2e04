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
	// guesses is how many wrong secrets of a client are answered with 401. Those
	// beyond it get 429.
	guesses = core.NewPolicy("monitor-guesses", core.PerMinute(20))

	// notices is how often a client with too many guesses is logged.
	notices = core.NewPolicy("monitor-notices", core.PerMinute(1))
)

// maxGuessers bounds the clients whose guesses are counted at a time. Those beyond
// it get 401 however often they guess.
const maxGuessers = 10_000

// secret admits whoever sends the handler's password, or its token.
//
// Every request is looked at, so nobody can lock out who has the secret, and the
// count of guesses does not slow an attacker down. The length of the secret does.
// One core judges some 300,000 guesses a second (BenchmarkGuess), and a server that
// has to read requests as well some 30,000. The package comment has what that means
// for passwords.
type secret struct {
	digest [sha256.Size]byte // the secret itself is not kept
	token  bool              // it is a token, not a password
	client func(*http.Request) string
	counts *core.Limiter // of guesses, by client
	logger *slog.Logger
}

func newPassword(password string) *secret {
	return &secret{digest: sha256.Sum256([]byte(password))}
}

// newToken makes a random token of 130 bits, and returns it too.
func newToken() (*secret, string) {
	token := rand.Text()
	return &secret{digest: sha256.Sum256([]byte(token)), token: true}, token
}

// open starts counting guesses, by client as limiter sees clients.
func (s *secret) open(limiter *core.Limiter) {
	s.client = func(r *http.Request) string { return clientOf(limiter, r) }
	s.logger = limiter.Seam().Warnings.Logger
	s.counts = core.New(core.NewMemory(core.WithMaxKeys(maxGuessers)), core.WithFailureMode(core.FailClosed),
		core.WithLogger(slog.New(slog.DiscardHandler)))
}

// clientOf returns the client of a request, as the limiter's keys name it.
func clientOf(limiter *core.Limiter, r *http.Request) string {
	client, err := limiter.Seam().Identity.Address(sender{r})
	if err != nil {
		return "no address"
	}
	return client
}

func (s *secret) close() { _ = s.counts.Close() } // always nil

// is compares in constant time.
func (s *secret) is(text string) bool {
	digest := sha256.Sum256([]byte(text))
	return subtle.ConstantTimeCompare(digest[:], s.digest[:]) == 1
}

// admits reports whether the request has the secret. It responds to those without
// it, and to those that follow the link.
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

// sender is a request as a limiter's identity reads it.
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
