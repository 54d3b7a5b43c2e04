package adaptertest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
)

// everything is an observer that records all observations as text.
type everything struct{ bytes.Buffer }

func (e *everything) Observe(o core.Observation) {
	o.Context = nil
	fmt.Fprintf(e, "%+v\n", o)
}

// checkHashedAddresses checks that no key, observation or log line has an address. Rules
// on networks and keys must still block clients.
func checkHashedAddresses(t *testing.T, s suite) {
	const client, other = "203.0.113.7", "2001:db8:1:2::9"
	var seen everything
	log, logged := logAt(slog.LevelDebug)
	limiter, _ := newLimiter(t, logged, core.WithObserver(&seen), core.WithTrustedProxies(netip.MustParsePrefix("127.0.0.1/32")),
		core.WithHashedAddresses(), core.WithKeySecret([]byte("pepper")))
	w := s.openRoute(t, limit{limiter: limiter, policy: core.NewPolicy("api", core.PerMinute(2))})
	hashed := func(address string) string {
		mac := hmac.New(sha256.New, []byte("pepper"))
		mac.Write([]byte(address))
		return "address=" + hex.EncodeToString(mac.Sum(nil)[:16])
	}
	for range 2 {
		w.get("/1", "X-Forwarded-For: "+client).want(http.StatusOK)
		w.wantKey(hashed(client))
	}
	w.get("/1", "X-Forwarded-For: "+client).wantDeniedBy("api").wantNowhere(client)
	w.get("/1", "X-Forwarded-For: "+other).want(http.StatusOK)
	w.wantKey(hashed("2001:db8:1:2::/64"))

	key, err := adapter.AddressKey(limiter, netip.MustParseAddr(other))
	if err != nil || key != w.newest().Key {
		t.Errorf("AddressKey returns %q, %v, want %q", key, err, w.newest().Key)
	}
	if err := limiter.Ban(t.Context(), key, time.Hour); err != nil {
		t.Fatal(err)
	}
	w.get("/1", "X-Forwarded-For: "+other).want(http.StatusTooManyRequests).wantField("Retry-After", "3600")

	remove := setRule(t, limiter, core.Rule{Kind: core.RuleBlock, Network: netip.MustParsePrefix("198.51.100.0/24")})
	w.get("/1", "X-Forwarded-For: 198.51.100.1").want(http.StatusForbidden)
	remove()
	w.get("/1", "X-Forwarded-For: 198.51.100.1").want(http.StatusOK)
	for _, address := range []string{client, "2001:db8", "198.51.100.1"} {
		if bytes.Contains(seen.Bytes(), []byte(address)) || bytes.Contains(log.Bytes(), []byte(address)) {
			t.Errorf("%s is seen:\n%s\nor logged:\n%s", address, seen.String(), log.String())
		}
	}
}
