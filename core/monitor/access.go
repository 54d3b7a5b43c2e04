package monitor

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// admits is whether the request may see the page; else it is answered.
func (h *Handler) admits(w http.ResponseWriter, r *http.Request) bool {
	if h.guard == nil && h.may == nil && !local(r) {
		refuse(w, http.StatusForbidden, "the monitor is for clients on the same machine, unless it has a password")
		return false
	}
	if h.guard != nil && !h.guard.admits(w, r) {
		return false
	}
	if h.may != nil && !h.may(r) {
		refuse(w, http.StatusForbidden, "you may not see the monitor")
		return false
	}
	return true
}

// forwarding are the fields by which a proxy says that the peer is not the client.
var forwarding = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"}

// local is whether the client is on this machine: its connection comes from a
// loopback address, no proxy on this machine has forwarded it, and it asks for a
// loopback host. A browser here that another site has made to ask, through a name
// of its own that leads here, asks for that name.
func local(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() {
		return false
	}
	for _, name := range forwarding {
		if len(r.Header.Values(name)) > 0 {
			return false
		}
	}
	return loopbackHost(r.Host)
}

func loopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback()
}
