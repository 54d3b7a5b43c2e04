package redistest

import (
	"context"
	"net"
	"testing"
)

// Proxies stand before several servers, such as the nodes of a cluster.
type Proxies map[string]*Proxy // by the server's address

// NewProxies makes a proxy for each of the servers.
func NewProxies(t testing.TB, addrs ...string) Proxies {
	t.Helper()
	all := make(Proxies, len(addrs))
	for _, addr := range addrs {
		all[addr] = NewProxy(t, addr)
	}
	return all
}

// Rule sets what becomes of requests to any of the servers; nil lets all pass.
func (p Proxies) Rule(rule Rule) {
	for _, proxy := range p {
		proxy.Rule(rule)
	}
}

// Dial is a client's Dialer. Servers tell clients each other's addresses, and
// Dial leads those to the proxies; others it dials as they are.
func (p Proxies) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if proxy := p[addr]; proxy != nil {
		addr = proxy.Addr
	}
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}
