package identity

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/core/internal/clientip"
	"github.com/streamlimit/streamlimit/core/internal/warning"
)

// hop is a request from a peer with lines of the forwarded header.
type hop struct {
	peer  netip.Addr
	lines []string
}

func (h hop) Peer() netip.Addr             { return h.peer }
func (h hop) HeaderValues(string) []string { return h.lines }
func (h hop) Header(string) string         { return strings.Join(h.lines, "") }

// forms are the ways in which a proxy adds an address to each header field.
var forms = map[string][]func(netip.Addr) string{
	"X-Forwarded-For": {
		netip.Addr.String,
		func(a netip.Addr) string { return netip.AddrPortFrom(a, 4711).String() },
	},
	clientip.ForwardedField: {
		func(a netip.Addr) string { return `for="` + bracketed(a) + `"` },
		func(a netip.Addr) string { return `proto=http;For="` + bracketed(a) + `:80";host="a,\"b;for=9.9.9.9"` },
		func(a netip.Addr) string { return `for="` + bracketed(a) + `:_x";by=unknown` },
	},
}

func bracketed(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

// A client is counted by the address that its nearest proxy saw, whatever the client
// sends. Without a proxy it is counted by the address of the connection.
func FuzzAddress(f *testing.F) {
	for _, forged := range []string{
		"", "1.2.3.4", "1.2.3.4, 5.6.7.8:9", "unknown, _hidden,,", `"`, `for="`, `for=1.2.3.4;host="\`, `for=1.2.3.4, for=10.0.0.1`,
		"10.0.0.1", "[::1]", "::ffff:10.0.0.1", "fe80::1%eth0", "1.2.3.4\n10.0.0.1\n\"", strings.Repeat(",", 300),
	} {
		f.Add(forged, []byte{203, 0, 113, 7}, byte(0))
		f.Add(forged, netip.MustParseAddr("2001:db8:1:2::9").AsSlice(), byte(0xff))
		f.Add(forged, netip.MustParseAddr("::ffff:203.0.113.7").AsSlice(), byte(0x48))
		f.Add(forged, netip.MustParseAddr("64:ff9b::203.0.113.7").AsSlice(), byte(0x81))
		f.Add(forged, netip.MustParseAddr("64:ff9b::10.0.0.1").AsSlice(), byte(0x81))
		f.Add(forged, netip.MustParseAddr("2002:a00:1::1").AsSlice(), byte(0xff))
	}
	trusted := netip.MustParsePrefix("10.0.0.0/8")
	proxy, outer := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("::ffff:10.0.0.2")
	f.Fuzz(func(t *testing.T, forged string, address []byte, how byte) {
		client, ok := netip.AddrFromSlice(address)
		if !ok || trusted.Contains(clientip.Plain(client)) {
			return
		}
		header := "X-Forwarded-For"
		if how&1 != 0 {
			header = clientip.ForwardedField
		}
		id := &Identity{Trust: clientip.Trust{Proxies: []netip.Prefix{trusted}, Header: header}, Bits: 1 + int(how>>1), Warnings: new(warning.Once)}
		want := addressKey(client, id.Bits)
		check := func(h hop) {
			t.Helper()
			if got, err := id.Address(h); err != nil || got != want {
				t.Fatalf("%s from %v: %q: %q, %v, want %q", header, h.peer, h.lines, got, err, want)
			}
		}
		lines := strings.Split(forged, "\n")
		check(hop{client, lines})
		for _, add := range forms[header] {
			// A proxy adds a line, or adds to the last line. A second proxy does the
			// same.
			check(hop{proxy, append(lines[:len(lines):len(lines)], add(client))})
			last := lines[len(lines)-1] + ", " + add(client)
			check(hop{proxy, append(lines[:len(lines)-1:len(lines)-1], last)})
			check(hop{outer, append(lines[:len(lines)-1:len(lines)-1], last+" ,"+add(proxy))})
			check(hop{outer, append(lines[:len(lines)-1:len(lines)-1], last, "", add(proxy))})
		}
		// A proxy that adds nothing passes on any text, but not a key.
		if got, err := id.Address(hop{proxy, lines}); err != nil || !isAddressKey(got, id.Bits) {
			t.Fatalf("%q: %q, %v", lines, got, err)
		}
	})
}

// addressKey returns the expected key of an address.
func addressKey(a netip.Addr, bits int) string {
	six := a.As16()
	four := netip.AddrFrom4([4]byte(six[12:]))
	in := func(prefix string) bool { return netip.MustParsePrefix(prefix).Contains(a.WithZone("")) }
	global := four.IsGlobalUnicast() && !four.IsPrivate() && !netip.MustParsePrefix("100.64.0.0/10").Contains(four)
	switch host := in("64:ff9b::/96") || in("::ffff:0:0:0/96"); {
	case a.Is4In6() || a.Is4() || host && global:
		return four.String()
	case host || in("64:ff9b:1::/48"):
		bits = 128
	case in("2002::/16"):
		bits = min(bits, 48)
	case in("2001::/32"):
		bits = min(bits, 32)
	}
	return netip.PrefixFrom(a.WithZone(""), bits).Masked().String()
}

func isAddressKey(key string, bits int) bool {
	if a, err := netip.ParseAddr(key); err == nil {
		return a.Is4() && key == addressKey(a, bits)
	}
	p, err := netip.ParsePrefix(key)
	return err == nil && p.Addr().Is6() && key == addressKey(p.Addr(), bits)
}
