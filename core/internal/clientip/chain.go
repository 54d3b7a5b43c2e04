package clientip

import (
	"net/netip"
	"slices"
	"strings"
)

// Trust has the peers that pass on requests of clients, and the field in which they name
// the client.
type Trust struct {
	Proxies []netip.Prefix
	Unix    bool   // trusts a peer without an address
	Header  string // the field, in the canonical form of net/http
}

// None reports whether no peer is trusted.
func (t *Trust) None() bool { return len(t.Proxies) == 0 && !t.Unix }

// Trusts reports whether the plain address is that of a trusted peer.
func (t *Trust) Trusts(addr netip.Addr) bool {
	if !addr.IsValid() {
		return t.Unix
	}
	for _, p := range t.Proxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// Client returns the client that trusted proxies passed on a request for: the first
// address from the right of the chain that is not a trusted proxy. The search starts at
// peer. An element that is not an address ends the search at the last address before the
// element. lines are the values of the field, in order.
func (t *Trust) Client(peer netip.Addr, lines []string) netip.Addr {
	client := peer
	for _, line := range slices.Backward(lines) {
		for line != "" {
			before, element, ok := cutLast(line, ',')
			if line = before; ok && element == "" {
				continue
			}
			addr, isAddr := parseHop(t.Header, element)
			if !ok || !isAddr {
				return client
			}
			if client = addr; !t.Trusts(addr) {
				return client
			}
		}
	}
	return client
}

// cutLast cuts off the part after the last separator that is not in a quoted
// string (RFC 9110, 5.6.4), and trims it: the elements of Forwarded (RFC 7239)
// may quote text of the client's, such as the host. cutLast reads from the right. So
// nothing that a client sends, such as an open quote, changes how the addition of a proxy
// after it is read. ok is false if the part itself has an open quote.
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

// ForwardedField is the one field that is not a plain list of addresses: see RFC 7239.
const ForwardedField = "Forwarded"

// parseHop reads one hop of the chain: the for parameter of Forwarded (RFC
// 7239), or the whole element of any other field. Both may carry a port, which may
// be obfuscated. The words "unknown" and "_hidden" are not addresses, although they stand
// for one.
func parseHop(header, element string) (netip.Addr, bool) {
	if header == ForwardedField {
		element = forwardedFor(element)
	}
	if inside, ok := strings.CutPrefix(element, "["); ok {
		host, port, ok := strings.Cut(inside, "]")
		addr, err := netip.ParseAddr(host)
		return Plain(addr), ok && err == nil && addr.Is6() && (port == "" || isPort(port))
	}
	if addr, err := netip.ParseAddr(element); err == nil {
		return Plain(addr), true
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
