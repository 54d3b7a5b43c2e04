// Package clientip reads the addresses of clients: from a connection, from the header
// fields of proxies, and from settings. Its functions have no state.
package clientip

import (
	"fmt"
	"net/netip"
	"strings"
)

// ParsePrefixes reads a list of CIDRs and addresses, separated by commas or spaces.
func ParsePrefixes(list string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, entry := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		p, err := netip.ParsePrefix(entry)
		if err != nil {
			addr, addrErr := netip.ParseAddr(entry)
			if addrErr != nil || addr.Zone() != "" {
				return nil, fmt.Errorf(`%q is not a CIDR: write one such as "10.0.0.0/8" or "::1"`, entry)
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		prefixes = append(prefixes, PlainPrefix(p))
	}
	return prefixes, nil
}

// Plain returns the address without its zone. An IPv4 address inside IPv6
// (::ffff:1.2.3.4) becomes IPv4, so that one host is one client.
func Plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// The prefixes of IPv6 addresses that stand for an IPv4 host.
var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380
	shared     = netip.MustParsePrefix("100.64.0.0/10")   // RFC 6598
)

// BehindNAT64 returns the IPv4 address of a client that comes through a
// translator (NAT64, SIIT). Its IPv6 address is in a prefix that all clients of
// the translator share, and from which nobody else on the Internet can respond.
//
// The IPv4 address must be global, as RFC 6052 requires. A private address is another
// host in each network, so rules and limits for it are not meant for the client of a
// translator.
func BehindNAT64(a netip.Addr) (netip.Addr, bool) {
	if !nat64.Contains(a) && !translated.Contains(a) {
		return netip.Addr{}, false
	}
	bytes := a.As16()
	inside := netip.AddrFrom4([4]byte(bytes[12:]))
	return inside, inside.IsGlobalUnicast() && !inside.IsPrivate() && !shared.Contains(inside)
}

// Prefix returns the prefix that a client is counted by: one IPv4 address, or the first
// bits of an IPv6 address. These IPv6 prefixes are exceptions, since their addresses do
// not belong to one network:
//
//   - A translator uses all bits of an address in its prefix, so each address is one
//     host. [BehindNAT64] finds most of them. In the local prefix 64:ff9b:1::/48, the
//     position of the IPv4 address is not known, and the address may be private.
//   - 6to4 gives the holder of one IPv4 address a /48, with 65,536 of the usual
//     /64. The client is counted by the /48, and not by the IPv4 address. Any relay can
//     claim to pass on packets of another address (RFC 7526), and would use the budget or
//     the exemption of that address.
//   - Teredo lets the client choose most bits, and a relay can claim any address inside,
//     too. All clients of Teredo are counted together. Few are left, since systems no
//     longer enable Teredo.
func Prefix(a netip.Addr, bits int) netip.Prefix {
	if inside, ok := BehindNAT64(a); ok {
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

// PlainPrefix is like [Plain] for a prefix. It clears the bits
// beyond the length of the prefix.
func PlainPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}
