package core

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Request is what an [Identity] reads of a request. The adapters give one for
// their framework's context.
type Request interface {
	// Peer returns the address at the other end of the connection, or the zero Addr if
	// it has none (a Unix socket). It is never taken from a header.
	Peer() netip.Addr
	// Header returns the first value of a header field, or "". The name is in the
	// canonical form of net/http, such as X-Api-Key. Header finds the field in whatever
	// case the client has written it.
	Header(name string) string
	// HeaderValues returns all values of such a field, in order.
	HeaderValues(name string) []string
}

// Identity finds out who a request comes from, by address or by the digest of a
// credential. One identity serves all adapters, so a client has the same key in all of
// them. An identity belongs to a [Limiter], whose options set it up.
type Identity struct {
	proxies   []netip.Prefix
	header    string     // where trusted proxies write the chain
	bits      int        // of an IPv6 address that count
	macs      *sync.Pool // of hash.Hash under the secret; nil without one
	warnings  *warnings
	trustUnix bool // whether a peer without an address is a trusted proxy

	looked atomic.Int64 // requests that were looked at for a proxy that nobody trusts
	remote atomic.Bool  // whether the peer of one of them was another machine
}

// digestBytes is how much of a SHA-256 digest is kept: 128 bits leave no
// practical chance of two keys meeting.
const digestBytes = 16

// Address returns the client's address as a key: "203.0.113.7", or the prefix
// "2001:db8::/64" for IPv6, where a client usually holds a whole /64.
//
// It is the peer's address, which nobody can forge. When the peer is a trusted proxy it
// is the first address from the right of the forwarded chain that is not a trusted
// proxy. An entry that is not an address, such as "unknown" or an obfuscated node of
// RFC 7239, ends the walk at the last address before it. A peer without an address is
// refused, unless [WithTrustedUnixSocket] makes it a trusted proxy. Without any address
// the error is [ErrNoKey].
//
// A client behind a translator (NAT64, SIIT) has an address such as
// 64:ff9b::203.0.113.7, and is counted by the IPv4 address inside. So is
// ::ffff:203.0.113.7. 6to4 is counted by /48, and all clients of Teredo are
// counted together. A proxy behind a translator is trusted by the address that
// it has here: [WithTrustedProxies] needs the IPv6 form.
func (id *Identity) Address(r Request) (string, error) {
	addr := id.client(r)
	if !addr.IsValid() {
		id.warnings.say(warnNoAddress, "a peer has no address, as on a Unix socket, so its requests can't be counted by address and are refused; "+
			"if that is your proxy, trust it with core.WithTrustedUnixSocket")
		return "", ErrNoKey
	}
	prefix := clientPrefix(addr, id.bits)
	if prefix.Addr().Is4() {
		return prefix.Addr().String(), nil
	}
	return prefix.String(), nil
}

// client returns the address that [Identity.Address] makes a key of.
func (id *Identity) client(r Request) netip.Addr {
	peer := plain(r.Peer())
	if len(id.proxies) == 0 && !id.trustUnix {
		id.warnUntrusted(peer, r)
	}
	if !id.trusts(peer) {
		return peer
	}
	client := peer
	for _, line := range slices.Backward(r.HeaderValues(id.header)) {
		for line != "" {
			before, element, ok := cutLast(line, ',')
			if line = before; ok && element == "" {
				continue
			}
			addr, isAddr := parseHop(id.header, element)
			if !ok || !isAddr {
				return client
			}
			if client = addr; !id.trusts(addr) {
				return client
			}
		}
	}
	return client
}

func (id *Identity) trusts(addr netip.Addr) bool {
	if !addr.IsValid() {
		return id.trustUnix
	}
	for _, p := range id.proxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

const (
	// lookedAtMost is how many requests are looked at: a proxy marks each.
	lookedAtMost = 10_000
	// loopbackAtLeast is how many requests must come from this machine, and none
	// from another, before that is odd. Tests, health checks and people at work on
	// a service seldom make as many.
	loopbackAtLeast = 1_000
)

// warnUntrusted warns once that a proxy seems to be in front while none is
// trusted: then all its clients share the proxy's log. A proxy marks requests, or
// is the only peer, on the same machine.
func (id *Identity) warnUntrusted(peer netip.Addr, r Request) {
	if id.looked.Load() >= lookedAtMost {
		return
	}
	looked := id.looked.Add(1)
	if r.Header("X-Forwarded-For") != "" || r.Header("Forwarded") != "" {
		id.looked.Store(lookedAtMost)
		id.warnings.say(warnForwarded, "a request carries X-Forwarded-For or Forwarded, but no proxy is trusted, so it is counted by the address of its peer; "+
			"if that is your proxy, name it with core.WithTrustedProxies, else ignore this")
		return
	}
	switch {
	case !peer.IsLoopback():
		id.remote.Store(true)
	case looked == loopbackAtLeast && !id.remote.Load():
		id.warnings.say(warnLoopback, "all requests so far come from this machine and say nothing of a client, so they share one log; if they come through a proxy, "+
			"let it send X-Forwarded-For and name it with core.WithTrustedProxies, else ignore this", "requests", loopbackAtLeast)
	}
}

// Digest returns the key for a credential called name: the name and 128 bits of the
// HMAC-SHA-256 of value under the secret of [WithKeySecret], or of its SHA-256 without
// one. The value itself is not stored or logged. An empty value is [ErrNoKey].
func (id *Identity) Digest(name, value string) (string, error) {
	if value == "" {
		return "", ErrNoKey
	}
	var digest [sha256.Size]byte
	if id.macs == nil {
		digest = sha256.Sum256([]byte(value))
	} else {
		digest = id.mac([]byte(value))
	}
	return name + "=" + hex.EncodeToString(digest[:digestBytes]), nil
}

// mac is the HMAC-SHA-256 of value. Hashes are keyed once and used again: 2.5
// times as fast as keying one for each value, in a fifth of the memory
// (BenchmarkDigest).
func (id *Identity) mac(value []byte) (sum [sha256.Size]byte) {
	mac := id.macs.Get().(hash.Hash)
	defer id.macs.Put(mac)
	mac.Reset()
	mac.Write(value)
	mac.Sum(sum[:0])
	return sum
}

// setSecret makes digests with HMAC under secret from now on.
func (id *Identity) setSecret(secret []byte) {
	id.macs = nil
	if len(secret) > 0 {
		secret = slices.Clone(secret)
		id.macs = &sync.Pool{New: func() any { return hmac.New(sha256.New, secret) }}
	}
}

// JoinKeys makes one key of several parts. Each is preceded by its length, so
// that different parts never make the same key. An empty part is [ErrNoKey].
func JoinKeys(parts ...string) (string, error) {
	var b strings.Builder
	for i, part := range parts {
		if part == "" {
			return "", ErrNoKey
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(len(part)))
		b.WriteByte(':')
		b.WriteString(part)
	}
	if b.Len() == 0 {
		return "", ErrNoKey
	}
	return b.String(), nil
}
