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

// splitChain splits one line of a forwarded header at its commas. The elements
// of Forwarded (RFC 7239) may hold quoted text of the client's, such as the
// host, so those within quotes don't count; open quotes make the line garbage.
func splitChain(header, line string) (elements []string, ok bool) {
	if header == forwardedRFC7239 {
		return splitQuoted(line, ',')
	}
	elements = strings.Split(line, ",")
	for i := range elements {
		elements[i] = strings.TrimSpace(elements[i])
	}
	return elements, true
}

// splitQuoted splits at a separator outside of quoted strings (RFC 9110, 5.6.4)
// and trims the parts; ok is false when quotes are left open.
func splitQuoted(s string, separator byte) (parts []string, ok bool) {
	start, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == separator && !quoted:
			parts = append(parts, strings.TrimSpace(s[start:i]))
			start = i + 1
		}
	}
	return append(parts, strings.TrimSpace(s[start:])), !quoted
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
	pairs, _ := splitQuoted(element, ';')
	for _, pair := range pairs {
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
