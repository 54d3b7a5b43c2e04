package monitor

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/netip"

	"github.com/streamlimit/streamlimit/core"
)

// attempts are what one address has to guess a password with. Each is taken before
// the password is looked at, so that many at once are no more; the right one is
// given back.
var attempts = core.NewPolicy("monitor-password", core.PerMinute(20), core.Refundable(0))

// guard asks for a password.
type guard struct {
	digest  [sha256.Size]byte
	limiter *core.Limiter
}

func newGuard(password string) *guard {
	return &guard{
		digest:  sha256.Sum256([]byte(password)),
		limiter: core.New(core.NewMemory(core.WithMaxKeys(10_000)), core.WithFailureMode(core.FailClosed)),
	}
}

func (g *guard) close() { _ = g.limiter.Close() } // has no error

// admits is whether the request has the password; else it is answered.
func (g *guard) admits(w http.ResponseWriter, r *http.Request) bool {
	_, password, ok := r.BasicAuth()
	if !ok {
		challenge(w)
		return false
	}
	d, err := g.limiter.Allow(r.Context(), attempts, network(r.RemoteAddr))
	if err != nil || !d.Allowed {
		w.Header().Set("Retry-After", "60")
		refuse(w, http.StatusTooManyRequests, "too many wrong passwords; try again in a minute")
		return false
	}
	digest := sha256.Sum256([]byte(password))
	if subtle.ConstantTimeCompare(digest[:], g.digest[:]) != 1 {
		challenge(w)
		return false
	}
	_ = g.limiter.Refund(r.Context(), d) // at worst there is one attempt less for a minute
	return true
}

func challenge(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Basic realm="rate limits", charset="UTF-8"`)
	refuse(w, http.StatusUnauthorized, "the monitor needs its password, with any user name")
}

// network is whom a peer's attempts are counted for: its address, or for IPv6 the
// network that one client has.
func network(peer string) string {
	at, err := netip.ParseAddrPort(peer)
	if err != nil {
		return "no address"
	}
	address := at.Addr().Unmap().WithZone("")
	if address.Is4() {
		return address.String()
	}
	prefix, _ := address.Prefix(64) // fits
	return prefix.String()
}
