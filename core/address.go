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

// escaped is whether a backslash before it stands for what follows s.
func escaped(s string) bool {
	return (len(s)-len(strings.TrimRight(s, `\`)))%2 == 1
}

// forwardedRFC7239 is the one field that is not a plain list of addresses.
const forwardedRFC7239 = "Forwarded"

// parseHop reads one hop of the chain: the for parameter of Forwarded (RFC
// 7239), or the whole element of any other field. Both may carry a port.
func parseHop(header, element string) (netip.Addr, bool) {
	if header == forwardedRFC7239 {
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

// forwardedFor is the value of the for parameter of one Forwarded element, or ""
// when it does not have exactly one.
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
		found = strings.Trim(value, `"`)
	}
	return found
}
