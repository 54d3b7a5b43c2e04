package redistest

import (
	"context"
	"net"
	"testing"
)

// Proxies has a proxy for each of several servers, such as the nodes of a cluster.
type Proxies map[string]*Proxy // by the server's address

// NewProxies starts a proxy for each of the servers.
func NewProxies(t testing.TB, addrs ...string) Proxies {
	t.Helper()
	all := make(Proxies, len(addrs))
	for _, addr := range addrs {
		all[addr] = NewProxy(t, addr)
	}
	return all
}

// Rule sets the rule for requests to all of the servers. nil lets all pass.
func (p Proxies) Rule(rule Rule) {
	for _, proxy := range p {
		proxy.Rule(rule)
	}
}

// Dial is a Dialer for clients. Servers name each other by their addresses. Dial connects
// to the proxies of these addresses, and connects to other addresses directly.
func (p Proxies) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if proxy := p[addr]; proxy != nil {
		addr = proxy.Addr
	}
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}
