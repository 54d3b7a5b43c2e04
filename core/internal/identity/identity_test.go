package identity_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/internal/identity"
)

// request is an identity.Request that a test fills in.
type request struct {
	peer   string
	header textproto.MIMEHeader
}

func (r request) Peer() netip.Addr {
	a, _ := netip.ParseAddr(r.peer)
	return a
}
func (r request) Header(name string) string         { return r.header.Get(name) }
func (r request) HeaderValues(name string) []string { return r.header.Values(name) }

func forwarded(peer string, lines ...string) request {
	return request{peer, textproto.MIMEHeader{"X-Forwarded-For": lines}}
}

// identified returns the identity of a limiter with the options.
func identified(t *testing.T, options ...core.Option) *identity.Identity {
	l := core.New(core.NewMemory(), options...)
	t.Cleanup(func() { l.Close() })
	return l.Seam().Identity
}

func proxies(t *testing.T, list string) core.Option {
	t.Helper()
	p, err := core.ParsePrefixes(list)
	if err != nil {
		t.Fatal(err)
	}
	return core.WithTrustedProxies(p...)
}

func TestAddress(t *testing.T) {
	none := identified(t)
	some := identified(t, proxies(t, "10.0.0.0/8, 2001:db8:ffff::/48 ::1 fe80::/10"))
	unix := identified(t, core.WithTrustedUnixSocket())
	for _, c := range []struct {
		name string
		id   *identity.Identity
		r    request
		want string
	}{
		{"peer", none, forwarded("203.0.113.7"), "203.0.113.7"},
		{"forged while nothing is trusted", none, forwarded("203.0.113.7", "1.2.3.4"), "203.0.113.7"},
		{"IPv6 by /64", none, forwarded("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64"},
		{"IPv4 in IPv6", none, forwarded("::ffff:203.0.113.7"), "203.0.113.7"},
		{"zone", none, forwarded("fe80::1%eth0"), "fe80::/64"},

		{"untrusted peer", some, forwarded("203.0.113.7", "1.2.3.4"), "203.0.113.7"},
		{"trusted peer", some, forwarded("10.1.2.3", "203.0.113.7"), "203.0.113.7"},
		{"trusted peer in IPv6 form", some, forwarded("::ffff:10.1.2.3", "203.0.113.7"), "203.0.113.7"},
		{"no chain", some, forwarded("10.1.2.3"), "10.1.2.3"},
		{"empty chain", some, forwarded("10.1.2.3", "", " , "), "10.1.2.3"},
		{"forged left part", some, forwarded("10.1.2.3", "1.1.1.1, 203.0.113.7"), "203.0.113.7"},
		{"two proxies", some, forwarded("10.1.2.3", "1.1.1.1, 203.0.113.7, 10.9.9.9"), "203.0.113.7"},
		{"several lines", some, forwarded("10.1.2.3", "1.1.1.1", "203.0.113.7,10.9.9.9", "10.8.8.8"), "203.0.113.7"},
		{"spaces", some, forwarded("10.1.2.3", " 1.1.1.1 ,\t203.0.113.7 , 10.9.9.9 "), "203.0.113.7"},
		{"all trusted", some, forwarded("10.1.2.3", "10.5.5.5, 10.9.9.9"), "10.5.5.5"},
		{"garbage ends the walk", some, forwarded("10.1.2.3", "203.0.113.7, unknown, 10.9.9.9"), "10.9.9.9"},
		{"garbage at once", some, forwarded("10.1.2.3", "203.0.113.7, <script>"), "10.1.2.3"},
		{"port", some, forwarded("10.1.2.3", "203.0.113.7:4711"), "203.0.113.7"},
		{"IPv6 in the chain", some, forwarded("::1", "2001:db8:1:2::9, 2001:db8:ffff::1"), "2001:db8:1:2::/64"},
		{"IPv6 with brackets", some, forwarded("::1", "[2001:db8:1:2::9]"), "2001:db8:1:2::/64"},
		{"IPv6 with port", some, forwarded("::1", "[2001:db8:1:2::9]:443"), "2001:db8:1:2::/64"},
		{"IPv4 in brackets is garbage", some, forwarded("::1", "[203.0.113.7]"), "::/64"},
		{"IPv4 in IPv6 in the chain", some, forwarded("::1", "::ffff:203.0.113.7"), "203.0.113.7"},
		{"trusted peer with a zone", some, forwarded("fe80::1%eth0", "203.0.113.7"), "203.0.113.7"},
		{"proxy on a Unix socket", unix, forwarded("", "1.1.1.1, 203.0.113.7"), "203.0.113.7"},
		{"other peers while a Unix socket is trusted", unix, forwarded("203.0.113.7", "1.1.1.1"), "203.0.113.7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := c.id.Address(c.r); err != nil || got != c.want {
				t.Errorf("%q, %v, want %q", got, err, c.want)
			}
		})
	}
	for name, id := range map[string]*identity.Identity{"none trusted": none, "some trusted": some} {
		if got, err := id.Address(forwarded("", "1.2.3.4")); !errors.Is(err, core.ErrNoKey) {
			t.Errorf("%s: a peer without address: %q, %v, want ErrNoKey", name, got, err)
		}
	}
}

// Text from a client stands left of the text from trusted proxies, and does not change
// the client's key.
func TestAddressCannotBeForged(t *testing.T) {
	id := identified(t, proxies(t, "10.0.0.0/8"))
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOf(rapid.OneOf(rapid.String(), rapid.StringMatching(`[0-9a-f:., \[\]"]{0,40}`))).Draw(t, "forged")
		r := forwarded("10.0.0.1", append(lines, "203.0.113.7, 10.0.0.2")...)
		if got, err := id.Address(r); err != nil || got != "203.0.113.7" {
			t.Fatalf("%q, %v", got, err)
		}
		r = forwarded("203.0.113.7", lines...)
		if got, err := id.Address(r); err != nil || got != "203.0.113.7" {
			t.Fatalf("%q, %v", got, err)
		}
	})
}

// A proxy that writes Forwarded quotes the host, which the client chooses.
func TestForwardedHostCannotForge(t *testing.T) {
	id := identified(t, proxies(t, "10.0.0.0/8"), core.WithForwardedHeader("Forwarded"))
	check := func(t interface{ Fatalf(string, ...any) }, line string) {
		r := request{"10.0.0.1", textproto.MIMEHeader{"Forwarded": {"for=8.8.8.8", line}}}
		if got, err := id.Address(r); err != nil || got != "203.0.113.7" {
			t.Fatalf("%s: %q, %v", line, got, err)
		}
	}
	for _, host := range []string{`evil,for=9.9.9.9`, `x;for=9.9.9.9`, `a, for=9.9.9.9;x=`, `\",for=9.9.9.9,\"`} {
		check(t, `for=203.0.113.7;host="`+host+`"`)
		check(t, `host="`+host+`";proto=http;for="203.0.113.7:1"`)
	}
	rapid.Check(t, func(t *rapid.T) {
		host := rapid.StringMatching(`([a-z.:,;= ]|for=9\.9\.9\.9|\\"|\\\\){0,12}`).Draw(t, "host")
		check(t, `for=203.0.113.7;host="`+host+`"`)
		check(t, `host="`+host+`";for=203.0.113.7`)
	})
}

func TestForwardedHeader(t *testing.T) {
	trusted := proxies(t, "10.0.0.0/8")
	rfc7239 := identified(t, trusted, core.WithForwardedHeader("forwarded"))
	for value, want := range map[string]string{
		`for=203.0.113.7`: "203.0.113.7",
		`for=1.1.1.1, for=203.0.113.7;proto=https;by=10.9.9.9, For="10.9.9.9:80"`: "203.0.113.7",
		`proto=https; for="[2001:db8::1]:4711"`:                                   "2001:db8::/64",
		`for=203.0.113.7, for=_hidden`:                                            "10.1.2.3",
		`for=203.0.113.7, proto=https`:                                            "10.1.2.3",
		`203.0.113.7`:                                                             "10.1.2.3",
		`for=203.0.113.7;for=9.9.9.9`:                                             "10.1.2.3",
		`for=203.0.113.7;host="open`:                                              "10.1.2.3",

		// Ports, which may be obfuscated.
		`for="203.0.113.7:_x"`:                "203.0.113.7",
		`for="203.0.113.7:_gazonk.1-Z_"`:      "203.0.113.7",
		`for="203.0.113.7:99999"`:             "203.0.113.7",
		`for="[2001:db8::1]"`:                 "2001:db8::/64",
		`for="[2001:db8::1]:_x"`:              "2001:db8::/64",
		`for="[2001:db8::1]:0"`:               "2001:db8::/64",
		`for="[::ffff:203.0.113.7]:_x"`:       "203.0.113.7",
		`for="\2\03.0.113.7:80"`:              "203.0.113.7",
		`for=203.0.113.7, for="10.9.9.9:_x"`:  "203.0.113.7",
		`for=1.1.1.1, for="203.0.113.7:_a,b"`: "10.1.2.3",
		`for="203.0.113.7:"`:                  "10.1.2.3",
		`for="203.0.113.7:_"`:                 "10.1.2.3",
		`for="203.0.113.7:123456"`:            "10.1.2.3",
		`for="203.0.113.7:-1"`:                "10.1.2.3",
		`for="203.0.113.7:_x:_y"`:             "10.1.2.3",
		`for="[2001:db8::1]x"`:                "10.1.2.3",
		`for="[2001:db8::1"`:                  "10.1.2.3",
		`for="[203.0.113.7]:80"`:              "10.1.2.3",
		`for=":80"`:                           "10.1.2.3",
		`for=""`:                              "10.1.2.3",

		// Nodes that are not addresses end the walk.
		`for=203.0.113.7, for=unknown`:                                 "10.1.2.3",
		`for=203.0.113.7, for="unknown:80"`:                            "10.1.2.3",
		`for=203.0.113.7, for="_hidden:_x"`:                            "10.1.2.3",
		`for=203.0.113.7, for=_SEVKISEK, for=10.9.9.9`:                 "10.9.9.9",
		`for=203.0.113.7, for=unknown, for=10.7.7.7, for="10.9.9.9:_"`: "10.1.2.3",
		`for=203.0.113.7, for=unknown, for=10.7.7.7, for="10.9.9.9:1"`: "10.7.7.7",
	} {
		r := request{"10.1.2.3", textproto.MIMEHeader{"Forwarded": {value}, "X-Forwarded-For": {"9.9.9.9"}}}
		if got, err := rfc7239.Address(r); err != nil || got != want {
			t.Errorf("Forwarded: %s: %q, %v, want %q", value, got, err, want)
		}
	}
	realIP := identified(t, trusted, core.WithForwardedHeader("x-real-ip"))
	r := request{"10.1.2.3", textproto.MIMEHeader{"X-Real-Ip": {"203.0.113.7"}, "X-Forwarded-For": {"9.9.9.9"}}}
	if got, err := realIP.Address(r); err != nil || got != "203.0.113.7" {
		t.Errorf("X-Real-IP: %q, %v", got, err)
	}
}

func TestIPv6Prefix(t *testing.T) {
	for bits, want := range map[int]string{56: "2001:db8:1:200::/56", 48: "2001:db8:1::/48", 128: "2001:db8:1:2ff:3:4:5:6/128"} {
		if got, _ := identified(t, core.WithIPv6Prefix(bits)).Address(forwarded("2001:db8:1:2ff:3:4:5:6")); got != want {
			t.Errorf("/%d: %q, want %q", bits, got, want)
		}
	}
}

// An address that represents an IPv4 host is counted as that host if nobody else can
// claim the address. Otherwise the holder has one key.
func TestAddressOfIPv4InIPv6(t *testing.T) {
	for address, want := range map[string]string{
		"64:ff9b::203.0.113.7":                 "203.0.113.7",
		"64:ff9b::cb00:7108":                   "203.0.113.8",
		"::ffff:203.0.113.7":                   "203.0.113.7",
		"::ffff:0:203.0.113.7":                 "203.0.113.7",
		"64:ff9b::10.0.0.1":                    "64:ff9b::a00:1/128",
		"64:ff9b::127.0.0.1":                   "64:ff9b::7f00:1/128",
		"64:ff9b::100.64.0.1":                  "64:ff9b::6440:1/128",
		"64:ff9b::255.255.255.255":             "64:ff9b::ffff:ffff/128",
		"64:ff9b::":                            "64:ff9b::/128",
		"64:ff9b:0:0:0:1:cb00:7107":            "64:ff9b::/64",
		"64:ff9b:1::203.0.113.7":               "64:ff9b:1::cb00:7107/128",
		"64:ff9b:1:2::10.0.0.1":                "64:ff9b:1:2::a00:1/128",
		"64:ff9b:2::203.0.113.7":               "64:ff9b:2::/64",
		"2002:cb00:7107:1::1":                  "2002:cb00:7107::/48",
		"2002:cb00:7107:ffff::2":               "2002:cb00:7107::/48",
		"2001:0:4136:e378:8000:63bf:3fff:fdd2": "2001::/32",
		"2001:0:1:2:3:4:5:6":                   "2001::/32",
		"2001:1::1":                            "2001:1::/64",
	} {
		for _, id := range []*identity.Identity{identified(t), identified(t, proxies(t, "10.0.0.0/8 127.0.0.0/8"))} {
			if got, err := id.Address(forwarded(address, "9.9.9.9")); err != nil || got != want {
				t.Errorf("%s: %q, %v, want %q", address, got, err, want)
			}
		}
		id := identified(t, proxies(t, "192.0.2.1"))
		if got, err := id.Address(forwarded("192.0.2.1", "9.9.9.9, "+address)); err != nil || got != want {
			t.Errorf("%s in the chain: %q, %v, want %q", address, got, err, want)
		}
	}
	// A proxy behind a translator must be named by the address that the peer has.
	id := identified(t, proxies(t, "64:ff9b::192.0.2.1"))
	if got, err := id.Address(forwarded("64:ff9b::192.0.2.1", "203.0.113.7")); err != nil || got != "203.0.113.7" {
		t.Errorf("behind a translated proxy: %q, %v", got, err)
	}
	for bits, want := range map[int]string{32: "2002:cb00::/32", 56: "2002:cb00:7107::/48", 128: "2002:cb00:7107::/48"} {
		if got, _ := identified(t, core.WithIPv6Prefix(bits)).Address(forwarded("2002:cb00:7107:1::1")); got != want {
			t.Errorf("6to4 by /%d: %q, want %q", bits, got, want)
		}
	}
}

// warned returns the identity of a limiter, and a function that counts the log lines of a
// code.
func warned(t *testing.T, options ...core.Option) (*identity.Identity, func(code string) int) {
	var log bytes.Buffer
	id := identified(t, append(options, core.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))...)
	return id, func(code string) (n int) {
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, code) {
				n++
			}
		}
		return n
	}
}

func TestPeerWithoutAddressWarnsOnce(t *testing.T) {
	for name, c := range map[string]struct {
		option core.Option
		want   int
	}{
		"TCP proxies trusted": {proxies(t, "10.0.0.0/8"), 1},
		"nothing trusted":     {core.WithIPv6Prefix(64), 1},
		"socket trusted":      {core.WithTrustedUnixSocket(), 0},
	} {
		id, count := warned(t, c.option)
		for range 3 {
			id.Address(forwarded("", "203.0.113.7"))
		}
		if count("STREAMLIMIT_W012") != c.want || count("core.WithTrustedUnixSocket") != c.want {
			t.Errorf("%s: %d lines, want %d", name, count("STREAMLIMIT_W012"), c.want)
		}
	}
}

// A proxy on the same machine that adds no field is found by the number of requests.
func TestLoopbackPeersWarnOnce(t *testing.T) {
	for name, c := range map[string]struct {
		option core.Option
		first  string // peer of the first request
		then   string // peer of the others
		want   int    // number of lines after 2,000 requests
	}{
		"loopback":              {core.WithIPv6Prefix(64), "127.0.0.1", "127.0.0.1", 1},
		"IPv6":                  {core.WithIPv6Prefix(64), "127.0.0.2", "::1", 1},
		"IPv4 in IPv6":          {core.WithIPv6Prefix(64), "::ffff:127.0.0.1", "::ffff:127.0.0.1", 1},
		"another machine, once": {core.WithIPv6Prefix(64), "203.0.113.7", "127.0.0.1", 0},
		"another machine":       {core.WithIPv6Prefix(64), "203.0.113.7", "203.0.113.8", 0},
		"trusted":               {proxies(t, "127.0.0.1"), "127.0.0.1", "127.0.0.1", 0},
	} {
		id, count := warned(t, c.option)
		ask := func(peer string, times int) {
			for range times {
				id.Address(request{peer: peer})
			}
		}
		ask(c.first, 1)
		ask(c.then, 998)
		if count("") != 0 {
			t.Errorf("%s: warned of 999 requests", name)
		}
		ask(c.then, 1001)
		if count("STREAMLIMIT_W013") != c.want || count("") != c.want {
			t.Errorf("%s: %d lines, want %d", name, count(""), c.want)
		}
	}
	// A marked request gives a more exact line, which is the only one.
	id, count := warned(t)
	for i := range 2000 {
		r := request{peer: "127.0.0.1"}
		if i == 100 {
			r = forwarded("127.0.0.1", "203.0.113.7")
		}
		id.Address(r)
	}
	if count("STREAMLIMIT_W001") != 1 || count("") != 1 {
		t.Errorf("%d lines, want the one of a forwarded field", count(""))
	}
}

func TestForwardedWithoutTrustWarnsOnce(t *testing.T) {
	var log bytes.Buffer
	id := identified(t, core.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	id.Address(forwarded("203.0.113.7"))
	if log.Len() > 0 {
		t.Errorf("a plain request is warned of: %s", log.String())
	}
	for range 3 {
		id.Address(forwarded("203.0.113.7", "1.2.3.4"))
		id.Address(request{"203.0.113.7", textproto.MIMEHeader{"Forwarded": {"for=1.2.3.4"}}})
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "core.WithTrustedProxies") || strings.Contains(got, "1.2.3.4") {
		t.Errorf("log %q, want one line that says what to set, and no address", got)
	}
}

func TestDigest(t *testing.T) {
	plain, secret := identified(t), identified(t, core.WithKeySecret([]byte("s1")))
	other := identified(t, core.WithKeySecret([]byte("s2")))
	seen := map[string]bool{}
	for _, id := range []*identity.Identity{plain, secret, other} {
		a, err := id.Digest("x-api-key", "hunter2")
		if err != nil || len(a) != len("x-api-key=")+32 || strings.Contains(a, "hunter2") {
			t.Errorf("digest %q, %v", a, err)
		}
		if again, _ := id.Digest("x-api-key", "hunter2"); again != a {
			t.Errorf("digests of one value: %q and %q", a, again)
		}
		b, _ := id.Digest("x-api-key", "hunter3")
		if seen[a] || seen[b] || a == b {
			t.Errorf("digests %q and %q do not differ", a, b)
		}
		seen[a], seen[b] = true, true
	}
	// The first 128 bits of SHA-256("hunter2").
	if got, _ := plain.Digest("k", "hunter2"); got != "k=f52fbd32b2b3b86ff88ef6c490628285" {
		t.Errorf("digest %q", got)
	}
	if _, err := plain.Digest("k", ""); !errors.Is(err, core.ErrNoKey) {
		t.Errorf("digest of nothing: %v", err)
	}
}

func TestJoin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.StringMatching(`[0-9:,ab]{1,6}`), 1, 4)
		a, b := parts.Draw(t, "a"), parts.Draw(t, "b")
		ka, err := identity.Join(a...)
		if err != nil {
			t.Fatal(err)
		}
		kb, _ := identity.Join(b...)
		if same := strings.Join(a, "\x00") == strings.Join(b, "\x00"); same != (ka == kb) {
			t.Fatalf("%q makes %q, %q makes %q", a, ka, b, kb)
		}
	})
	for _, parts := range [][]string{nil, {""}, {"a", ""}} {
		if key, err := identity.Join(parts...); !errors.Is(err, core.ErrNoKey) {
			t.Errorf("Join(%q) = %q, %v, want ErrNoKey", parts, key, err)
		}
	}
}

// The former key has other digests in the places of those that were made, and nothing
// else changes.
func TestFormer(t *testing.T) {
	id := identified(t, core.WithKeySecret([]byte("s2"), []byte("s1")))
	before := identified(t, core.WithKeySecret([]byte("s1")))
	a, _ := id.Digest("x-api-key", "a")
	formerA, _ := before.Digest("x-api-key", "a")
	b, _ := id.Digest("session", "b")
	formerB, _ := before.Digest("session", "b")
	unknown, _ := identified(t, core.WithKeySecret([]byte("s2"))).Digest("x-api-key", "c")
	for key, want := range map[string]string{
		a:                                 formerA,
		"42:" + a + ",40:" + b:            "42:" + formerA + ",40:" + formerB,
		"tenant=7/" + a + "/" + a:         "tenant=7/" + formerA + "/" + formerA,
		unknown + "," + a:                 unknown + "," + formerA,
		unknown:                           "",
		formerA:                           "",
		strings.ToUpper(a):                "",
		a[:len(a)-1]:                      "",
		a[len("x-api-key="):]:             "",
		"":                                "",
		"=":                               "",
		"203.0.113.7":                     "",
		"user=ann":                        "",
		"user=" + a[:20] + "=" + a:        "user=" + a[:20] + "=" + formerA,
		"user=" + strings.Repeat("z", 32): "",
	} {
		if got := id.Former(key); got != want {
			t.Errorf("the former key of %q is %q, want %q", key, got, want)
		}
	}
	if got := before.Former(a); got != "" || before.Rotates() || !id.Rotates() {
		t.Errorf("without a former secret: %q", got)
	}
}

// Digests made lately are found, and the memory for others is bounded.
func TestFormerIsBounded(t *testing.T) {
	const most = 1 << 17 // at least
	id := identified(t, core.WithKeySecret([]byte("s2"), []byte("s1")))
	keys := make([]string, 2*most+2)
	for i := range keys {
		keys[i], _ = id.Digest("k", strconv.Itoa(i))
		if i%1000 == 0 && id.Former(keys[max(0, i-most+1)]) == "" {
			t.Fatalf("a digest is not found %d digests later", most-1)
		}
	}
	if id.Former(keys[0]) != "" {
		t.Error("the first of all is still there")
	}
	id.Digest("k", "0")
	if id.Former(keys[0]) == "" {
		t.Error("a digest that was made again is not found")
	}
}
