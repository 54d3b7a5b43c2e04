package adaptertest

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/core"
)

// openProxied serves "/:id", each client with its own log, behind trusted proxies.
func (s suite) openProxied(t *testing.T, trusted string, more ...core.Option) *site {
	t.Helper()
	prefixes, err := core.ParsePrefixes(trusted)
	if err != nil {
		t.Fatal(err)
	}
	limiter, _ := newLimiter(t, append(more, core.WithTrustedProxies(prefixes...))...)
	return s.openRoute(t, limit{limiter: limiter, policy: core.NewPolicy("api", core.PerMinute(100))})
}

func checkUntrustedPeer(t *testing.T, s suite) {
	log, logged := logAt(slog.LevelInfo)
	limiter, _ := newLimiter(t, logged)
	w := s.openRoute(t, limit{limiter: limiter, policy: core.NewPolicy("api", core.PerMinute(100))})
	forged := []string{
		"X-Forwarded-For: 203.0.113.7", "Forwarded: for=203.0.113.7", "X-Real-IP: 203.0.113.7",
		"True-Client-IP: 203.0.113.7", "CF-Connecting-IP: 203.0.113.7", "X-Appengine-Remote-Addr: 203.0.113.7",
	}
	for _, field := range append(forged, forged[0]) {
		w.get("/1", field).want(http.StatusOK)
		w.wantKey("127.0.0.1")
	}
	if n := strings.Count(log.String(), "WithTrustedProxies"); n != 1 {
		t.Errorf("%d warnings that no proxy is trusted, want 1: %s", n, log.String())
	}

	w = s.openProxied(t, "10.0.0.0/8")
	w.get("/1", "X-Forwarded-For: 203.0.113.7").want(http.StatusOK)
	w.wantKey("127.0.0.1")
}

func checkTrustedProxies(t *testing.T, s suite) {
	w := s.openProxied(t, "127.0.0.0/8, 10.0.0.0/8, 2001:db8:ffff::/48")
	const forwarded = "X-Forwarded-For: "
	for _, c := range []struct {
		name string
		key  string
		line []string
	}{
		{"no field", "127.0.0.1", nil},
		{"empty field", "127.0.0.1", []string{""}},
		{"one address", "203.0.113.7", []string{"203.0.113.7"}},
		{"forged on the left", "203.0.113.7", []string{"198.51.100.1, 203.0.113.7"}},
		{"forged trusted on the left", "203.0.113.7", []string{"10.0.0.9, 203.0.113.7"}},
		{"forged in a line of its own", "203.0.113.7", []string{"198.51.100.1", "203.0.113.7"}},
		{"forged over two lines", "203.0.113.7", []string{"198.51.100.1", "198.51.100.2, 203.0.113.7", "10.0.0.1"}},
		{"through a second proxy", "203.0.113.7", []string{"203.0.113.7, 10.1.2.3"}},
		{"a line for each proxy", "203.0.113.7", []string{"203.0.113.7", "10.1.2.3", "10.1.2.4"}},
		{"spaces and empty elements", "203.0.113.7", []string{" 198.51.100.1 ,\t203.0.113.7  , ,10.0.0.1 "}},
		{"only proxies", "10.0.0.5", []string{"10.0.0.5, 10.0.0.1"}},
		{"with a port", "203.0.113.7", []string{"203.0.113.7:4711"}},
		{"IPv6", "2001:db8:1:2::/64", []string{"2001:db8:1:2:3:4:5:6"}},
		{"IPv6, the same /64", "2001:db8:1:2::/64", []string{"2001:DB8:1:2:ffff::1"}},
		{"IPv6 with a port", "2001:db8:1:2::/64", []string{"[2001:db8:1:2::9]:443"}},
		{"IPv6 proxy", "203.0.113.7", []string{"203.0.113.7, 2001:db8:ffff::1"}},
		{"IPv4 in IPv6", "203.0.113.7", []string{"::ffff:203.0.113.7"}},
		{"IPv4 in IPv6, in hex", "203.0.113.7", []string{"::ffff:cb00:7107"}},
		{"proxy as IPv4 in IPv6", "203.0.113.7", []string{"203.0.113.7, ::ffff:10.0.0.1"}},
		{"IPv6 zone", "fe80::/64", []string{"fe80::1%eth0"}},
		{"no address", "127.0.0.1", []string{"203.0.113.7, unknown"}},
		{"no address behind a proxy", "10.0.0.1", []string{"203.0.113.7, _hidden, 10.0.0.1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var fields []string
			for _, line := range c.line {
				fields = append(fields, forwarded+line)
			}
			// Only the field of the trusted proxies is read.
			w.get("/1", append(fields, "X-Real-IP: 192.0.2.1", "Forwarded: for=192.0.2.1")...).want(http.StatusOK)
			if got := w.newest().Key; got != c.key {
				t.Errorf("counted by %q, want %q", got, c.key)
			}
		})
	}
	w.get("/1", "x-forwarded-for: 203.0.113.8").want(http.StatusOK)
	w.wantKey("203.0.113.8")
}

// The name of a field may be in any case, in every framework.
func checkFieldNames(t *testing.T, s suite) {
	w := s.openKey(t, byHeader("X-API-Key"))
	for i, name := range []string{"X-Api-Key", "X-API-Key", "x-api-key", "X-API-KEY", "x-ApI-kEy"} {
		want := http.StatusTooManyRequests
		if i == 0 {
			want = http.StatusOK
		}
		w.raw("GET /1 HTTP/1.1\r\nHost: a\r\n" + name + ": k\r\n\r\n").want(want)
	}
	// Lines whose names differ only in case belong to one field, in their order.
	w = s.openProxied(t, "127.0.0.0/8, 10.0.0.0/8")
	for _, lines := range []string{
		"X-Forwarded-For: 192.0.2.1\r\nx-forwarded-for: 203.0.113.7\r\n",
		"x-forwarded-for: 192.0.2.1\r\nX-Forwarded-For: 203.0.113.7\r\n",
		"X-FORWARDED-FOR: 192.0.2.1, 203.0.113.7\r\nx-Forwarded-for: 10.0.0.1\r\n",
	} {
		w.raw("GET /1 HTTP/1.1\r\nHost: a\r\n" + lines + "\r\n").want(http.StatusOK)
		w.wantKey("203.0.113.7")
	}
	w = s.openProxied(t, "127.0.0.0/8", core.WithForwardedHeader("forwarded"))
	w.raw("GET /1 HTTP/1.1\r\nHost: a\r\nFORWARDED: for=192.0.2.1\r\nforwarded: for=203.0.113.7\r\n\r\n").want(http.StatusOK)
	w.wantKey("203.0.113.7")

	// The same holds for a field that no trusted proxy has written.
	log, logged := logAt(slog.LevelInfo)
	limiter, _ := newLimiter(t, logged)
	w = s.openRoute(t, limit{limiter: limiter, policy: core.NewPolicy("api", core.PerMinute(100))})
	w.raw("GET /1 HTTP/1.1\r\nHost: a\r\nx-forwarded-for: 203.0.113.7\r\n\r\n").want(http.StatusOK)
	w.wantKey("127.0.0.1")
	if n := strings.Count(log.String(), "STREAMLIMIT_W001"); n != 1 {
		t.Errorf("%d warnings that no proxy is trusted, want 1: %s", n, log.String())
	}
}

func checkForwardedHeader(t *testing.T, s suite) {
	w := s.openProxied(t, "127.0.0.1", core.WithForwardedHeader("x-real-ip"))
	w.get("/1", "X-Real-IP: 203.0.113.7", "X-Forwarded-For: 192.0.2.1").want(http.StatusOK)
	w.wantKey("203.0.113.7")

	w = s.openProxied(t, "127.0.0.1 10.0.0.0/8", core.WithForwardedHeader("Forwarded"), core.WithIPv6Prefix(48))
	w.get("/1", `Forwarded: for=192.0.2.1, For="[2001:db8:1:2::9]:4711";proto=https`, "Forwarded: by=_x;for=10.0.0.2").want(http.StatusOK)
	w.wantKey("2001:db8:1::/48")
	for element, want := range map[string]string{
		`for="203.0.113.7:_x"`:                "203.0.113.7",
		`for="[2001:db8:1:2::9]:_x"`:          "2001:db8:1::/48",
		`for=203.0.113.7, for="10.0.0.2:_x"`:  "203.0.113.7",
		`for=203.0.113.7, for=_hidden`:        "127.0.0.1",
		`for=203.0.113.7, for=unknown`:        "127.0.0.1",
		`for="[64:ff9b::203.0.113.7]:4711"`:   "203.0.113.7",
		`for=192.0.2.1, for="[2002:1:2:3::]"`: "2002:1:2::/48",
	} {
		w.get("/1", "Forwarded: "+element).want(http.StatusOK)
		w.wantKey(want)
	}
}
