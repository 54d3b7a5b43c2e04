package core

import (
	"fmt"
	"net/netip"
	"strings"
)

// ParsePrefixes reads a list of CIDRs such as "10.0.0.0/8, ::1" for
// [WithTrustedProxies]. Entries are separated by commas or spaces. An address without a
// prefix length stands for itself alone. An empty list returns no prefixes and no
// error.
func ParsePrefixes(list string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, entry := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		p, err := netip.ParsePrefix(entry)
		if err != nil {
			addr, addrErr := netip.ParseAddr(entry)
			if addrErr != nil || addr.Zone() != "" {
				return nil, fmt.Errorf(`core: %q is not a CIDR: write one such as "10.0.0.0/8" or "::1"`, entry)
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		prefixes = append(prefixes, plainPrefix(p))
	}
	return prefixes, nil
}

// plain returns the address without its zone. An IPv4 address inside IPv6
// (::ffff:1.2.3.4) becomes IPv4, so that one host is one client.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// The prefixes of IPv6 addresses that stand for an IPv4 host.
var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380
	shared     = netip.MustParsePrefix("100.64.0.0/10")   // RFC 6598
)

// behindNAT64 returns the IPv4 address of a client that comes through a
// translator (NAT64, SIIT). Its IPv6 address is in a prefix that all clients of
// the translator share, and that nobody else on the Internet can answer from.
//
// The IPv4 address must be a global one, as RFC 6052 wants it. A private one
// means another host in each network, and rules and limits for that host are not
// for the client of a translator.
func behindNAT64(a netip.Addr) (netip.Addr, bool) {
	if !nat64.Contains(a) && !translated.Contains(a) {
		return netip.Addr{}, false
	}
	bytes := a.As16()
	inside := netip.AddrFrom4([4]byte(bytes[12:]))
	return inside, inside.IsGlobalUnicast() && !inside.IsPrivate() && !shared.Contains(inside)
}

// clientPrefix returns the prefix that a client is counted by: an IPv4 address
// alone, and the given bits of an IPv6 address, but for prefixes whose addresses
// are not those of one network:
//
//   - A translator writes all bits of an address in its prefix, so that they are
//     one host. [behindNAT64] finds most. The position of the IPv4 address in the
//     local prefix 64:ff9b:1::/48 is not known, and it may be a private one.
//   - 6to4 gives the holder of one IPv4 address a /48, with 65,536 of the usual
//     /64. It is counted by the /48, and not by the IPv4 address: any relay can
//     claim to pass on another's packets (RFC 7526), and would use up a budget or
//     an exemption that is not its own.
//   - Teredo lets the client choose most bits, and its address inside is only as
//     good as the relay, too. All of its clients are counted together: nothing
//     ships with it any more, so that few are left.
func clientPrefix(a netip.Addr, bits int) netip.Prefix {
	if inside, ok := behindNAT64(a); ok {
		a = inside
	}
	switch {
	case a.Is4():
		bits = 32
	case nat64.Contains(a), nat64Local.Contains(a), translated.Contains(a):
		bits = 128
	case sixToFour.Contains(a):
		bits = min(bits, 48)
	case teredo.Contains(a):
		bits = min(bits, 32)
	}
	return netip.PrefixFrom(a, bits).Masked()
}

func plainPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// cutLast cuts off the part after the last separator that is not in a quoted
// string (RFC 9110, 5.6.4), and trims it: the elements of Forwarded (RFC 7239)
// may quote text of the client's, such as the host. It reads from the right, so
// that nothing a client sends, such as quotes left open, changes how what a proxy
// adds after it is read. ok is false when the part has open quotes itself.
func cutLast(s string, separator byte) (before, last string, ok bool) {
	quoted := false
	for i := len(s) - 1; i >= 0; i-- {
		switch c := s[i]; {
		case c == '"' && (!quoted || !escaped(s[:i])):
			quoted = !quoted
		case c == separator && !quoted:
			return s[:i], strings.TrimSpace(s[i+1:]), true
		}
	}
	return "", strings.TrimSpace(s), !quoted
}

// escaped reports whether s ends in a backslash that escapes what follows.
func escaped(s string) bool {
	return (len(s)-len(strings.TrimRight(s, `\`)))%2 == 1
}

// forwardedRFC7239 is the one field that is not a plain list of addresses.
const forwardedRFC7239 = "Forwarded"

// parseHop reads one hop of the chain: the for parameter of Forwarded (RFC
// 7239), or the whole element of any other field. Both may carry a port, which may
// be obfuscated. The words "unknown" and "_hidden" that stand for an address are
// none.
func parseHop(header, element string) (netip.Addr, bool) {
	if header == forwardedRFC7239 {
		element = forwardedFor(element)
	}
	if inside, ok := strings.CutPrefix(element, "["); ok {
		host, port, ok := strings.Cut(inside, "]")
		addr, err := netip.ParseAddr(host)
		return plain(addr), ok && err == nil && addr.Is6() && (port == "" || isPort(port))
	}
	if addr, err := netip.ParseAddr(element); err == nil {
		return plain(addr), true
	}
	colon := max(0, strings.LastIndexByte(element, ':'))
	addr, err := netip.ParseAddr(element[:colon])
	return addr, err == nil && addr.Is4() && isPort(element[colon:])
}

// isPort reports whether text is a colon and a port of RFC 7239, section 6: up
// to five digits, or an identifier that hides it.
func isPort(text string) bool {
	const digits = "0123456789"
	const hiding = digits + "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-"
	text = strings.TrimPrefix(text, ":")
	if hidden, ok := strings.CutPrefix(text, "_"); ok {
		return hidden != "" && strings.Trim(hidden, hiding) == ""
	}
	return text != "" && len(text) <= 5 && strings.Trim(text, digits) == ""
}

// forwardedFor returns the value of the for parameter of one Forwarded element,
// or "" when it does not have exactly one.
func forwardedFor(element string) string {
	found := ""
	for element != "" {
		var pair string
		element, pair, _ = cutLast(element, ';')
		name, value, _ := strings.Cut(pair, "=")
		if !strings.EqualFold(name, "for") {
			continue
		}
		if found != "" {
			return ""
		}
		found = unquote(value)
	}
	return found
}

// unquote returns the text of a quoted string (RFC 9110, 5.6.4), or the value
// itself when it has no quotes.
func unquote(value string) string {
	text, ok := strings.CutPrefix(value, `"`)
	if !ok {
		return value
	}
	var b strings.Builder
	text = strings.TrimSuffix(text, `"`)
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			i++
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
