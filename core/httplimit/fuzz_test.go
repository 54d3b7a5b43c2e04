package httplimit_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
	"github.com/streamlimit/streamlimit/core/httplimit"
)

// Each request is counted or rejected, and the client's next request is denied, for all
// fields and bodies.
func FuzzRequest(f *testing.F) {
	for _, junk := range []string{"", "1.2.3.4", `for="`, "a\r\nSet-Cookie: b", strings.Repeat("x", 5000)} {
		f.Add("203.0.113.7:1234", "", junk)
		f.Add("[2001:db8::1%eth0]:1", "", junk)
		f.Add("10.0.0.1:80", "", junk)
		f.Add("@", "key", junk)
		f.Add("", "", junk)
	}
	proxies := netip.MustParsePrefix("10.0.0.0/8")
	limiter := core.New(core.NewMemory(), core.WithTrustedProxies(proxies), core.WithLogger(slog.New(slog.DiscardHandler)))
	f.Cleanup(func() { limiter.Close() })
	policy := core.NewPolicy("fuzz", core.Per(1, time.Hour))
	byKey := httplimit.ByFirst(httplimit.ByHeader("X-API-Key"), httplimit.ByAddress())
	find := httplimit.KeyFunc(limiter, byKey)
	handler := httplimit.New(limiter, policy, httplimit.WithKey(byKey))(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))

	f.Fuzz(func(t *testing.T, remote, apiKey, junk string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = remote
		r.Header = http.Header{"X-Api-Key": {apiKey}}
		key, err := find(r)
		peer := adapter.ParsePeer(remote)
		if known := apiKey != "" || peer.IsValid(); known != (err == nil) {
			t.Fatalf("%q with key %q: %q, %v", remote, apiKey, key, err)
		}
		first := answer(t, handler, r)
		if err != nil {
			if first.Code != http.StatusUnauthorized {
				t.Fatalf("status %d without a key, want 401", first.Code)
			}
			return
		}
		defer limiter.Reset(t.Context(), policy, key)
		if first.Code != http.StatusOK || first.Header().Get("RateLimit") != `"fuzz";r=0;t=3600` {
			t.Fatalf("status %d, fields %q", first.Code, first.Header())
		}
		r.Header["X-Real-Ip"], r.Header["Forwarded"] = []string{junk}, []string{junk}
		if apiKey != "" || !proxies.Contains(peer.Unmap()) {
			r.Header["X-Forwarded-For"] = []string{junk}
		}
		second := answer(t, handler, r)
		var problem struct{ Status int }
		if err := json.Unmarshal(second.Body.Bytes(), &problem); err != nil || second.Code != http.StatusTooManyRequests || problem.Status != second.Code {
			t.Fatalf("status %d, body %q, %v", second.Code, second.Body, err)
		}
		for _, secret := range []string{key, apiKey, junk} {
			if len(secret) > 20 && strings.Contains(second.Body.String(), secret) {
				t.Fatalf("body %q shows %q", second.Body, secret)
			}
		}
	})
}

// answer also checks that the response's fields are printable.
func answer(t *testing.T, handler http.Handler, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	for name, values := range w.Header() {
		for _, value := range values {
			if strings.ContainsFunc(name+value, func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Fatalf("field %q: %q", name, value)
			}
		}
	}
	return w
}
