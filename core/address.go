package core

import (
	"fmt"
	"net/netip"
	"strings"
)

// ParsePrefixes reads a list of CIDRs such as "10.0.0.0/8, ::1" for
// [WithTrustedProxies]. Entries are separated by commas or spaces; a bare
// address stands for itself alone. An empty list is no prefix and no error.
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

// plain is the address without zone, and as IPv4 where it is IPv4 inside IPv6
// (::ffff:1.2.3.4), so that one host is one client.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

func plainPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// lastElement splits the last element off a comma-separated header field, so
// that the chain is walked from the end that the nearest proxy wrote.
func lastElement(list string) (element, rest string, more bool) {
	i := strings.LastIndexByte(list, ',')
	if i < 0 {
		return strings.TrimSpace(list), "", false
	}
	return strings.TrimSpace(list[i+1:]), list[:i], true
}

// parseHop reads one hop of the chain: the for parameter of Forwarded (RFC
// 7239), or the whole element of any other field. Both may carry a port.
func parseHop(header, element string) (netip.Addr, bool) {
	if header == "Forwarded" {
		element = forwardedFor(element)
	}
	if addr, err := netip.ParseAddr(element); err == nil {
		return plain(addr), true
	}
	if ap, err := netip.ParseAddrPort(element); err == nil {
		return plain(ap.Addr()), true
	}
	if s, ok := strings.CutPrefix(element, "["); ok {
		if s, ok = strings.CutSuffix(s, "]"); ok {
			addr, err := netip.ParseAddr(s)
			return plain(addr), err == nil && addr.Is6()
		}
	}
	return netip.Addr{}, false
}

// forwardedFor is the value of the for parameter of one Forwarded element.
func forwardedFor(element string) string {
	for pair := range strings.SplitSeq(element, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		if strings.EqualFold(name, "for") {
			return strings.Trim(value, `"`)
		}
	}
	return ""
}
