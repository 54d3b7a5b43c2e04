// Package identity finds out who a request comes from, for package core and the adapters.
package identity

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/streamlimit/streamlimit/core/internal/clientip"
	"github.com/streamlimit/streamlimit/core/internal/warning"
)

// ErrNoKey is core.ErrNoKey.
var ErrNoKey = errors.New("core: no key to count by")

// The codes of log lines about a wrong setup.
const (
	warnForwarded = "STREAMLIMIT_W001"
	warnNoAddress = "STREAMLIMIT_W012"
	warnLoopback  = "STREAMLIMIT_W013"
)

// Request has the parts of a request that an identity reads.
type Request interface {
	// Peer returns the address at the other end of the connection, or the zero Addr if
	// it has none (a Unix socket). It is never taken from a header.
	Peer() netip.Addr
	// Header returns the first value of a header field, or "". The name is in the
	// canonical form of net/http.
	Header(name string) string
	// HeaderValues returns all values of such a field, in order.
	HeaderValues(name string) []string
}

// Identity finds out who a request comes from, by address or by the digest of a
// credential. A client has the same key in all adapters.
type Identity struct {
	Trust    clientip.Trust
	Bits     int  // of an IPv6 address that count
	Hashed   bool // keys have the digest of an address, and not the address
	Warnings *warning.Once

	hasher hasher   // with the secret
	former *formers // nil unless a former secret is given

	looked atomic.Int64 // requests that were looked at for a proxy that nobody trusts
	remote atomic.Bool  // whether the peer of one of them was another machine
}

// DigestBytes is how much of a SHA-256 digest is kept: 128 bits leave no
// practical chance of two keys meeting.
const DigestBytes = 16

// Address returns the key of a request that is counted by the client's address.
func (id *Identity) Address(r Request) (string, error) {
	addr := id.Client(r)
	if !addr.IsValid() {
		id.Warnings.Say(warnNoAddress, "a peer has no address, as on a Unix socket, so its requests can't be counted by address and are refused; "+
			"if that is your proxy, trust it with core.WithTrustedUnixSocket")
		return "", ErrNoKey
	}
	return id.AddressKey(addr), nil
}

// AddressKey returns the key of a client with the address: "203.0.113.7", or the prefix
// "2001:db8::/64", or the digest of that.
func (id *Identity) AddressKey(addr netip.Addr) string {
	prefix := clientip.Prefix(clientip.Plain(addr), id.Bits)
	var key string
	if prefix.Addr().Is4() {
		key = prefix.Addr().String()
	} else {
		key = prefix.String()
	}
	if id.Hashed {
		return id.digest("address", key)
	}
	return key
}

// Keyed reports whether digests are made under a secret.
func (id *Identity) Keyed() bool { return id.hasher.macs != nil }

// Client returns the address of the client, or the zero Addr if it has none.
func (id *Identity) Client(r Request) netip.Addr {
	peer := clientip.Plain(r.Peer())
	if id.Trust.None() {
		id.warnUntrusted(peer, r)
	}
	if !id.Trust.Trusts(peer) {
		return peer
	}
	return id.Trust.Client(peer, r.HeaderValues(id.Trust.Header))
}

const (
	// lookedAtMost bounds the requests that are checked: a proxy marks each one.
	lookedAtMost = 10_000
	// loopbackAtLeast requests from this machine, and none from another, are a sign of a
	// proxy. Tests, health checks and developers seldom make as many.
	loopbackAtLeast = 1_000
)

// warnUntrusted logs once that there may be a proxy that is not trusted. All its clients
// then share the proxy's log. A proxy marks requests, or is the only peer, on the same
// machine.
func (id *Identity) warnUntrusted(peer netip.Addr, r Request) {
	if id.looked.Load() >= lookedAtMost {
		return
	}
	looked := id.looked.Add(1)
	if r.Header("X-Forwarded-For") != "" || r.Header("Forwarded") != "" {
		id.looked.Store(lookedAtMost)
		id.Warnings.Say(warnForwarded, "a request carries X-Forwarded-For or Forwarded, but no proxy is trusted, so it is counted by the address of its peer; "+
			"if that is your proxy, name it with core.WithTrustedProxies, else ignore this")
		return
	}
	switch {
	case !peer.IsLoopback():
		id.remote.Store(true)
	case looked == loopbackAtLeast && !id.remote.Load():
		id.Warnings.Say(warnLoopback, "all requests so far come from this machine and do not name a client, so they share one log; if they come through a proxy, "+
			"let it send X-Forwarded-For and name it with core.WithTrustedProxies, else ignore this", "requests", loopbackAtLeast)
	}
}

// Digest returns the key for a credential called name: the name and 128 bits of the
// HMAC-SHA-256 of value under the secret of core.WithKeySecret, or of its SHA-256 without
// one. The value itself is not stored or logged. An empty value is [ErrNoKey].
func (id *Identity) Digest(name, value string) (string, error) {
	if value == "" {
		return "", ErrNoKey
	}
	return id.digest(name, value), nil
}

func (id *Identity) digest(name, value string) string {
	sum := id.hasher.sum(value)
	if id.former != nil {
		id.former.note(digest(sum[:DigestBytes]), value)
	}
	return name + "=" + hex.EncodeToString(sum[:DigestBytes])
}

// SetSecret makes digests with HMAC under secret from now on. With a former secret,
// which is not empty, [Identity.Former] finds the keys under that.
func (id *Identity) SetSecret(secret, former []byte) {
	id.hasher, id.former = newHasher(secret), nil
	if len(former) > 0 && !bytes.Equal(secret, former) {
		id.former = newFormers(former)
	}
}

// digest is the part of a key that stands for a value.
type digest [DigestBytes]byte

// hasher makes digests, of which keys have the first DigestBytes.
type hasher struct {
	macs *sync.Pool // of hash.Hash with a secret; nil for SHA-256 without one
}

func newHasher(secret []byte) hasher {
	if len(secret) == 0 {
		return hasher{}
	}
	secret = slices.Clone(secret)
	return hasher{&sync.Pool{New: func() any { return hmac.New(sha256.New, secret) }}}
}

func (h *hasher) sum(value string) [sha256.Size]byte {
	if h.macs == nil {
		return sha256.Sum256([]byte(value))
	}
	return h.mac([]byte(value))
}

// mac is the HMAC-SHA-256 of value. Hashes are keyed once and used again: 2.5
// times as fast as keying one for each value, in a fifth of the memory
// (BenchmarkDigest).
func (h *hasher) mac(value []byte) (sum [sha256.Size]byte) {
	mac := h.macs.Get().(hash.Hash)
	defer h.macs.Put(mac)
	mac.Reset()
	mac.Write(value)
	mac.Sum(sum[:0])
	return sum
}

// Join makes one key of several parts. Each is preceded by its length, so
// that different parts never make the same key. An empty part is [ErrNoKey].
func Join(parts ...string) (string, error) {
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
